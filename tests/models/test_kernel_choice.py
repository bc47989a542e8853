"""Kernels are chosen by what was measured for a model's shapes, the first measurement decides, and settings win."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from unittest import mock

import pytest
import torch

from luthier.config.computing import KernelsConfig
from luthier.kernels import packed_linear
from luthier.kernels.packed_linear import WORTH
from luthier.kernels.probe import Heads, Measured, measure
from luthier.kernels.variable_length import FUSED, NAME
from luthier.models import kernel_choice
from luthier.models.kernel_choice import Kernels, choose_kernels
from luthier.models.language_model import LanguageModel
from luthier.models.load import load_model
from tiny_models import encoded, tiny_folder, tiny_model

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")

AUTO = KernelsConfig()


class Probe:
    """Stands for the measurement, and counts how often it is made."""

    def __init__(self, *found: Measured) -> None:
        self.left = list(found)

    def __call__(self, shapes: Mapping[tuple[int, int], int], heads: Heads | None) -> Measured:
        return self.left.pop(0)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LanguageModel:
    """Each test has a cache of its own; the smallest model is measured too."""
    model = tiny_model("llama")
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kernel_choice, "_LEAST", 1)
    return model


@pytest.mark.parametrize(
    ("found", "chosen"),
    [
        (Measured(torch=1.0, onednn=0.5, bf16=2.0, pieces=1.0, fused=1.0), ("onednn", "pieces")),
        (Measured(torch=1.0, onednn=0.95, bf16=2.0, pieces=1.0, fused=0.95), ("torch", "pieces")),
        (Measured(torch=1.0, onednn=2.0, bf16=0.5, pieces=1.0, fused=0.5), ("torch", "fused")),
        (Measured(torch=1.0, onednn=0.5, bf16=0.5, pieces=None, fused=None), ("onednn", "pieces")),
    ],
)
def test_the_faster_kernels_are_taken_by_more_than_a_tenth(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch, found: Measured, chosen: tuple[str, str]
) -> None:
    monkeypatch.setattr(kernel_choice, "measure", Probe(found))
    kernels = choose_kernels(model.module, AUTO)
    assert kernels.key_inputs() == chosen
    assert kernels.bf16 == found.bf16
    assert f"oneDNN take {found.onednn:.2f} of MKL's time" in kernels.why


@pytest.mark.parametrize(("share", "packed"), [(0.6, True), (0.95, False), (None, False)])
def test_answers_are_computed_with_packed_weights_where_that_is_faster(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch, share: float | None, packed: bool
) -> None:
    monkeypatch.setattr(kernel_choice, "measure", Probe(Measured(1.0, 0.95, 2.0, 1.0, 1.0, packed=share)))
    kernels = choose_kernels(model.module, AUTO)
    assert kernels.packed is packed
    assert ("packed" in kernels.key_inputs()) is packed, "last digits differ, and so do keys"
    assert not choose_kernels(model.module, KernelsConfig(matmul="torch")).packed


def test_a_model_packs_for_many_float32_tokens_alone(model: LanguageModel) -> None:
    layer = model.module.get_output_embeddings()
    with mock.patch.object(packed_linear, "_LEAST", 1):
        model.kernels = Kernels(packed=True)
        for tokens, precision, expected in (
            (WORTH, None, True),
            (WORTH - 1, None, False),
            (WORTH, torch.bfloat16, False),
        ):
            with model.in_precision(precision), model.answering(tokens):
                assert ("forward" in vars(layer)) is expected
        model.kernels = Kernels()
        with model.answering(WORTH):
            assert "forward" not in vars(layer)


def test_the_first_measurement_decides_for_good(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one would find other kernels, and other last bits: the same command must find its results again."""
    probe = Probe(Measured(1.0, 0.5, 1.0, 1.0, 0.5), Measured(1.0, 2.0, 1.0, 1.0, 2.0))
    monkeypatch.setattr(kernel_choice, "measure", probe)
    first = choose_kernels(model.module, AUTO)
    assert choose_kernels(model.module, AUTO) == first
    assert len(probe.left) == 1
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    assert choose_kernels(model.module, AUTO) != first, "another number of threads is measured by itself"


def test_nothing_is_measured_where_it_cannot_be_kept(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(kernel_choice, "measure", Probe())
    assert choose_kernels(model.module, AUTO) == Kernels(why="not measured: the cache cannot be written")


def test_settings_win(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_choice, "measure", Probe(Measured(1.0, 0.5, 1.0, 1.0, 0.5)))
    assert choose_kernels(model.module, KernelsConfig(matmul="torch")).key_inputs() == ("torch", "fused")
    monkeypatch.setattr(kernel_choice, "measure", Probe())
    both = KernelsConfig(matmul="torch", attention="pieces")
    assert choose_kernels(model.module, both).why == "as the settings say"


def test_a_measurement_is_of_positive_times() -> None:
    threads = torch.get_num_threads()
    found = measure({(96, 64): 4, (64, 96): 2}, Heads(4, 2, 16))
    assert min(found.torch, found.onednn, found.bf16, found.pieces or 0, found.fused or 0, found.packed or 0) > 0
    assert torch.get_num_threads() == threads
    assert measure({(96, 64): 1}, None).pieces is None


@pytest.mark.parametrize("matmul", ["torch", "onednn"])
@pytest.mark.parametrize(("attention", "name"), [("pieces", NAME), ("fused", FUSED)])
def test_the_kernels_change_rounding_alone(matmul: str, attention: str, name: str) -> None:
    batch = encoded(3, ((5, 3), (40, 9), (12, 1)))
    expected = load_model(tiny_folder("llama"), device="cpu").target_logprobs(batch)
    chosen = KernelsConfig.model_validate({"matmul": matmul, "attention": attention})
    other = load_model(tiny_folder("llama"), device="cpu", kernels=chosen)
    assert other.attention == name
    found = other.target_logprobs(batch)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    found.sum().backward()
    assert all(weight.grad is not None for weight in other.module.parameters())
