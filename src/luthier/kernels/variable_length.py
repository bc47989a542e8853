"""Attention over examples laid end to end, without padding: each example attends to itself alone.

Hugging Face models call the attention function that their configuration names; this module adds one. It takes the
bounds of the examples from ``cu_seq_lens_q`` and ``cu_seq_lens_k``, which models pass to their attention function (the
names are those of flash-attention), and attends within each example; see :mod:`luthier.kernels.attention`.

A model may derive two things from the length of its input, which here is that of all examples together: T5's bias by
distance and BART's position embeddings. Both are computed for the longest example, and every example uses its part.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, TypedDict, Unpack

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from luthier.kernels.activation_checkpointing import recomputes
from luthier.kernels.attention import attend_end_to_end, attend_fused
from luthier.kernels.attention_swap import attention_implementation
from luthier.kernels.block_stacks import last_stack
from luthier.kernels.cpu_attention import ExampleLengths
from luthier.kernels.memory_efficient import memory_efficient_layers

NAME, FUSED = "luthier_varlen", "luthier_varlen_fused"
"""Attention functions: in pieces on a CPU, or by torch's fused kernels everywhere."""


def bounds(lengths: Sequence[int], device: torch.device) -> Tensor:
    """Return the place at which each example begins, and the end of the last one: int32 ``(examples + 1,)``."""
    return torch.from_numpy(np.cumsum([0, *lengths], dtype=np.int32)).to(device)


class AttentionOptions(TypedDict, total=False):
    """What Hugging Face models hand to their attention function by name and is used here; other names are ignored.

    Attributes:
        is_causal: Overrides the attention module's own attribute.
        sliding_window: Tokens that a query sees at most, itself among them.
        softcap: Bound of the logits by tanh.
        position_bias: Added to the logits by places in the example: ``(1, heads, longest, longest)``. Cross-attention
            has none, whatever is given.
        cu_seq_lens_q: Bounds of the examples among the queries: int32 ``(examples + 1,)``.
        cu_seq_lens_k: Bounds of the examples among the keys.
        fused: Whether torch's fused kernels are used on a CPU too; handed by ``FUSED``, not by models.
        tree_rows: Where the tokens of whole rows stand among those given, where rows share a beginning that is given
            once: int64 ``(tokens of all rows,)``. The bounds are those of the rows.
        tree_first: Where each given token stands first among those of the rows: int64 ``(tokens,)``.
        encoder_cu_seq_lens: Bounds of the examples in the encoder's states: the keys of attention that is not causal.
    """

    is_causal: bool | None
    sliding_window: int | None
    softcap: float | None
    position_bias: Tensor | None
    cu_seq_lens_q: Tensor | None
    cu_seq_lens_k: Tensor | None
    encoder_cu_seq_lens: Tensor | None
    tree_rows: Tensor | None
    tree_first: Tensor | None
    fused: bool


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Unpack[AttentionOptions],
) -> tuple[Tensor, None]:
    """Attend within each example; the signature is that of Hugging Face's attention functions.

    Args:
        module: The attention module; says whether it is causal.
        query: ``(1, heads, tokens, head size)``: all examples end to end.
        key: ``(1, key heads, tokens, head size)``.
        value: The same shape as ``key``.
        attention_mask: Must be None: the bounds decide what a query attends to.
        dropout: Probability of dropping an attention weight.
        scaling: Factor of the logits; one over the square root of the head size where not given.
        **options: What models hand to their attention function by name; see :class:`AttentionOptions`.

    Returns:
        ``(1, tokens, heads, head size)``, and no weights.

    Raises:
        NotImplementedError: When the model asks for what is not computed here.
    """
    query_bounds, key_bounds = options.get("cu_seq_lens_q"), options.get("cu_seq_lens_k")
    if query_bounds is None or key_bounds is None or attention_mask is not None or options.get("softcap") is not None:
        raise NotImplementedError("padding-free attention needs bounds, and knows no mask and no soft-capping")
    stated = options.get("is_causal")
    causal = bool(getattr(module, "is_causal", True)) if stated is None else stated
    bias, encoder_bounds = options.get("position_bias"), options.get("encoder_cu_seq_lens")
    if encoder_bounds is not None and not causal:
        key_bounds, bias = encoder_bounds, None
    lengths = ExampleLengths(np.diff(query_bounds.tolist()), np.diff(key_bounds.tolist()))
    longest, window = max(lengths.queries), options.get("sliding_window")
    if window is not None and longest > window:
        raise NotImplementedError(f"padding-free attention over {longest} tokens, with a window of {window}")
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))  # (T, H, D)
    rows, first = options.get("tree_rows"), options.get("tree_first")
    if rows is not None:
        q, k, v = (tensor.index_select(0, rows) for tensor in (q, k, v))
    by = attend_fused if options.get("fused") else attend_end_to_end
    found = by(q, k, v, bias, lengths=lengths, causal=causal, scaling=scaling, dropout=dropout)
    return (found if first is None else found.index_select(0, first))[None], None


# Without mask functions beside them, models make no mask.
AttentionInterface.register(NAME, attend)
AttentionInterface.register(FUSED, partial(attend, fused=True))


@contextlib.contextmanager
def padding_free(module: PreTrainedModel, name: str = NAME) -> Iterator[None]:
    """Let every part of a model attend by :func:`attend` inside; in training also use memory-efficient layers.

    Args:
        module: The model.
        name: ``NAME`` or ``FUSED``.
    """
    biased = [part for part in module.modules() if hasattr(part, "has_relative_attention_bias")]
    hooks = [part.register_forward_pre_hook(_bias_of_the_longest, with_kwargs=True) for part in biased]
    efficient = memory_efficient_layers(module) if torch.is_grad_enabled() else contextlib.nullcontext()
    try:
        with attention_implementation(module, name), efficient:
            yield
    finally:
        for hook in hooks:
            hook.remove()


def _bias_of_the_longest(module: Any, arguments: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Give T5's attention its bias by distance, before it computes one over all examples together."""
    if named.get("position_bias") is None and "cu_seq_lens_q" in named:
        longest = int(named["cu_seq_lens_q"].diff().max())
        states = arguments[0]
        own = module.has_relative_attention_bias
        bias = module.compute_bias(longest, longest, device=states.device) if own else states.new_zeros(1, 1, 1, 1)
        named = {**named, "position_bias": bias}
    return arguments, named


@contextlib.contextmanager
def positions_restart(module: nn.Module, lengths: Sequence[int]) -> Iterator[None]:
    """Let models that count positions by themselves, as BART does, restart the count at each example inside.

    Their position embedding is computed for the longest example, and indexed by each token's place in its example.
    """
    total, longest = sum(lengths), max(lengths)
    places = torch.from_numpy(np.concatenate([np.arange(length) for length in lengths]))

    def shorten(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        cut = [_first(argument, total, longest) for argument in arguments]
        return tuple(cut), {name: _first(argument, total, longest) for name, argument in named.items()}

    def select(_: nn.Module, __: object, found: Tensor) -> Tensor:
        return found.index_select(-2, places.to(found.device))

    tables = [part for name, part in module.named_modules() if name.rsplit(".", 1)[-1] == "embed_positions"]
    hooks = [table.register_forward_pre_hook(shorten, with_kwargs=True) for table in tables]
    hooks += [table.register_forward_hook(select) for table in tables]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _first(argument: object, total: int, longest: int) -> object:
    """Cut an argument of a position embedding from ``total`` tokens to the first ``longest``, if it has that many."""
    if isinstance(argument, torch.Size):
        return torch.Size([longest if size == total else size for size in argument])
    if isinstance(argument, Tensor):
        for axis in range(min(2, argument.ndim)):
            if argument.shape[axis] == total:
                return argument.narrow(axis, 0, longest)
    return argument


# Names of the layers after attention; other names are computed for all tokens. A wrong guess fails verification.
_AFTER_ATTENTION = {"mlp", "feed_forward", "ffn", "fc1", "fc2", "o_proj", "out_proj"}


@contextlib.contextmanager
def trimmed(module: nn.Module, places: Tensor, tokens: int) -> Iterator[None]:
    """Compute the layers after attention in the last block only at the places where a token is predicted, inside.

    Hidden states at other places are wrong then and must not be used. All places are computed where activations are
    recomputed in the backward pass, and where dropout would draw other numbers.

    Args:
        module: The whole model.
        places: int64 ``(predicted,)``, in the row of all tokens.
        tokens: The length of that row.
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
    """The layers of the last block after its attention that may be computed for some tokens only."""
    if module.training and recomputes(module):
        return []
    stack = last_stack(module)
    if not stack:
        return []
    named = stack[-1].named_modules()
    chosen = [part for name, part in named if name.rsplit(".", 1)[-1] in _AFTER_ATTENTION]
    inside = [part for whole in chosen for part in whole.modules() if part is not whole]
    if any(isinstance(part, nn.Dropout) and part.p > 0 and part.training for part in inside):
        return []
    return [part for part in chosen if not any(part is other for other in inside)]


def recomputation_contexts(module: PreTrainedModel) -> tuple[contextlib.AbstractContextManager[None], ...]:
    """Return the contexts of activation checkpointing: recomputation uses the attention of the first forward pass."""
    now = module.config._attn_implementation
    again = padding_free(module, now) if now in (NAME, FUSED) else contextlib.nullcontext()
    return contextlib.nullcontext(), again
