"""The one search for stacks of blocks, and the one exchange of attention functions."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from luthier.kernels.attention_swap import attention_implementation
from luthier.kernels.block_stacks import block_stacks, last_stack
from tiny_models import DECODERS, ENCODER_DECODERS, FURTHER, tiny_model


class OwnAttention(nn.Module):
    """Attention by the name of its class, with one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(2, 2)


class Block(nn.Module):
    """Attention, and more experts than there are blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = OwnAttention()
        self.experts = nn.ModuleList(nn.Linear(2, 2) for _ in range(8))


def test_experts_are_no_stack_of_blocks() -> None:
    model = nn.Module()
    model.layers = nn.ModuleList(Block() for _ in range(3))
    assert [name for name, _ in block_stacks(model)] == ["layers"]
    assert last_stack(model) == list(model.layers)


def test_a_model_without_attention_has_no_stack() -> None:
    assert last_stack(nn.Sequential(nn.ModuleList([nn.Linear(2, 2)]))) == []


@pytest.mark.parametrize("name", [*DECODERS, *FURTHER, *ENCODER_DECODERS])
def test_every_architecture_has_the_stacks_that_its_configuration_says(name: str) -> None:
    module = tiny_model(name).module
    config = module.config.get_text_config()
    layers = getattr(config, "decoder_layers", None) or getattr(config, "num_decoder_layers", None)
    assert len(last_stack(module)) == (layers or config.num_hidden_layers)
    assert len(block_stacks(module)) == (2 if name in ENCODER_DECODERS else 1)


def test_attention_is_exchanged_in_every_configuration_and_put_back_after_an_error() -> None:
    model: Any = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1), nn.Linear(1, 1))
    shared, own = SimpleNamespace(_attn_implementation="sdpa"), SimpleNamespace(_attn_implementation="eager")
    model[0].config = model[1].config = shared
    model[2].config = own

    def failing() -> None:
        with attention_implementation(model, "other"):
            assert (shared._attn_implementation, own._attn_implementation) == ("other", "other")
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        failing()
    assert (shared._attn_implementation, own._attn_implementation) == ("sdpa", "eager")
