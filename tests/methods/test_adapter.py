"""Bottleneck adapters against the published formulas, written out by hand, in every family of models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from test_every_method import ITEMS, outputs, trained

from luthier.errors import LuthierError, ModelError
from luthier.methods.adapter import AttachedAdapters, weights_of_one
from luthier.methods.adapter_io import load_adapter
from luthier.methods.base import count
from luthier.methods.registry import find_method, read_settings
from luthier.models.language_model import LanguageModel
from luthier.objectives.cross_entropy import cross_entropy
from tiny_models import CONFIGURATIONS, state, tiny_model


def put(model: LanguageModel, **settings: Any) -> AttachedAdapters:
    method = find_method("adapter")
    attached = method.attach(model, read_settings(method, settings, where="test"), seed=0)
    assert isinstance(attached, AttachedAdapters)
    return attached


def disturb(attached: AttachedAdapters) -> dict[str, torch.Tensor]:
    """Give every weight a value, so that every adapter does something."""
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in attached.trainable().values():
            weight.copy_(torch.randn(weight.shape, generator=draw) * 0.3)
    return {name: weight.detach() for name, weight in attached.trainable().items()}


@pytest.mark.parametrize("name", CONFIGURATIONS)
@pytest.mark.parametrize("placement", ["houlsby", "pfeiffer", "parallel"])
def test_every_architecture(name: str, placement: str) -> None:
    model = tiny_model(name)
    base, weights = outputs(model), state(model)
    attached = put(model, placement=placement, bottleneck=4)
    assert torch.equal(outputs(model), base)
    attentions = 1 + (2 if model.encoder_decoder else 0)
    blocks = 4 if model.encoder_decoder else 2
    places = {"houlsby": blocks + 2 * attentions, "pfeiffer": blocks, "parallel": blocks}[placement]
    assert count(attached.trainable()) == places * weights_of_one(32, 4) == places * (2 * 4 * 32 + 32 + 4)
    disturb(attached)
    assert not torch.allclose(outputs(model), base, atol=1e-3)
    cross_entropy(model, ITEMS).backward()
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in attached.trainable().values())
    attached.detach()
    assert torch.equal(outputs(model), base)
    assert state(model).keys() == weights.keys()


def bottleneck(weights: dict[str, torch.Tensor], layer: str, hidden: torch.Tensor) -> torch.Tensor:
    """up(relu(down(h))) as Houlsby et al. write it, section 2.1."""
    own = {part: weights[f"{layer}.adapter.{part}"] for part in ("down.weight", "down.bias", "up.weight", "up.bias")}
    inside = torch.relu(hidden @ own["down.weight"].T + own["down.bias"])
    return inside @ own["up.weight"].T + own["up.bias"]


@torch.no_grad()
@pytest.mark.parametrize("placement", ["houlsby", "pfeiffer", "parallel"])
def test_a_llama_block_by_the_published_formulas(placement: str) -> None:
    """One block written out: x + A(attention(norm(x))), then the MLP with its adapter behind or beside it."""
    model = tiny_model("llama")
    block = model.module.model.layers[0]
    hidden = torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(1))
    places = model.module.model.rotary_emb(hidden, torch.arange(5)[None])

    def attend(x: torch.Tensor) -> torch.Tensor:
        mask = torch.full((5, 5), float("-inf")).triu(1)[None, None]
        found: torch.Tensor = block.self_attn(x, position_embeddings=places, attention_mask=mask)[0]
        return found

    attention = attend(block.input_layernorm(hidden))  # before the adapters are on
    attached = put(model, placement=placement, bottleneck=4, scale=4.0 if placement == "parallel" else 1.0)
    weights = disturb(attached)
    name = "model.layers.0.self_attn.o_proj"
    middle = hidden + attention + (bottleneck(weights, name, attention) if placement == "houlsby" else 0)
    attached.detach()
    normed = block.post_attention_layernorm(middle)
    mlp = block.mlp(normed)
    read = normed if placement == "parallel" else mlp
    added = bottleneck(weights, "model.layers.0.mlp.down_proj", read) * (4 if placement == "parallel" else 1)
    attached.reattach()
    mask = torch.full((5, 5), float("-inf")).triu(1)[None, None]
    found = block(hidden, position_embeddings=places, attention_mask=mask)
    torch.testing.assert_close(found if torch.is_tensor(found) else found[0], middle + mlp + added)


@pytest.mark.parametrize("placement", ["houlsby", "parallel"])
def test_the_folder_says_all_that_is_needed(placement: str, tmp_path: Path) -> None:
    from luthier.methods.adapter_io import Card, save_adapter

    model = tiny_model("bart")
    attached = put(model, placement=placement, bottleneck=3, function="silu", scale=2.0, dropout=0.1)
    disturb(attached)
    expected = outputs(model)
    save_adapter(model, attached, tmp_path / "a", Card("0", "adapter", {}, model.name, model.digest))
    plan = json.loads((tmp_path / "a" / "adapter.json").read_text())
    assert (plan["placement"], plan["bottleneck"], plan["function"], plan["scale"]) == (placement, 3, "silu", 2.0)
    assert {place["width"] for place in plan["places"]} == {32}
    other = tiny_model("bart")
    load_adapter(other, tmp_path / "a")
    assert torch.equal(outputs(other), expected)


def test_places_that_the_model_lacks_are_all_named(tmp_path: Path) -> None:
    model = tiny_model("llama")
    base = outputs(model)
    attached, folder = trained(model, "adapter", tmp_path)
    attached.detach()
    plan = json.loads((folder / "adapter.json").read_text())
    plan["places"][0]["writes"] = "model.layers.7.self_attn.o_proj"
    plan["places"][1]["width"] = 99
    (folder / "adapter.json").write_text(json.dumps(plan))
    with pytest.raises(LuthierError) as caught:
        load_adapter(model, folder)
    assert "no layer 'model.layers.7.self_attn.o_proj'" in str(caught.value)
    assert "was 99 wide, the model's is 32" in str(caught.value)
    (folder / "adapter.json").write_text("{")
    with pytest.raises(ModelError, match="damaged"):
        load_adapter(model, folder)
    assert torch.equal(outputs(model), base)
