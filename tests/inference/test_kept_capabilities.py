"""What was verified of a model is kept by its weights and the code; anything else is verified anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from luthier.inference import capabilities, kept_capabilities
from luthier.inference.capabilities import capabilities_of
from luthier.methods.registry import find_method, read_settings
from tiny_models import tiny_model


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path))
    monkeypatch.setattr(kept_capabilities, "_LEAST", 1)
    return tmp_path / "capabilities"


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that were verified, one entry for each time."""
    names: list[str] = []
    real = capabilities._verified

    def counted(model: Any) -> Any:
        names.append(model.name)
        return real(model)

    monkeypatch.setattr(capabilities, "_verified", counted)
    return names


def test_a_second_process_reads_what_the_first_found(verified: list[str], cache: Path) -> None:
    found = capabilities_of(tiny_model("llama"))
    assert found.tree
    assert found.slots
    assert len(verified) == 1
    assert capabilities_of(tiny_model("llama")) == found
    assert len(verified) == 1, "it was read"
    assert len(list(cache.glob("*.json"))) == 1


def test_other_weights_are_verified(verified: list[str]) -> None:
    capabilities_of(tiny_model("llama"))
    capabilities_of(tiny_model("llama-tied"))
    assert len(verified) == 2


def test_other_code_is_verified(verified: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    capabilities_of(tiny_model("llama"))
    monkeypatch.setattr(kept_capabilities, "code_digest", lambda entries: "another")
    capabilities_of(tiny_model("llama"))
    assert len(verified) == 2


def test_a_damaged_file_is_made_again(verified: list[str], cache: Path) -> None:
    found = capabilities_of(tiny_model("llama"))
    for content in ("{", '{"tree": true, "unknown": true}', "[1]"):
        next(cache.glob("*.json")).write_text(content)
        assert capabilities_of(tiny_model("llama")) == found
    assert len(verified) == 4


def test_nothing_is_kept_with_an_adapter(verified: list[str], cache: Path) -> None:
    model = tiny_model("llama")
    method = find_method("lora")
    attached = method.attach(model, read_settings(method, {}, where="test"), seed=0)
    for _ in range(2):
        model.capabilities.clear()
        capabilities_of(model)
    attached.detach()
    assert len(verified) == 2
    assert not cache.exists()


def test_a_failure_is_not_kept(verified: list[str], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "_tree_agrees", lambda *given, **options: False)
    assert not capabilities_of(tiny_model("llama")).tree
    assert not cache.exists()
