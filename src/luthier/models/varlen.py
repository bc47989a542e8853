"""Attention over examples laid end to end, without padding: each example attends to itself alone.

Hugging Face models call the attention function that their configuration names; this module adds one. It reads where
the examples lie from the ``cu_seq_lens_q`` and ``cu_seq_lens_k`` that models hand on to their attention function (the
names of the flash-attention convention), lays examples of like length side by side, and calls torch's fused attention
on each such group. A causal model needs no mask for it: what is padded within a group stands on the right, where no
query looks.

Two things a model may derive from the length of what it reads, which here is that of all examples: T5's bias by
distance and BART's embeddings by position. Both are made for the longest example, and every example takes its part.
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

from luthier.models.soft_prompt import recomputes

NAME = "luthier_varlen"
Lengths: TypeAlias = npt.NDArray[np.int64]
_ALIKE = 0.7
"""Examples at least this long, in the longest's lengths, share a group: less padding costs more calls than it saves."""
_SHORT = 48
"""Examples of no more tokens share a group whatever their lengths, for the same reason."""


def bounds(lengths: Sequence[int], device: torch.device) -> Tensor:
    """Return where each example begins, and where the last one ends: int32 ``(examples + 1,)``."""
    return torch.from_numpy(np.cumsum([0, *lengths], dtype=np.int32)).to(device)


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
    position_bias: Tensor | None = None,
    cu_seq_lens_q: Tensor | None = None,
    cu_seq_lens_k: Tensor | None = None,
    encoder_cu_seq_lens: Tensor | None = None,
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
        position_bias: What is added to the logits by places in the example: ``(1, heads, longest, longest)``. Looking
            at the encoder there is none, whatever is given.
        cu_seq_lens_q: Bounds of the examples among the queries.
        cu_seq_lens_k: Bounds of the examples among the keys.
        encoder_cu_seq_lens: Bounds of the examples in the encoder's states: the keys of attention that is not causal.

    Returns:
        ``(1, tokens, heads, head size)``, and no weights.
    """
    if cu_seq_lens_q is None or cu_seq_lens_k is None or attention_mask is not None or softcap is not None:
        raise NotImplementedError("padding-free attention needs bounds, and knows no mask and no soft-capping")
    causal = bool(getattr(module, "is_causal", True)) if is_causal is None else is_causal
    if encoder_cu_seq_lens is not None and not causal:
        cu_seq_lens_k, position_bias = encoder_cu_seq_lens, None
    asked, known = np.diff(cu_seq_lens_q.tolist()), np.diff(cu_seq_lens_k.tolist())
    if sliding_window is not None and max(asked) > sliding_window:
        raise NotImplementedError(f"padding-free attention over {max(asked)} tokens, with a window of {sliding_window}")
    on_cpu = query.device.type == "cpu"
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))  # (T, H, D)
    if on_cpu:
        q, k, v = q.float(), k.float(), v.float()  # the backward pass of the CPU kernel is slower in bf16
    if causal and position_bias is not None:
        position_bias = position_bias + _future(position_bias)
    cuts = groups(asked.tolist(), known.tolist())
    sizes = [int(asked[cut].sum()) for cut in cuts], [int(known[cut].sum()) for cut in cuts]
    with torch.autocast(query.device.type, enabled=not on_cpu and torch.is_autocast_enabled(query.device.type)):
        parts = [
            _group(q_part, k_part, v_part, asked[cut], known[cut], causal, position_bias, scaling, dropout)
            for cut, q_part, k_part, v_part in zip(
                cuts, torch.split(q, sizes[0]), torch.split(k, sizes[1]), torch.split(v, sizes[1]), strict=True
            )
        ]
    return torch.cat(parts).to(query.dtype)[None], None


def _group(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    asked: Lengths,
    known: Lengths,
    causal: bool,
    bias: Tensor | None,
    scaling: float | None,
    dropout: float,
) -> Tensor:
    """Attend within examples of like length, side by side: ``(their tokens, heads, head size)``."""
    # What is padded stands on the right: a causal query never looks there.
    mask = None if causal or (known == known[0]).all() else _seen(known, q.device)  # (B, 1, 1, K)
    if bias is not None:
        bias = bias[:, :, : int(asked.max()), : int(known.max())].to(q.dtype)  # (1, H, L, K)
        mask = bias if mask is None else bias.masked_fill(~mask, -torch.inf)
    out = torch.nn.functional.scaled_dot_product_attention(
        _spread(q, asked),
        _spread(k, known),
        _spread(v, known),
        attn_mask=mask,
        dropout_p=dropout,
        is_causal=causal and bias is None,
        scale=scaling,
        enable_gqa=q.shape[1] != k.shape[1],
    )  # (B, H, L, D)
    flat = out.transpose(1, 2).flatten(0, 1)
    return flat if (asked == asked[0]).all() else flat[_places(asked, q.device)]


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


def _seen(lengths: Lengths, device: torch.device) -> Tensor:
    """Which keys exist: bool ``(examples, 1, 1, longest)``."""
    filled = np.arange(int(lengths.max()))[None, :] < lengths[:, None]
    return torch.from_numpy(filled).to(device)[:, None, None, :]


AttentionInterface.register(NAME, attend)  # without a mask function beside it, models make no mask


@contextlib.contextmanager
def padding_free(module: PreTrainedModel) -> Iterator[None]:
    """Let every part of a model attend by :func:`attend` inside, and as before after it."""
    parts = list(module.modules())
    configs: dict[int, Any] = {id(part.config): part.config for part in parts if hasattr(part, "config")}
    before = {key: config._attn_implementation for key, config in configs.items()}
    biased = [part for part in parts if hasattr(part, "has_relative_attention_bias")]
    hooks = [part.register_forward_pre_hook(_bias_of_the_longest, with_kwargs=True) for part in biased]
    try:
        for config in configs.values():
            config._attn_implementation = NAME
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for key, config in configs.items():
            config._attn_implementation = before[key]


def _bias_of_the_longest(module: Any, arguments: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Give T5's attention its bias by distance, before it makes one over all examples together."""
    if named.get("position_bias") is None and "cu_seq_lens_q" in named:
        longest = int(named["cu_seq_lens_q"].diff().max())
        states = arguments[0]
        own = module.has_relative_attention_bias
        bias = module.compute_bias(longest, longest, device=states.device) if own else states.new_zeros(1, 1, 1, 1)
        named = {**named, "position_bias": bias}
    return arguments, named


@contextlib.contextmanager
def positions_restart(module: nn.Module, lengths: Sequence[int]) -> Iterator[None]:
    """Let models that count positions by themselves, as BART does, begin anew with each example inside.

    Their embedding of positions is asked for as many as the longest example has, and read at each token's own place.
    """
    total, longest = sum(lengths), max(lengths)
    places = torch.from_numpy(np.concatenate([np.arange(length) for length in lengths]))

    def shorten(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        cut = [_first(argument, total, longest) for argument in arguments]
        return tuple(cut), {name: _first(argument, total, longest) for name, argument in named.items()}

    def read(_: nn.Module, __: object, found: Tensor) -> Tensor:
        return found.index_select(-2, places.to(found.device))

    tables = [part for name, part in module.named_modules() if name.rsplit(".", 1)[-1] == "embed_positions"]
    hooks = [table.register_forward_pre_hook(shorten, with_kwargs=True) for table in tables]
    hooks += [table.register_forward_hook(read) for table in tables]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _first(argument: object, total: int, longest: int) -> object:
    """The first ``longest`` of ``total`` tokens, where an argument of an embedding of positions speaks of tokens."""
    if isinstance(argument, torch.Size):
        return torch.Size([longest if size == total else size for size in argument])
    if isinstance(argument, Tensor):
        for axis in range(min(2, argument.ndim)):
            if argument.shape[axis] == total:
                return argument.narrow(axis, 0, longest)
    return argument


# Whatever else a block calls them, it is computed whole; that these are what they seem is found by trying.
_AFTER_ATTENTION = {"mlp", "feed_forward", "ffn", "fc1", "fc2", "o_proj", "out_proj"}


@contextlib.contextmanager
def trimmed(module: nn.Module, places: Tensor, tokens: int) -> Iterator[None]:
    """Let what follows attention in the last block be computed where a token is predicted, and nowhere else, inside.

    Hidden states of the other places are wrong then, and nobody may read them. All is computed where activations are
    computed again in the backward pass, for all places, and where dropout would draw other numbers.

    Args:
        module: The whole model.
        places: int64 ``(predicted,)``, in the row of all tokens.
        tokens: Of the row.
    """

    def choose(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return arguments[0].index_select(-2, places), *arguments[1:]

    def put_back(_: nn.Module, __: object, found: Tensor) -> Tensor:
        whole = found.new_zeros(*found.shape[:-2], tokens, found.shape[-1])
        return whole.index_copy(-2, places, found)

    parts = _after_attention(module)
    hooks = [part.register_forward_pre_hook(choose) for part in parts]
    hooks += [part.register_forward_hook(put_back) for part in parts]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _after_attention(module: Any) -> list[nn.Module]:
    """The parts of the last block that follow its attention, as far as they may be computed in part."""
    stacks = [part for part in module.modules() if isinstance(part, nn.ModuleList)]
    if not stacks or (module.training and recomputes(module)):
        return []
    named = max(stacks, key=len)[-1].named_modules()
    chosen = [part for name, part in named if name.rsplit(".", 1)[-1] in _AFTER_ATTENTION]
    inside = [part for whole in chosen for part in whole.modules() if part is not whole]
    if any(isinstance(part, nn.Dropout) and part.p > 0 and part.training for part in inside):
        return []
    return [part for part in chosen if not any(part is other for other in inside)]


def as_now(module: PreTrainedModel) -> tuple[contextlib.AbstractContextManager[None], ...]:
    """What activation checkpointing enters at first, and when it computes again: the attention of the first time."""
    laid_out = module.config._attn_implementation == NAME
    return contextlib.nullcontext(), padding_free(module) if laid_out else contextlib.nullcontext()
