"""Adapters of several methods on one base, changed over at will; and merges that prove themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_every_method import ITEMS, PROBES, RATES, attach, learn, nothing_is_left, outputs, trained

from luthier.errors import ModelError
from luthier.kernels.verification import Tolerance
from luthier.methods.adapter_io import add_adapter, load_adapter
from luthier.methods.base import Attached
from luthier.methods.merging import merge
from luthier.methods.registry import METHODS
from luthier.models.language_model import LanguageModel
from tiny_models import same_bits, state, tiny_model

MERGEABLE = ("lora", "peft", "selective", "full")
BESIDE = ("adapter", "prompt_tuning", "prefix_tuning")
"""These compute something that no weights of the base can."""


def test_every_method_is_merged_or_refused_below() -> None:
    assert sorted((*MERGEABLE, *BESIDE)) == sorted(METHODS)


def stored(name: str, method: str, tmp_path: Path) -> tuple[Path, torch.Tensor]:
    """Train a method on a model of its own, and store it; return its folder and its outputs."""
    model = tiny_model(name)
    _, folder = trained(model, method, tmp_path / method)
    return folder, outputs(model)


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_adapters_of_every_method_share_a_base(name: str, tmp_path: Path) -> None:
    model = tiny_model(name)
    base, alone = state(model), outputs(model)
    expected = {}
    for method in METHODS:
        folder, expected[method] = stored(name, method, tmp_path)
        add_adapter(model, method, folder)
        nothing_is_left(model, base, alone)
    assert model.adapters.names == tuple(METHODS)
    # A, B, C … C, B, A: every method comes back after another.
    for method in (*METHODS, *reversed(tuple(METHODS)), *METHODS):
        with model.using(method):
            assert torch.equal(outputs(model), expected[method]), method
    nothing_is_left(model, base, alone)


def test_a_then_b_then_a_and_one_inside_the_other(tmp_path: Path) -> None:
    model = tiny_model("llama")
    alone = outputs(model)
    lora, a = stored("llama", "lora", tmp_path)
    prompt, b = stored("llama", "prompt_tuning", tmp_path)
    add_adapter(model, "a", lora)
    add_adapter(model, "b", str(prompt))
    with model.using("a"):
        assert torch.equal(outputs(model), a)
        with model.using("b"):
            assert torch.equal(outputs(model), b)
            with model.using(None):
                assert torch.equal(outputs(model), alone)
        assert torch.equal(outputs(model), a)
        with pytest.raises(ModelError, match="adapter 'a' is in use"):
            load_adapter(model, prompt)
    assert torch.equal(outputs(model), alone)


def test_names_are_checked_and_a_fault_inside_leaves_the_base(tmp_path: Path) -> None:
    model = tiny_model("llama")
    base, alone = state(model), outputs(model)
    folder, _ = stored("llama", "lora", tmp_path)
    add_adapter(model, "summaries", folder)
    with pytest.raises(ModelError, match="no adapter 'sumaries'") as caught, model.using("sumaries"):
        pass
    assert "Did you mean 'summaries'?" in str(caught.value)
    with pytest.raises(ModelError, match="there is an adapter 'summaries' already"):
        add_adapter(model, "summaries", folder)
    with pytest.raises(RuntimeError, match="inside"), model.using("summaries"):
        raise RuntimeError("inside")
    nothing_is_left(model, base, alone)


def taught(name: str, method: str, tmp_path: Path) -> tuple[LanguageModel, Attached]:
    model = tiny_model(name)
    attached = attach(model, method)
    learn(model, attached, tmp_path, steps=10, rate=RATES.get(method, 1e-2))
    return model, attached


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "bart"])
@pytest.mark.parametrize("method", MERGEABLE)
def test_merged_equals_unmerged(method: str, name: str, tmp_path: Path) -> None:
    model, attached = taught(name, method, tmp_path)
    before, weights = outputs(model), state(model)
    measured = iter([0.25, 0.5])
    merged = merge(model, attached, PROBES, metric=lambda: next(measured))
    assert merged.greatest_difference <= merged.tolerance
    assert (merged.metric_before, merged.metric_after) == (0.25, 0.5)
    torch.testing.assert_close(outputs(model), before, rtol=1e-4, atol=1e-4)
    assert not any("lora" in key or "ia3" in key for key in model.module.state_dict())
    assert not any(weight.requires_grad for weight in model.module.parameters())
    merged.undo()
    assert torch.equal(outputs(model), before)
    assert same_bits(state(model), weights)
    assert any(weight.requires_grad for weight in model.module.parameters())


@pytest.mark.parametrize("method", ["lora", "peft"])
def test_a_merge_beyond_tolerance_is_refused_and_changes_nothing(method: str, tmp_path: Path) -> None:
    model, attached = taught("llama", method, tmp_path)
    before, weights = outputs(model), state(model)
    with pytest.raises(ModelError, match=r"other logits \(greatest difference .*, allowed 0\)"):
        merge(model, attached, ITEMS, tolerance=Tolerance(0.0, "the largest"))
    assert torch.equal(outputs(model), before)
    assert same_bits(state(model), weights)


@pytest.mark.parametrize("name", ["llama", "t5"])
@pytest.mark.parametrize("method", BESIDE)
def test_what_computes_beside_the_weights_is_not_merged(method: str, name: str, tmp_path: Path) -> None:
    model, attached = taught(name, method, tmp_path)
    before = outputs(model)
    with pytest.raises(ModelError, match="cannot be merged into them"):
        merge(model, attached, ITEMS)
    assert torch.equal(outputs(model), before)
