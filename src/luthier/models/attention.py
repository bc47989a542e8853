"""Attention within examples that lie end to end, remembering for the backward pass what went in and what came out.

Examples of like length are laid side by side, padded on the right, and torch's fused kernel attends in each such group.
What is padded is made again on the way back instead of being kept. Where the bias of the logits is trained, as T5's is,
torch would leave its fused kernel and keep the weights of every query and key: here they are formed again too (as in
FlashAttention, Dao et al. 2022, arXiv:2205.14135, section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Lengths: TypeAlias = npt.NDArray[np.int64]
_ALIKE = 0.7
"""Examples at least this long, in the longest's lengths, share a group: less padding costs more calls than it saves."""
_SHORT = 48
"""Examples of no more tokens share a group whatever their lengths, for the same reason."""
_aten: Any = torch.ops.aten


def groups(*lengths: Sequence[int]) -> list[slice]:
    """Cut neighbouring examples into groups of like length: like in each of the lengths that an example has."""
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
    asked: Lengths,
    known: Lengths,
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
        asked: Queries of each example.
        known: Keys of each example.
        causal: A query sees no key behind its own place.
        scaling: Of the logits; one over the root of the head size where not given.
        dropout: Of the attention weights.

    Returns:
        ``(queries, heads, head size)``.
    """
    if causal and bias is not None:
        bias = bias + _future(bias)
    if q.device.type == "cpu" and not dropout and q.shape[-1] == v.shape[-1]:
        scale = q.shape[-1] ** -0.5 if scaling is None else scaling
        found: Tensor = _Attention.apply(q, k, v, bias, asked, known, causal, scale)  # type: ignore[no-untyped-call]
        return found
    parts = []
    for group in _cut(asked, known):
        out = torch.nn.functional.scaled_dot_product_attention(
            _spread(q[group.queries], group.asked),
            _spread(k[group.keys], group.known),
            _spread(v[group.keys], group.known),
            attn_mask=_mask(bias, group, causal, q),
            dropout_p=dropout,
            is_causal=causal and bias is None,
            scale=scaling,
            enable_gqa=q.shape[1] != k.shape[1],
        )  # (B, H, L, D)
        parts.append(_flat(out, group.asked))
    return torch.cat(parts)


@dataclass(frozen=True, slots=True)
class _Group:
    """Neighbouring examples of like length: how many tokens each asks and knows, and where theirs lie."""

    asked: Lengths
    known: Lengths
    queries: slice
    keys: slice


def _cut(asked: Lengths, known: Lengths) -> list[_Group]:
    of_queries, of_keys = np.cumsum([0, *asked]), np.cumsum([0, *known])
    return [
        _Group(
            asked[cut],
            known[cut],
            slice(of_queries[cut.start], of_queries[cut.stop]),
            slice(of_keys[cut.start], of_keys[cut.stop]),
        )
        for cut in groups(asked.tolist(), known.tolist())
    ]


class _Attention(torch.autograd.Function):
    """Keeps queries, keys, values, the result and the log-sums; see the module."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        bias: Tensor | None,
        asked: Lengths,
        known: Lengths,
        causal: bool,
        scale: float,
    ) -> Tensor:
        parts, sums = [], []
        for group in _cut(asked, known):
            out, log_sum = _aten._scaled_dot_product_flash_attention_for_cpu(
                _spread(q[group.queries].float(), group.asked),
                _spread(k[group.keys].float(), group.known),
                _spread(v[group.keys].float(), group.known),
                is_causal=causal and bias is None,
                attn_mask=_as_numbers(_mask(bias, group, causal, q)),
                scale=scale,
            )  # (B, H, L, D), (B, H, L)
            parts.append(_flat(out, group.asked))
            sums.append(log_sum)
        found = torch.cat(parts).to(q.dtype)
        ctx.save_for_backward(q, k, v, bias, found, *sums)
        ctx.rest = asked, known, causal, scale
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        q, k, v, bias, found, *sums = ctx.saved_tensors
        asked, known, causal, scale = ctx.rest
        of_bias = torch.zeros_like(bias) if ctx.needs_input_grad[3] else None
        of_q, of_k, of_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for group, log_sum in zip(_cut(asked, known), sums, strict=True):
            mask = _as_numbers(_mask(bias, group, causal, q))
            change, out, queries = (
                _spread(whole[group.queries].float(), group.asked) for whole in (gradient, found, q)
            )  # (B, H, L, D)
            keys, values = (_spread(whole[group.keys].float(), group.known) for whole in (k, v))  # (B, G, K, D)
            if of_bias is None:
                changes = _aten._scaled_dot_product_flash_attention_for_cpu_backward(
                    *(change, queries, keys, values, out, log_sum, 0.0, causal and bias is None),
                    attn_mask=mask,
                    scale=scale,
                )
            else:
                assert mask is not None
                *changes, of_logits = _backward(change, queries, keys, values, mask, scale)
                of_bias[:, :, : of_logits.shape[1], : of_logits.shape[2]] += of_logits
            of_q[group.queries] = _flat(changes[0], group.asked)
            of_k[group.keys], of_v[group.keys] = (_flat(one, group.known) for one in changes[1:])
        return of_q, of_k, of_v, of_bias, None, None, None, None


def _backward(
    change: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of queries, keys, values, and of the logits, summed over examples: ``(H, L, K)``."""
    weights = torch.matmul(q, k.transpose(-1, -2)).mul_(scale).add_(mask).softmax(dim=-1)  # (B, H, L, K)
    of_v = torch.matmul(weights.transpose(-1, -2), change)
    of_weights = torch.matmul(change, v.transpose(-1, -2))
    of_logits = _aten._softmax_backward_data(of_weights, weights, -1, torch.float32)
    of_q = torch.matmul(of_logits, k).mul_(scale)
    of_k = torch.matmul(of_logits.transpose(-1, -2), q).mul_(scale)
    return of_q, of_k, of_v, of_logits.sum(dim=0)


def _mask(bias: Tensor | None, group: _Group, causal: bool, like: Tensor) -> Tensor | None:
    """What is added to the logits of a group, or which keys are seen; None where causality says it all."""
    # What is padded stands on the right: a causal query never looks there.
    known = group.known
    seen = None if causal or (known == known[0]).all() else _seen(known, like.device)  # (B, 1, 1, K)
    if bias is None:
        return seen
    bias = bias[:, :, : int(group.asked.max()), : int(known.max())].to(like.dtype)  # (1, H, L, K)
    return bias if seen is None else bias.masked_fill(~seen, -torch.inf)


def _as_numbers(mask: Tensor | None) -> Tensor | None:
    """A mask as the fused kernel takes it: float32, added."""
    if mask is None or mask.dtype != torch.bool:
        return None if mask is None else mask.float()
    return torch.zeros_like(mask, dtype=torch.float32).masked_fill_(~mask, -torch.inf)


def _future(bias: Tensor) -> Tensor:
    """Minus infinity where a key comes after its query: ``(longest, longest)``."""
    return torch.full(bias.shape[-2:], -torch.inf, dtype=bias.dtype, device=bias.device).triu(1)


def _places(lengths: Lengths, device: torch.device) -> Tensor:
    """Where the tokens of each example lie once the examples are padded side by side: int64 ``(tokens,)``."""
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
