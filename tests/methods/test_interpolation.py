"""Points between base and trained model: exact ends, the mix of weights between them, and what has no such points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_every_method import attach, card, learn, nothing_is_left, outputs

from luthier.errors import ModelError
from luthier.methods.adapter_io import load_adapter, save_adapter
from luthier.methods.base import Attached
from luthier.methods.interpolation import Interpolable, between, interpolable
from luthier.methods.merging import Mergeable
from luthier.methods.registry import find_method, read_settings
from luthier.models.language_model import LanguageModel
from tiny_models import same_bits, state, tiny_model

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "full": ("full", {}),
    "selective": ("selective", {"last": 1}),
    "biases": ("selective", {"parts": ["norms"]}),
    "adapter": ("adapter", {"bottleneck": 4}),
    "parallel": ("adapter", {"bottleneck": 4, "placement": "parallel", "scale": 4.0}),
    "lora": ("lora", {"rank": 2}),
    "rslora": ("lora", {"rank": 2, "rslora": True, "ranks": {"down_proj": 4}}),
    "dora": ("lora", {"rank": 2, "dora": True}),
    "ia3": ("peft", {"peft_type": "IA3"}),
    "loha": ("peft", {"peft_type": "LOHA", "target_modules": ["q_proj", "v_proj"], "r": 2, "module_dropout": 0.0}),
    "with biases": ("peft", {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"], "bias": "all"}),
    "head": ("peft", {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj", "lm_head"]}),
    "dora head": ("peft", {"peft_type": "LORA", "r": 2, "use_dora": True, "target_modules": ["lm_head"]}),
    "whole head": (
        "peft",
        {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    ),
}
LLAMA_KINDS = [kind for kind in KINDS if kind not in ("with biases",)]


def stored(model: LanguageModel, kind: str, tmp_path: Path) -> Path:
    """Train a kind for three steps on a model, and store it; the model is the base again."""
    name, settings = KINDS[kind]
    method = find_method(name)
    attached = method.attach(model, read_settings(method, settings, where="test"), seed=0)
    learn(model, attached, tmp_path / "work", steps=3, rate=3e-2)
    save_adapter(model, attached, tmp_path / "adapter", card(model, attached, name))
    attached.detach()
    return tmp_path / "adapter"


def way(attached: Attached) -> Interpolable:
    return interpolable(attached, where="test")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("llama", kind) for kind in LLAMA_KINDS),
        *(("llama-tied", kind) for kind in ("full", "lora", "dora", "head", "dora head", "whole head")),
        *(("t5", kind) for kind in ("full", "selective", "adapter")),
        *(("gpt2", kind) for kind in ("full", "dora", "ia3")),
        ("opt", "with biases"),
    ],
)
def test_the_ends_are_exact_and_the_middle_is_between(name: str, kind: str, tmp_path: Path) -> None:
    """Every way begins and ends at the same bits, whichever points were visited before."""
    model = tiny_model(name)
    base, alone = state(model), outputs(model)
    folder = stored(model, kind, tmp_path)
    nothing_is_left(model, base, alone)
    attached = load_adapter(model, folder)
    trained = outputs(model)
    assert not torch.equal(trained, alone)
    seen: dict[float, torch.Tensor] = {}
    for at in (0.5, 1.0, 0.0, 0.25, 1.0, 0.5, 0.0, 0.25):
        way(attached).interpolate(at)
        found = outputs(model)
        assert torch.equal(found, seen.setdefault(at, found)), at
    assert torch.equal(seen[0.0], alone)
    assert torch.equal(seen[1.0], trained)
    assert len({tuple(found.flatten().tolist()) for found in seen.values()}) == 4
    # Taken off at a point, and put on again, it is whole.
    attached.detach()
    nothing_is_left(model, base, alone)
    attached.reattach()
    assert torch.equal(outputs(model), trained)


@pytest.mark.parametrize("kind", ["lora", "rslora", "dora", "ia3", "loha", "head", "whole head"])
def test_a_point_is_the_mix_of_both_models_weights(kind: str, tmp_path: Path) -> None:
    """The weights at 0.3 are 0.7 times the base's and 0.3 times those of the merged model."""
    model = tiny_model("llama")
    folder = stored(model, kind, tmp_path)
    base = {name: weight.clone() for name, weight in state(model).items()}
    attached = load_adapter(model, folder)
    assert isinstance(attached, Mergeable)
    undo = attached.merge()
    merged = {name: weight.clone() for name, weight in state(model).items()}
    undo()
    way(attached).interpolate(0.3)
    found = outputs(model)
    attached.detach()
    assert base.keys() == merged.keys()
    with torch.no_grad():
        for name, weight in model.module.state_dict().items():
            weight.copy_(0.7 * base[name] + 0.3 * merged[name])
    torch.testing.assert_close(found, outputs(model), rtol=1e-4, atol=1e-4)


def test_a_merge_at_a_point_folds_that_point(tmp_path: Path) -> None:
    for number, kind in enumerate(("lora", "dora", "full", "selective", "ia3")):
        model = tiny_model("llama")
        attached = load_adapter(model, stored(model, kind, tmp_path / str(number)))
        way(attached).interpolate(0.5)
        half = outputs(model)
        assert isinstance(attached, Mergeable)
        undo = attached.merge()
        torch.testing.assert_close(outputs(model), half, rtol=1e-4, atol=1e-4)
        undo()
        way(attached).interpolate(0.0)
        attached.detach()
        assert same_bits(state(model), state(tiny_model("llama"))), kind


def test_base_plus_a_share_of_the_change_would_miss_the_end() -> None:
    base, trained = torch.tensor([1.0, -0.0]), torch.tensor([1e-8, -0.0])
    assert not torch.equal(base + 1.0 * (trained - base), trained)
    for end, expected in ((0.0, base), (1.0, trained)):
        assert same_bits({"": between(base, trained, end)}, {"": expected})
    assert between(torch.tensor([2.0]), torch.tensor([4.0]), 0.25).item() == 2.5
    assert between(torch.tensor([2.0]), torch.tensor([4.0]), 1.5).item() == 5.0


@pytest.mark.parametrize("method", ["prompt_tuning", "prefix_tuning"])
def test_virtual_tokens_have_no_way_to_the_base(method: str) -> None:
    attached = attach(tiny_model("llama"), method)
    with pytest.raises(ModelError, match="virtual tokens cannot be interpolated") as caught:
        interpolable(attached, where="arm 'soft', interpolate")
    assert "arm 'soft', interpolate" in str(caught.value)
