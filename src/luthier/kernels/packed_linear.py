"""Linear layers that multiply by a copy of their weight in oneDNN's own layout, while a model answers on a CPU.

A library lays a weight out anew at each product. With many rows that costs a tenth, with the few rows of a step of
generation more than the product itself. A copy laid out once is worth its memory and its time where many tokens follow.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from luthier.kernels.free_memory import free_bytes
from luthier.kernels.onednn_matmul import bound_kept_kernels

WORTH = 4096
"""Tokens from which on copies are worth their time: all of them take as long as some hundred tokens do, of whose time
they save a twentieth."""
STEP = 256
"""Tokens that a step of generation counts for: it reads every weight for a few tokens, in half the time."""
_LEAST = 2**14
"""Numbers of a weight below which a call costs more than the product."""
_SHARE = 4
"""The copies take one in so many of the free bytes at most."""
_ROWS = 8
"""Rows that a layout is made for; with more it is as fast."""
_mkldnn: Any = torch.ops.mkldnn


@contextlib.contextmanager
def packed_linear_layers(module: nn.Module) -> Iterator[None]:
    """Let float32 linear layers multiply by copies of their weights inside; no weight may be changed meanwhile.

    Nothing is replaced where the copies would take too much of the free memory, and a layer computes by itself where a
    gradient is asked for.
    """
    parts: list[Any] = [part for part in module.modules() if _is_packable(part)]
    free = free_bytes(torch.device("cpu"))
    if free is not None and _SHARE * 4 * sum(part.weight.numel() for part in parts) > free:
        parts = []
    bound_kept_kernels()
    try:
        for part in parts:
            part.forward = functools.partial(_multiply, part, pack(part.weight.detach()))
        yield
    finally:
        for part in parts:
            vars(part).pop("forward", None)


def pack(weight: Tensor) -> Tensor:
    """Return a weight, float32 ``(outputs, inputs)``, in oneDNN's layout."""
    packed: Tensor = _mkldnn._reorder_linear_weight(weight, _ROWS)
    return packed


def multiply(states: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    """``states @ weight.t() + bias`` of float32 ``(..., inputs)``, with what :func:`pack` made of the weight."""
    found: Tensor = _mkldnn._linear_pointwise.default(states, packed, bias, "none", [], "")
    return found


def _is_packable(part: Any) -> bool:
    """Whether a module is a plain linear layer, which nothing else has changed."""
    if type(part) is not nn.Linear or "forward" in vars(part):
        return False
    weight = part.weight
    return bool(weight.dtype is torch.float32 and weight.device.type == "cpu" and weight.numel() >= _LEAST)


def _multiply(part: nn.Linear, packed: Tensor, states: Tensor) -> Tensor:
    if torch.is_grad_enabled() or states.dtype is not torch.float32 or not states.numel():
        return nn.functional.linear(states, part.weight, part.bias)
    return multiply(states, packed, part.bias)
