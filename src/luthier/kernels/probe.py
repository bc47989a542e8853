"""Measure on this processor which library multiplies faster, and which attention: on a model's own shapes.

Two ways to compute the same are timed by turns, and of each the best time counts: in seconds of the processor,
because those of the clock hold what other processes take.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from luthier.kernels.attention import attend_end_to_end, attend_fused
from luthier.kernels.cpu_attention import ExampleLengths
from luthier.kernels.onednn_matmul import multiplying_by_onednn
from luthier.kernels.packed_linear import multiply, pack

_SECONDS, _TURNS = 0.03, 3
"""Of the processor, of timing each two; and the fewest turns. A first call of each comes on top."""
_OPERATIONS = 1e8
"""Of one product: a larger weight gets fewer rows, within bounds."""
_ROWS = (16, 256)
_LARGEST = 2**24
"""Numbers of a weight that is measured: larger ones, output layers, take more time to read than to multiply."""
_FEW = 8
"""Rows of a product as steps of generation have it."""
_BEYOND_CACHE = 2**23
"""Numbers of weights that are read from memory."""
_EXAMPLES = (160, 128)
"""Tokens of the examples whose attention is timed."""


@dataclass(frozen=True, slots=True)
class Heads:
    """The shape of a model's attention.

    Attributes:
        queries: Query heads.
        keys: Key heads.
        size: Of a head.
    """

    queries: int
    keys: int
    size: int


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds of a model's products and attention on this processor; None where it was not measured.

    Attributes:
        torch: All products of a token, forward and backward, by the library that torch chooses (MKL).
        onednn: The same by oneDNN.
        bf16: Seconds in bf16 of those that torch takes in float32, for the commonest shape.
        pieces: Attention in pieces, forward and backward.
        fused: The same by torch's fused kernel.
        packed: Seconds of a few rows' products with weights laid out for oneDNN, as a share of torch's.
    """

    torch: float
    onednn: float
    bf16: float
    pieces: float | None
    fused: float | None
    packed: float | None = None


def measure(shapes: Mapping[tuple[int, int], int], heads: Heads | None) -> Measured:
    """Time products and attention, with one thread: several would wait for one another on a busy machine.

    Args:
        shapes: Of the weights, ``(outputs, inputs)``, and how many weights of each shape there are.
        heads: Of the attention; None to leave it out.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _measure(shapes, heads)
    finally:
        torch.set_num_threads(threads)


def _measure(shapes: Mapping[tuple[int, int], int], heads: Heads | None) -> Measured:
    small = {shape: count for shape, count in shapes.items() if shape[0] * shape[1] <= _LARGEST} or shapes
    pairs = [(_operands(shape), count) for shape, count in small.items()]

    def by_torch() -> float:
        return sum(count * _seconds(partial(_products, *own)) / len(own[0]) for own, count in pairs)

    def by_onednn() -> float:
        with multiplying_by_onednn():
            return by_torch()

    states, weight, _ = max(pairs, key=lambda pair: pair[1])[0]
    lower, lower_weight = states.bfloat16(), weight.bfloat16()
    torch_seconds, onednn_seconds = _by_turns(by_torch, by_onednn)
    full, half = _by_turns(
        lambda: _seconds(lambda: states @ weight.t()), lambda: _seconds(lambda: lower @ lower_weight.t())
    )
    pieces = fused = None
    if heads is not None:
        pieces, fused = _by_turns(lambda: _attention(heads, fused=False), lambda: _attention(heads, fused=True))
    return Measured(torch_seconds, onednn_seconds, half / full, pieces, fused, _packed(weight))


def _packed(weight: Tensor) -> float:
    """Seconds of the products of :data:`_FEW` rows by one of several weights, laid out once; a share of torch's.

    There are as many weights as do not fit the processor's cache, as those of a model do not.
    """
    weights = [weight.clone() for _ in range(max(1, _BEYOND_CACHE // weight.numel()))]
    copies = [pack(own) for own in weights]
    states = torch.ones(_FEW, weight.shape[1])
    own, packed = _by_turns(
        lambda: _seconds(lambda: [states @ own.t() for own in weights]),
        lambda: _seconds(lambda: [multiply(states, own, None) for own in copies]),
    )
    return packed / own


def _operands(shape: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs ``(rows, inputs)``, a weight ``(outputs, inputs)`` and a gradient ``(rows, outputs)``."""
    outputs, inputs = shape
    rows = int(min(max(_OPERATIONS / (2 * outputs * inputs), _ROWS[0]), _ROWS[1]))
    return torch.ones(rows, inputs), torch.ones(outputs, inputs), torch.ones(rows, outputs)


def _products(states: Tensor, weight: Tensor, gradient: Tensor) -> None:
    """The three products of a linear layer: forward, the gradient of the inputs, the gradient of the weight."""
    torch.mm(states, weight.t())
    torch.mm(gradient, weight)
    torch.mm(gradient.t(), states)


def _by_turns(first: Callable[[], float], second: Callable[[], float]) -> tuple[float, float]:
    """Return the best seconds of each of two, after one call of each to warm up."""
    first(), second()
    turns: list[tuple[float, float]] = []
    began = time.thread_time()
    while len(turns) < _TURNS or time.thread_time() - began < _SECONDS:
        turns.append((first(), second()))
    return min(one for one, _ in turns), min(other for _, other in turns)


def _seconds(compute: Callable[[], object]) -> float:
    began = time.thread_time()
    compute()
    return time.thread_time() - began


def _attention(heads: Heads, *, fused: bool) -> float:
    by = attend_fused if fused else attend_end_to_end
    tokens, lengths = sum(_EXAMPLES), ExampleLengths(np.array(_EXAMPLES), np.array(_EXAMPLES))
    q = torch.ones(tokens, heads.queries, heads.size, requires_grad=True)
    k, v = (torch.ones(tokens, heads.keys, heads.size, requires_grad=True) for _ in range(2))

    def compute() -> None:
        with torch.enable_grad():
            found = by(q, k, v, None, lengths=lengths, causal=True, scaling=None, dropout=0.0)
            found.sum().backward()

    return _seconds(compute)
