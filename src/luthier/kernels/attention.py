"""Attention within examples that lie end to end: on the CPU in pieces, elsewhere by torch's fused kernels.

For torch's kernels, examples of similar length are laid side by side, padded on the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from luthier.kernels.cpu_attention import ExampleLengths, Lengths, attend_in_pieces

_ALIKE = 0.7
"""Examples at least this fraction of the longest one share a group: less padding costs more calls than it saves."""
_SHORT = 48
"""Examples of at most this many tokens share a group whatever their lengths, for the same reason."""


def groups(*lengths: Sequence[int]) -> list[slice]:
    """Cut neighbouring examples into groups that are similar in each of the given lengths."""
    found: list[slice] = []
    first, count = 0, len(lengths[0])
    while first < count:
        last = first + 1
        ranges = [(sizes[first], sizes[first]) for sizes in lengths]
        while last < count:
            ranges = [
                (min(low, sizes[last]), max(high, sizes[last]))
                for (low, high), sizes in zip(ranges, lengths, strict=True)
            ]
            if any(low < _ALIKE * high and high > _SHORT for low, high in ranges):
                break
            last += 1
        found.append(slice(first, last))
        first = last
    return found


def attend_end_to_end(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None,
    *,
    lengths: ExampleLengths,
    causal: bool,
    scaling: float | None,
    dropout: float,
) -> Tensor:
    """Attend within each example.

    Args:
        q: ``(queries of all examples, heads, head size)``.
        k: ``(keys of all examples, key heads, head size)``.
        v: The same shape as ``k``.
        bias: Added to the logits by places in the example, ``(1, heads, longest, longest)``.
        lengths: Queries and keys of each example.
        causal: Whether a query attends only to keys up to its own place.
        scaling: Factor of the logits; one over the square root of the head size where not given.
        dropout: Probability of dropping an attention weight.

    Returns:
        ``(queries, heads, head size)``.
    """
    if q.device.type == "cpu" and not dropout and q.shape[-1] == v.shape[-1]:
        scale = q.shape[-1] ** -0.5 if scaling is None else scaling
        return attend_in_pieces(q, k, v, bias, lengths=lengths, causal=causal, scale=scale)
    return attend_fused(q, k, v, bias, lengths=lengths, causal=causal, scaling=scaling, dropout=dropout)


def attend_fused(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None,
    *,
    lengths: ExampleLengths,
    causal: bool,
    scaling: float | None,
    dropout: float,
) -> Tensor:
    """Attend as :func:`attend_end_to_end` does, by torch's fused kernels on every device."""
    if causal and bias is not None:
        bias = bias + _future(bias)
    parts = []
    for group in _cut(lengths):
        out = torch.nn.functional.scaled_dot_product_attention(
            _spread(q[group.queries], group.lengths.queries),
            _spread(k[group.keys], group.lengths.keys),
            _spread(v[group.keys], group.lengths.keys),
            attn_mask=_mask(bias, group, causal, q),
            dropout_p=dropout,
            is_causal=causal and bias is None,
            scale=scaling,
            enable_gqa=q.shape[1] != k.shape[1],
        )  # (B, H, L, D)
        parts.append(_flat(out, group.lengths.queries))
    return torch.cat(parts)


@dataclass(frozen=True, slots=True)
class _Group:
    """Neighbouring examples of similar length: their lengths, and where their tokens are."""

    lengths: ExampleLengths
    queries: slice
    keys: slice


def _cut(lengths: ExampleLengths) -> list[_Group]:
    of_queries, of_keys = np.cumsum([0, *lengths.queries]), np.cumsum([0, *lengths.keys])
    return [
        _Group(
            ExampleLengths(lengths.queries[cut], lengths.keys[cut]),
            slice(of_queries[cut.start], of_queries[cut.stop]),
            slice(of_keys[cut.start], of_keys[cut.stop]),
        )
        for cut in groups(lengths.queries.tolist(), lengths.keys.tolist())
    ]


def _mask(bias: Tensor | None, group: _Group, causal: bool, like: Tensor) -> Tensor | None:
    """The bias of a group's logits, or the mask of its keys; None where the causal mask is enough."""
    # Padding is on the right, where a causal query never attends.
    keys = group.lengths.keys
    seen = None if causal or (keys == keys[0]).all() else _seen(keys, like.device)  # (B, 1, 1, K)
    if bias is None:
        return seen
    bias = bias[:, :, : int(group.lengths.queries.max()), : int(keys.max())].to(like.dtype)  # (1, H, L, K)
    return bias if seen is None else bias.masked_fill(~seen, -torch.inf)


def _future(bias: Tensor) -> Tensor:
    """Minus infinity where a key comes after its query: ``(longest, longest)``."""
    return torch.full(bias.shape[-2:], -torch.inf, dtype=bias.dtype, device=bias.device).triu(1)


def _places(lengths: Lengths, device: torch.device) -> Tensor:
    """The places of the tokens once the examples are padded side by side: int64 ``(tokens,)``."""
    longest = int(lengths.max())
    filled = np.arange(longest)[None, :] < lengths[:, None]
    return torch.from_numpy(np.flatnonzero(filled)).to(device)


def _spread(tensor: Tensor, lengths: Lengths) -> Tensor:
    """Lay examples side by side, zeros on the right: ``(tokens, H, D)`` to ``(examples, H, longest, D)``."""
    if not (lengths == lengths[0]).all():
        padded = tensor.new_zeros(len(lengths) * int(lengths.max()), *tensor.shape[1:])
        tensor = padded.index_copy(0, _places(lengths, tensor.device), tensor)
    return tensor.reshape(len(lengths), -1, *tensor.shape[1:]).transpose(1, 2)


def _flat(tensor: Tensor, lengths: Lengths) -> Tensor:
    """Undo :func:`_spread`: ``(examples, H, longest, D)`` to ``(tokens, H, D)``."""
    flat = tensor.transpose(1, 2).flatten(0, 1)
    return flat if (lengths == lengths[0]).all() else flat[_places(lengths, tensor.device)]


def _seen(lengths: Lengths, device: torch.device) -> Tensor:
    """Which keys exist: bool ``(examples, 1, 1, longest)``."""
    filled = np.arange(int(lengths.max()))[None, :] < lengths[:, None]
    return torch.from_numpy(filled).to(device)[:, None, None, :]
