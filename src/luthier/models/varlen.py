"""Attention over examples laid end to end, without padding: each example attends to itself alone.

Hugging Face models call the attention function that their configuration names; this module adds one. It reads where
the examples lie from the ``cu_seq_lens_q`` and ``cu_seq_lens_k`` that models hand on to their attention function (the
names of the flash-attention convention), lays examples of like length side by side, and calls torch's fused attention
on each such group. A causal model needs no mask for it: what is padded within a group stands on the right, where no
query looks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

NAME = "luthier_varlen"
Lengths: TypeAlias = npt.NDArray[np.int64]
_SHORT = 384
_ALIKE = 0.7
"""Examples at least this long, in the longest's lengths, share a group: less padding costs more calls than it saves."""


def bounds(lengths: Sequence[int], device: torch.device) -> Tensor:
    """Return where each example begins, and where the last one ends: int32 ``(examples + 1,)``."""
    return torch.from_numpy(np.cumsum([0, *lengths], dtype=np.int32)).to(device)


def groups(lengths: Sequence[int]) -> list[slice]:
    """Cut neighbouring examples into groups of like length."""
    found: list[slice] = []
    first = 0
    while first < len(lengths):
        last, low, high = first + 1, lengths[first], lengths[first]
        while last < len(lengths):
            low, high = min(low, lengths[last]), max(high, lengths[last])
            if low < _ALIKE * high:
                break
            last += 1
        found.append(slice(first, last))
        first = last
    return found


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    cu_seq_lens_q: Tensor | None = None,
    cu_seq_lens_k: Tensor | None = None,
    **_ignored: object,
) -> tuple[Tensor, None]:
    """Attend within each example; the signature is that of Hugging Face's attention functions.

    Args:
        module: The attention module; says whether it is causal.
        query: ``(1, heads, tokens, head size)``: all examples end to end.
        key: ``(1, key heads, tokens, head size)``.
        value: The same shape as ``key``.
        attention_mask: None: the bounds say what may be seen.
        dropout: Of the attention weights.
        scaling: Of the logits; one over the root of the head size where not given.
        is_causal: Overrides the module's own word.
        sliding_window: Tokens that a query sees at most, itself among them.
        softcap: Bound of the logits by tanh.
        cu_seq_lens_q: Bounds of the examples among the queries.
        cu_seq_lens_k: Bounds of the examples among the keys.

    Returns:
        ``(1, tokens, heads, head size)``, and no weights.
    """
    if cu_seq_lens_q is None or cu_seq_lens_k is None or attention_mask is not None or softcap is not None:
        raise NotImplementedError("padding-free attention needs bounds, and knows no mask and no soft-capping")
    causal = bool(getattr(module, "is_causal", True)) if is_causal is None else is_causal
    asked, known = np.diff(cu_seq_lens_q.tolist()), np.diff(cu_seq_lens_k.tolist())
    if sliding_window is not None and max(asked) > sliding_window:
        raise NotImplementedError(f"padding-free attention over {max(asked)} tokens, with a window of {sliding_window}")
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))  # (T, H, D)
    autocast = torch.is_autocast_enabled(query.device.type)
    dtype = torch.get_autocast_dtype(query.device.type) if autocast else query.dtype
    cuts = groups(asked.tolist())
    sizes = [int(asked[cut].sum()) for cut in cuts], [int(known[cut].sum()) for cut in cuts]
    with torch.autocast(query.device.type, enabled=False):
        parts = [
            _group(q_part.to(dtype), k_part.to(dtype), v_part.to(dtype), asked[cut], known[cut], causal, scaling, dropout)
            for cut, q_part, k_part, v_part in zip(
                cuts, torch.split(q, sizes[0]), torch.split(k, sizes[1]), torch.split(v, sizes[1]), strict=True
            )
        ]
    return torch.cat(parts).to(query.dtype)[None], None


def _group(
    q: Tensor, k: Tensor, v: Tensor, asked: Lengths, known: Lengths, causal: bool, scaling: float | None, dropout: float
) -> Tensor:
    """Attend within examples of like length, side by side: ``(their tokens, heads, head size)``."""
    read = _spread(q, asked), _spread(k, known), _spread(v, known)
    slow = q.device.type == "cpu" and q.dtype == torch.bfloat16  # the CPU's fused kernel is, in bf16
    if slow and causal and not dropout and max(asked) <= _SHORT:
        out = _by_products(*read, scaling)  # (B, H, L, D)
    else:
        out = torch.nn.functional.scaled_dot_product_attention(
            *(part.float() if slow else part for part in read),
            attn_mask=None if causal or (known == known[0]).all() else _seen(known, q.device),
            dropout_p=dropout,
            is_causal=causal,
            scale=scaling,
            enable_gqa=q.shape[1] != k.shape[1],
        ).to(q.dtype)
    flat = out.transpose(1, 2).flatten(0, 1)
    return flat if (asked == asked[0]).all() else flat[_places(asked, q.device)]


def _by_products(q: Tensor, k: Tensor, v: Tensor, scaling: float | None) -> Tensor:
    """Causal attention by matrix products: ``(B, H, L, D)``, and ``(B, key heads, L, D)`` for keys and values."""
    rows, heads, length, size = q.shape
    shared = heads // k.shape[1]
    scale = size**-0.5 if scaling is None else scaling
    asked = (q * scale).reshape(rows, k.shape[1], shared * length, size)
    logits = (asked @ k.transpose(-1, -2)).unflatten(2, (shared, length))  # (B, key heads, shared, L, L)
    hidden = torch.full((length, length), float("-inf"), dtype=q.dtype).triu(1)
    weights = (logits + hidden).softmax(dim=-1)
    return (weights.flatten(2, 3) @ v).reshape(rows, heads, length, size)


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


def _seen(lengths: Lengths, device: torch.device) -> Tensor:
    """Which keys exist: bool ``(examples, 1, 1, longest)``."""
    filled = np.arange(int(lengths.max()))[None, :] < lengths[:, None]
    return torch.from_numpy(filled).to(device)[:, None, None, :]


AttentionInterface.register(NAME, attend)  # without a mask function beside it, models make no mask


@contextlib.contextmanager
def padding_free(module: PreTrainedModel) -> Iterator[None]:
    """Let every part of a model attend by :func:`attend` inside, and as before after it."""
    configs: dict[int, Any] = {id(part.config): part.config for part in module.modules() if hasattr(part, "config")}
    before = {key: config._attn_implementation for key, config in configs.items()}
    try:
        for config in configs.values():
            config._attn_implementation = NAME
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation = before[key]


def as_now(module: PreTrainedModel) -> tuple[contextlib.AbstractContextManager[None], ...]:
    """What activation checkpointing enters at first, and when it computes again: the attention of the first time."""
    laid_out = module.config._attn_implementation == NAME
    return contextlib.nullcontext(), padding_free(module) if laid_out else contextlib.nullcontext()
