"""Find the stacks of transformer blocks in any architecture: the only search for them.

Architectures name their parts as they like; they agree in structure. A stack is a list of modules that stands in no
other list (the experts of a mixture do) and holds attention: modules of class ``…Attention`` with linear layers inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D


def block_stacks(model: nn.Module) -> list[tuple[str, nn.ModuleList]]:
    """Return the stacks with their names, in the order of definition: an encoder's before the decoder's."""
    lists = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    outer = [
        (name, module)
        for name, module in lists
        if not any(name.startswith(f"{other}.") for other, _ in lists if other != name)
    ]
    return [
        (name, module) for name, module in outer if any(True for block in module for _ in attention_modules(block, ""))
    ]


def last_stack(model: nn.Module) -> list[Any]:
    """Return the blocks before the output layer: the decoder's, in an encoder-decoder. Empty where none are found."""
    stacks = block_stacks(model)
    return list(stacks[-1][1]) if stacks else []


def attention_modules(block: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    """Yield the innermost modules of class ``…Attention`` with linear layers, their names after ``prefix``."""
    found = [
        (name, module)
        for name, module in block.named_modules(prefix=prefix)
        if "Attention" in type(module).__name__ and any(is_linear(part) for part in module.modules())
    ]
    for name, module in found:
        if not any(other is not module and other_name.startswith(f"{name}.") for other_name, other in found):
            yield name, module


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear layer; GPT-2's are of a class of their own."""
    return isinstance(module, nn.Linear | Conv1D)
