"""Attention on the CPU within examples that are laid end to end, saving only its inputs for the backward pass.

It is computed in pieces of some queries of some examples, whose logits fit the processor's cache: products of many
heads at a time, without the keys that no causal query of a piece attends to. The attention weights are recomputed in
the backward pass (as in FlashAttention, Dao et al. 2022, arXiv:2205.14135, section 3.1). torch's fused kernel
multiplies one head at a time, pads every example to the longest, and saves all weights where a bias of the logits is
trained, as T5's is.

In shapes, ``B`` are examples, ``G`` key heads, ``r`` the heads that share one, ``L`` queries, ``K`` keys, ``D`` the
size of a head; ``N`` are pairs of an example and a key head, ``R`` the queries of all heads that share it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Lengths: TypeAlias = npt.NDArray[np.int64]
Place: TypeAlias = tuple[slice, ...]
_LOGITS = 2**18
"""Logits of a piece: half or twice as many were slower for heads of size 32 and 64."""
_STEP = 32
"""Queries of a piece: more of them compute more masked logits, fewer multiply inefficiently. Keys come in multiples of
it, so that there are few shapes: oneDNN generates a kernel for each."""
_aten: Any = torch.ops.aten


@dataclass(frozen=True, slots=True)
class ExampleLengths:
    """How many tokens each example has: int64 ``(examples,)``.

    Attributes:
        queries: Of each example.
        keys: Of each example; equal to its queries in self-attention.
    """

    queries: Lengths
    keys: Lengths


def attend_in_pieces(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None,
    *,
    lengths: ExampleLengths,
    causal: bool,
    scale: float,
) -> Tensor:
    """Attend within each example; see :func:`luthier.kernels.attention.attend_end_to_end`.

    All is computed in float32; the result has the dtype of the inputs.
    """
    if bias is not None:
        whole = q.shape[1], int(lengths.queries.max()), int(lengths.keys.max())
        bias = bias.expand(1, *(max(sizes) for sizes in zip(bias.shape[1:], whole, strict=True)))
    blocks = _blocks(tuple(lengths.queries.tolist()), tuple(lengths.keys.tolist()), causal)
    found: Tensor = _Attention.apply(q, k, v, bias, blocks, scale)  # type: ignore[no-untyped-call]
    return found


class _Attention(torch.autograd.Function):
    """Saves queries, keys, values and the bias; see the module."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        bias: Tensor | None,
        blocks: list[_Block],
        scale: float,
    ) -> Tensor:
        result = torch.empty_like(q)
        with torch.autocast("cpu", enabled=False):
            for block in blocks:
                queries, keys, values = block.lay_out(q, k, v, scale)
                found = torch.empty_like(queries)
                for piece in _pieces(block, queries, keys):
                    weights = _weights(block, piece, queries, keys, bias)  # (N, R, K)
                    found[piece.queries] = (weights @ _many(values[piece.keys])).view_as(found[piece.queries])
                block.queries.take_from(found, result)
        ctx.save_for_backward(q, k, v, bias)
        ctx.rest = blocks, scale
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, bias = ctx.saved_tensors
        blocks, scale = ctx.rest
        of_bias = torch.zeros_like(bias, dtype=torch.float32) if ctx.needs_input_grad[3] else None
        of_q, of_k, of_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for block in blocks:
            queries, keys, values = block.lay_out(q, k, v, scale)
            change = block.queries.lay_out(gradients[0], keys.shape[1])
            change.masked_fill_(block.queries.padding[:, None, None, :, None], 0)
            of_queries, of_keys, of_values = torch.empty_like(queries), torch.zeros_like(keys), torch.zeros_like(values)
            for piece in _pieces(block, queries, keys):
                weights = _weights(block, piece, queries, keys, bias)  # (N, R, K)
                here = _many(change[piece.queries])  # (N, R, D)
                _add(of_values[piece.keys], weights.mT @ here)
                of_weights = here @ _many(values[piece.keys]).mT
                of_logits = _aten._softmax_backward_data(of_weights, weights, -1, torch.float32)
                of_part = of_queries[piece.queries]
                of_part[:] = (of_logits @ _many(keys[piece.keys])).view(of_part.shape)
                _add(of_keys[piece.keys], of_logits.mT @ _many(queries[piece.queries]))
                if of_bias is not None:
                    own = _bias_in(of_bias, queries.shape[1:3], piece)
                    by_place = of_logits.view(*change[piece.queries].shape[:-1], -1)  # (B, G, r, L, K)
                    own += by_place[..., : own.shape[-2], : own.shape[-1]].sum(dim=0)
            block.queries.take_from(of_queries.mul_(scale), of_q)
            block.keys.take_from(of_keys[:, :, None], of_k)
            block.keys.take_from(of_values[:, :, None], of_v)
        return of_q, of_k, of_v, of_bias, None, None


class _Rows:
    """Where the tokens of some examples lie: end to end, and side by side, padded on the right."""

    def __init__(self, lengths: Lengths, chosen: Lengths) -> None:
        self.lengths = lengths[chosen]
        longest = int(_steps(self.lengths).max()) * _STEP
        places = np.arange(longest)
        filled = places < self.lengths[:, None]  # (B, longest)
        starts = (np.cumsum(lengths) - lengths)[chosen]
        # Padding repeats a token of its example; what is computed from it is never used.
        self.read = torch.from_numpy(starts[:, None] + np.minimum(places, self.lengths[:, None] - 1))
        self.padding = torch.from_numpy(~filled)
        self.tokens = torch.from_numpy((starts[:, None] + places)[filled])
        self.example, self.place = (torch.from_numpy(index) for index in np.nonzero(filled))

    def lay_out(self, tensor: Tensor, heads: int) -> Tensor:
        """``(tokens, H, D)`` to float32 ``(B, heads, H / heads, longest, D)``."""
        laid_out = tensor.index_select(0, self.read.flatten()).float()
        return laid_out.view(*self.read.shape, heads, -1, tensor.shape[-1]).permute(0, 2, 3, 1, 4)

    def take_from(self, laid_out: Tensor, result: Tensor) -> None:
        """Undo :meth:`lay_out`, into the places of these examples in ``(tokens, H, D)``."""
        found = laid_out[self.example, :, :, self.place].flatten(1, 2)
        result.index_copy_(0, self.tokens, found.to(result.dtype))


@dataclass(frozen=True, slots=True)
class _Block:
    """Examples that are attended to together."""

    queries: _Rows
    keys: _Rows
    causal: bool

    def lay_out(self, q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
        """Scaled queries ``(B, G, r, L, D)``, keys and values ``(B, G, K, D)``."""
        keys, values = (self.keys.lay_out(whole, k.shape[1])[:, :, 0] for whole in (k, v))
        return self.queries.lay_out(q, k.shape[1]).mul_(scale), keys, values


@functools.lru_cache(maxsize=8)
def _blocks(asked: tuple[int, ...], known: tuple[int, ...], causal: bool) -> list[_Block]:
    """Group examples by their number of keys, most queries first; cached, because every layer needs the same ones."""
    of_queries, of_keys = np.array(asked), np.array(known)
    order = np.argsort(-of_queries, kind="stable")
    steps = np.zeros_like(of_keys) if causal else _steps(of_keys)  # a causal piece has few keys anyway
    parts = [order[steps[order] == step] for step in np.unique(steps)]
    return [_Block(_Rows(of_queries, chosen), _Rows(of_keys, chosen), causal) for chosen in parts]


def _steps(lengths: Lengths) -> Lengths:
    return -(-lengths // _STEP)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Where a part of a block lies in the queries, ``(B, G, r, L, D)``, and in keys and values, ``(B, G, K, D)``."""

    queries: Place
    keys: Place


def _pieces(block: _Block, queries: Tensor, keys: Tensor) -> Iterator[_Piece]:
    """Cut a block into pieces of some examples, key heads and queries, with few enough logits."""
    _, heads, share, asked, _ = queries.shape
    for first in range(0, asked, _STEP):
        last = first + _STEP
        seen = last if block.causal else keys.shape[2]
        together = max(1, _LOGITS // (share * _STEP * seen))  # pairs of an example and a key head
        for example in _slices(int((block.queries.lengths > first).sum()), max(1, together // heads)):
            for head in _slices(heads, together):
                yield _Piece((example, head, slice(None), slice(first, last)), (example, head, slice(seen)))


def _slices(length: int, step: int) -> Iterator[slice]:
    return (slice(first, min(first + step, length)) for first in range(0, length, step))


def _many(part: Tensor) -> Tensor:
    """One matrix for each example and key head: ``(B, G, K, D)`` or ``(B, G, r, L, D)`` to ``(N, R, D)``."""
    return part.reshape(part.shape[0] * part.shape[1], -1, part.shape[-1])


def _add(total: Tensor, matrices: Tensor) -> None:
    """Add the matrices of a piece, ``(N, R, D)``, where they belong."""
    total += matrices.view(total.shape)


def _weights(block: _Block, piece: _Piece, queries: Tensor, keys: Tensor, bias: Tensor | None) -> Tensor:
    """Attention weights of a piece: ``(N, R, K)``."""
    part = queries[piece.queries]  # (B, G, r, L, D)
    logits = _many(part) @ _many(keys[piece.keys]).mT
    by_place = logits.view(*part.shape[:-1], -1)  # (B, G, r, L, K)
    if bias is not None:
        own = _bias_in(bias, queries.shape[1:3], piece)
        by_place[..., : own.shape[-2], : own.shape[-1]] += own
    if block.causal:
        # Padding is on the right, where a causal query never attends.
        by_place[..., -_STEP:] += torch.full((_STEP, _STEP), -torch.inf).triu(1)
    elif block.keys.padding.any():
        by_place.masked_fill_(block.keys.padding[piece.keys[0], None, None, None], -torch.inf)
    return logits.softmax(dim=-1)


def _bias_in(bias: Tensor, heads: torch.Size, piece: _Piece) -> Tensor:
    """The part of a bias ``(1, H, L, K)`` that belongs to a piece, within its bounds: ``(G, r, L, K)``."""
    _, head, share, rows = piece.queries
    return bias.view(*heads, *bias.shape[2:])[head, share, rows, piece.keys[-1]]
