"""Module discovery: the blocks, attention, MLP and normalisation layers of a transformer of any architecture.

Architectures name their parts as they like; they agree in structure (see :mod:`luthier.kernels.block_stacks`).
Inside a block, linear layers of a module of class ``…Attention`` are attention's, and all others are the MLP's; the
last of each writes back to the hidden states. Normalisation layers have ``Norm`` in the name of their class.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from luthier.errors import ModelError
from luthier.kernels.block_stacks import attention_modules, block_stacks, is_linear


@dataclass(frozen=True)
class Layer:
    """A linear layer with its name in the model."""

    name: str
    module: nn.Module

    @property
    def inputs(self) -> int:
        """Width of its input."""
        return _widths(self.module)[0]

    @property
    def outputs(self) -> int:
        """Width of its output."""
        return _widths(self.module)[1]


@dataclass(frozen=True)
class Block:
    """One transformer block.

    Attributes:
        name: Of the module.
        module: The block.
        attentions: Linear layers of each attention module, in order; a decoder's block of an encoder-decoder has two.
        mlp: Linear layers of the MLP, in order.
    """

    name: str
    module: nn.Module
    attentions: tuple[tuple[Layer, ...], ...]
    mlp: tuple[Layer, ...]


def blocks(model: Any) -> list[Block]:
    """Return the transformer blocks in order; an encoder's before the decoder's.

    Raises:
        ModelError: When no blocks are found.
    """
    found = [
        _block(f"{name}.{index}", block)
        for name, stack in block_stacks(model)
        for index, block in enumerate(stack)
        if any(True for _ in block.parameters())
    ]
    if not found:
        raise ModelError(
            f"no transformer blocks are found in a {type(model).__name__}",
            fix="Choose parameters or layers by name instead.",
        )
    return found


def last_blocks(model: Any, count: int) -> list[Block]:
    """Return the last blocks before the output layer: the decoder's, in an encoder-decoder."""
    name, stack = block_stacks(model)[-1]
    own = [_block(f"{name}.{index}", block) for index, block in enumerate(stack)]
    return own[max(0, len(own) - count) :]


def block_count(model: Any) -> int:
    """Number of blocks that :func:`last_blocks` chooses from."""
    stacks = block_stacks(model)
    return len(stacks[-1][1]) if stacks else 0


def norms(model: Any) -> Iterator[tuple[str, nn.Module]]:
    """Yield the normalisation layers with their names."""
    yield from ((name, module) for name, module in model.named_modules() if "Norm" in type(module).__name__)


def linear_layers(module: nn.Module, prefix: str = "") -> list[Layer]:
    """Return the linear layers of a module, in the order of definition. GPT-2's are of a class of their own."""
    return [Layer(name, layer) for name, layer in module.named_modules(prefix=prefix) if is_linear(layer)]


def _block(name: str, module: nn.Module) -> Block:
    attentions = tuple(tuple(linear_layers(part, place)) for place, part in attention_modules(module, name))
    taken = {layer.name for layers in attentions for layer in layers}
    mlp = tuple(layer for layer in linear_layers(module, name) if layer.name not in taken)
    return Block(name, module, attentions, mlp)


def _widths(layer: nn.Module) -> tuple[int, int]:
    weight: Any = layer.weight
    rows, columns = weight.shape
    return (rows, columns) if isinstance(layer, Conv1D) else (columns, rows)
