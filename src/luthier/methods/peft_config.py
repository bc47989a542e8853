"""What ``peft`` configurations leave open and the model decides, and the kinds of them."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from transformers.pytorch_utils import Conv1D

from luthier.errors import ConfigError, ModelError
from luthier.models.language_model import LanguageModel

EMBEDDED = ("PROMPT_TUNING", "P_TUNING")
"""Kinds whose virtual tokens are vectors before the prompt's embeddings."""
CACHED = ("PREFIX_TUNING", "CARTRIDGE")
"""Kinds whose virtual tokens are keys and values in the key-value cache."""
NOT_LAYERS = ("XLORA", "SHADOW", "POLY")
"""Kinds that have a forward pass of their own, or ask for the task of each row."""


def kind_of(config: Any) -> str:
    """Return the ``peft_type`` of a configuration, for example ``"LORA"``."""
    return str(getattr(config.peft_type, "value", config.peft_type))


def complete_config(model: LanguageModel, config: Any) -> None:
    """Fill in what the model decides: the kind of task, GPT-2's transposed matrices, the shape of virtual tokens.

    Raises:
        ConfigError: When the kind needs more than a prompt and a target.
        ModelError: When its virtual tokens leave no room, or the layers' caches differ in shape.
    """
    config.task_type = "SEQ_2_SEQ_LM" if model.encoder_decoder else "CAUSAL_LM"
    if hasattr(config, "fan_in_fan_out"):
        config.fan_in_fan_out = any(isinstance(layer, Conv1D) for layer in model.module.modules())
    if not config.is_prompt_learning and kind_of(config) not in NOT_LAYERS:
        return
    if kind_of(config) not in (*EMBEDDED, *CACHED):
        raise ConfigError(
            f"peft_type {kind_of(config)} needs more than a prompt and a target",
            where="settings.peft_type",
            fix="Use one whose layers stand in the model's, such as LORA, or a plain prompt, such as PROMPT_TUNING.",
        )
    model.require_room(int(config.num_virtual_tokens or 0))
    if kind_of(config) in CACHED:
        config.num_layers, config.num_attention_heads, width = cache_shape(model)
        config.token_dim = config.num_attention_heads * width
    elif config.num_transformer_submodules is None:
        config.num_transformer_submodules = 1  # an encoder-decoder's decoder gets no virtual tokens


def cache_shape(model: LanguageModel) -> tuple[int, int, int]:
    """Return the layers, heads and head width of the key-value cache into which virtual tokens are put.

    Raises:
        ModelError: When the shape is not the same in every layer.
    """
    shapes = [tuple(layer.keys.shape) for layer in read_cache(model, np.array([model.vocabulary - 1], dtype=np.int32))]
    if len(set(shapes)) != 1:
        raise ModelError(
            "the layers keep keys of different shapes, so no virtual tokens fit all of them", fix="Use prompt_tuning."
        )
    _, heads, _, width = shapes[0]
    return len(shapes), heads, width


@torch.no_grad()
def read_cache(model: LanguageModel, ids: Any) -> list[Any]:
    """Run the base over int32 token ids ``(tokens,)`` and return the cache's layers.

    Their keys and values are ``(1, heads, tokens, head width)``.
    """
    if not model.encoder_decoder:
        continuation: Any = model.begin([ids])
        return list(continuation.cache.layers)
    read = torch.from_numpy(ids.astype("int64"))[None].to(model.device)
    start = torch.full_like(read[:, :1], model.module.config.decoder_start_token_id)
    output = model.module(input_ids=read, decoder_input_ids=torch.cat([start, read[:, :-1]], dim=1), use_cache=True)
    return list(output.past_key_values.self_attention_cache.layers)


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
    """Silence warnings of PEFT: what matters in them is an error here, the rest is for its developers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw torch's random numbers from a seed inside, and leave the outer stream untouched."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
