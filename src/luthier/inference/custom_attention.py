"""Run a Hugging Face model with custom attention: a layout defines which tokens each token attends to.

Models call the attention function that their configuration names; the one that this module adds hands queries, keys
and values on to a layout, which is passed with the call. Keys and values that several layouts need are kept here, not
in a Hugging Face cache, so that one copy serves every row. Attention to two sets of keys is combined from the two
results and the log-sum-exp of their scores (the idea of Hydragen, arXiv:2402.05099).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Protocol, TypedDict, Unpack

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from luthier.kernels.attention_swap import attention_implementation
from luthier.models.language_model import LanguageModel
from luthier.records import TokenIds

NAME = "luthier_laid_out"
_SCORES = 2**24
"""Maximum number of attention scores held at a time where no fused kernel returns the log-sum-exp."""


class Layout(Protocol):
    """What the tokens of one forward pass attend to."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Attend: queries ``(tokens, heads, size)``, keys and values ``(tokens, key heads, size)``, in one layer."""


@dataclass
class KeyValues:
    """Keys and values of a sequence of tokens, in every layer: each ``(key heads, tokens, size)``."""

    keys: dict[int, Tensor] = field(default_factory=dict)
    values: dict[int, Tensor] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """Number of tokens."""
        return next(iter(self.keys.values())).shape[1] if self.keys else 0

    def first(self, tokens: int) -> KeyValues:
        """Return the first tokens."""
        return KeyValues(
            {layer: key[:, :tokens] for layer, key in self.keys.items()},
            {layer: value[:, :tokens] for layer, value in self.values.items()},
        )

    def after(self, tokens: int) -> KeyValues:
        """Return those after the first tokens."""
        return KeyValues(
            {layer: key[:, tokens:] for layer, key in self.keys.items()},
            {layer: value[:, tokens:] for layer, value in self.values.items()},
        )

    def at(self, places: Tensor) -> KeyValues:
        """Return those at some places, int64."""
        return KeyValues(
            {layer: key.index_select(1, places) for layer, key in self.keys.items()},
            {layer: value.index_select(1, places) for layer, value in self.values.items()},
        )

    def then(self, other: KeyValues) -> KeyValues:
        """Return these followed by others."""
        if not self.keys or not other.keys:
            return self if self.keys else other
        return KeyValues(
            {layer: torch.cat([key, other.keys[layer]], dim=1) for layer, key in self.keys.items()},
            {layer: torch.cat([value, other.values[layer]], dim=1) for layer, value in self.values.items()},
        )


def virtual_key_values(model: LanguageModel) -> KeyValues:
    """Return the keys and values that an attached method prepends to every row; usually none."""
    if model.soft_prompt is None or model.soft_prompt.cache is None:
        return KeyValues()
    layers = model.soft_prompt.cache(1).layers
    return KeyValues(
        {index: layer.keys[0] for index, layer in enumerate(layers)},
        {index: layer.values[0] for index, layer in enumerate(layers)},
    )


def forward_layout(
    model: LanguageModel,
    tokens: TokenIds,
    positions: Tensor,
    layout: Layout,
    logits_to_keep: Tensor | None = None,
) -> Any:
    """Run a decoder over tokens in a layout.

    Args:
        model: A decoder.
        tokens: int32 ``(tokens,)``.
        positions: int64 ``(tokens,)``.
        layout: What they attend to.
        logits_to_keep: int64, the places whose logits are needed; without it the head is not computed.

    Returns:
        The module's output; of one row.
    """
    ids = torch.from_numpy(tokens.astype("int64")).to(model.device)[None]  # (1, T)
    given = {"input_ids": ids, "position_ids": positions[None], "use_cache": False, "luthier_layout": layout}
    with model.precision(), attention_implementation(model.module, NAME):
        if logits_to_keep is None:
            return model.module.base_model(**given)
        return model.module(**given, logits_to_keep=logits_to_keep)


class AttentionOptions(TypedDict, total=False):
    """The keyword arguments of Hugging Face attention functions that are used here; others are ignored.

    Attributes:
        luthier_layout: What the tokens attend to.
        softcap: Bound of the logits by tanh; not computed here.
    """

    luthier_layout: Layout | None
    softcap: float | None


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
    """Attend as the layout defines; the signature is that of Hugging Face's attention functions.

    Args:
        module: The attention module; knows its layer.
        query: ``(1, heads, tokens, size)``.
        key: ``(1, key heads, tokens, size)``.
        value: The same shape as ``key``.
        attention_mask: None: the layout says what may be seen.
        dropout: Zero: nothing is trained here.
        scaling: Of the logits; one over the root of the head size where not given.
        **options: What models hand to their attention function by name; see :class:`AttentionOptions`.

    Returns:
        ``(1, tokens, heads, size)``, and no weights.

    Raises:
        NotImplementedError: When the model asks for what a layout does not know.
    """
    layout = options.get("luthier_layout")
    if layout is None or attention_mask is not None or options.get("softcap") is not None or dropout:
        raise NotImplementedError("attention in a layout knows no mask, no soft-capping and no dropout")
    layer: Any = module.layer_idx
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))  # (T, H, D)
    scale = scaling if scaling is not None else 1 / math.sqrt(query.shape[-1])
    with torch.autocast(query.device.type, enabled=False):
        out = layout.attend(int(layer), q, k, v, scale)
    return out.to(query.dtype)[None], None


AttentionInterface.register(NAME, attend)  # without a mask function beside it, models make no mask


def attention(
    query: Tensor, key: Tensor, value: Tensor, scale: float, *, causal: bool = False, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attend, and return the log-sum-exp of each query's scores.

    Args:
        query: ``(rows, heads, asked, size)``.
        key: ``(rows, key heads, known, size)``; each serves as many heads as there are for one of them.
        value: The same shape as ``key``.
        scale: Of the logits.
        causal: Query i sees keys up to i.
        mask: Added to the logits, ``(rows, 1, asked, known)``; broadcast.

    Returns:
        float32 ``(rows, heads, asked, size)`` and ``(rows, heads, asked)``.
    """
    rows, heads, asked, size = query.shape
    groups = heads // key.shape[1]
    # Heads that share keys are folded into the queries: the keys are not copied for each of them.
    q = query.float().reshape(rows * key.shape[1], groups, asked, size)
    k, v = (
        tensor.float().reshape(rows * key.shape[1], 1, -1, size).expand(-1, groups, -1, -1) for tensor in (key, value)
    )
    if mask is not None:
        mask = mask.float().expand(rows, key.shape[1], *mask.shape[2:]).reshape(len(q), 1, *mask.shape[2:])
    if q.device.type == "cpu":
        out, logs = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q, k, v, 0.0, causal, attn_mask=mask, scale=scale
        )
    else:
        out, logs = _by_hand(q, k, v, scale, causal, mask)
    return out.reshape(query.shape), logs.reshape(rows, heads, asked)


def _by_hand(
    query: Tensor, key: Tensor, value: Tensor, scale: float, causal: bool, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Attend where no fused kernel returns the log-sum-exp; some queries at a time."""
    step = max(1, _SCORES // (query.shape[0] * query.shape[1] * key.shape[2]))
    outs, logs = [], []
    for start in range(0, query.shape[2], step):
        part = slice(start, start + step)
        scores = query[:, :, part] @ key.transpose(2, 3) * scale  # (B, H, step, S)
        if causal:
            future = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device).triu(1)[part]
            scores = scores.masked_fill(future, float("-inf"))
        if mask is not None:
            scores = scores + (mask[:, :, part] if mask.shape[2] > 1 else mask)
        logs.append(scores.logsumexp(dim=-1))
        outs.append(torch.exp(scores - logs[-1][..., None]) @ value)
    return torch.cat(outs, dim=2), torch.cat(logs, dim=2)


def attend_to_all(query: Tensor, key: Tensor, value: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Let every query attend to the same keys.

    Args:
        query: ``(asked, heads, size)``.
        key: ``(key heads, known, size)``.
        value: The same shape as ``key``.
        scale: Of the logits.

    Returns:
        float32 ``(asked, heads, size)`` and ``(asked, heads)``.
    """
    asked, heads, size = query.shape
    shared = key.shape[0]
    # All heads that share keys, and all queries, are queries of one row.
    folded = query.reshape(asked, shared, heads // shared, size).transpose(0, 1).reshape(shared, 1, -1, size)
    out, logs = attention(folded, key[:, None], value[:, None], scale)
    out = out.reshape(shared, asked, heads // shared, size).transpose(0, 1)
    return out.reshape(query.shape), logs.reshape(shared, asked, -1).transpose(0, 1).reshape(asked, heads)


def add_keys(out: Tensor, logs: Tensor, more: Tensor, more_logs: Tensor) -> None:
    """Combine with the attention to further keys, in place: ``(tokens, heads, size)``."""
    both = torch.logaddexp(logs, more_logs)  # (T, H)
    out.mul_(torch.exp(logs - both)[..., None]).addcmul_(more, torch.exp(more_logs - both)[..., None])
    logs.copy_(both)
