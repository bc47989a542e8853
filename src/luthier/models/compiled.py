"""Blocks whose pointwise work is fused by ``torch.compile``: normalisations, rotations, gates, residual sums.

Attention stays as it is (:mod:`luthier.models.varlen`), and so does the last block, of which only a part is computed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface

from luthier.models.varlen import NAME, attend


@contextlib.contextmanager
def compiled_blocks(module: nn.Module) -> Iterator[None]:
    """Let every block but the last of the deepest stack run compiled inside; needs a C++ compiler on a CPU."""
    stacks: list[list[Any]] = [list(part) for part in module.modules() if isinstance(part, nn.ModuleList)]
    blocks = max(stacks, key=len)[:-1] if stacks else []
    AttentionInterface.register(NAME, torch.compiler.disable(attend))  # type: ignore[no-untyped-call]
    try:
        for block in blocks:
            block.forward = torch.compile(block.forward, dynamic=True)
        yield
    finally:
        AttentionInterface.register(NAME, attend)
        for block in blocks:
            del block.forward
