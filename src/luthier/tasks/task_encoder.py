"""The encoder of a model for a task: prompt and answer apart, or as one text where the task joins them."""

from __future__ import annotations

from typing import Any

from luthier.config.data import EncodingConfig
from luthier.data.encoding import Encoder
from luthier.data.joined_encoding import JoinedEncoder
from luthier.data.model_tokens import ModelTokens
from luthier.errors import ConfigError
from luthier.tasks.schema import Task

PRIOR = ":by=prior"
"""In the name of a metric that compares each choice with its probability without the prompt."""


def task_encoder(
    task: Task,
    tokenizer: Any,
    data: EncodingConfig,
    *,
    encoder_decoder: bool,
    max_length: int,
    model_tokens: ModelTokens,
) -> Encoder:
    """Return the encoder of a model for a task.

    Args:
        task: What is encoded.
        tokenizer: The model's.
        data: How it is encoded; a shorter ``max_length`` there wins.
        encoder_decoder: Whether the model is an encoder–decoder.
        max_length: Tokens that the model takes.
        model_tokens: What the model says of its tokens.

    Raises:
        ConfigError: When a chat template is demanded for a task that is tokenised as it stands.
        ModelError: When the tokenizer has no end token, or not the special tokens of the task.
    """
    longest = min(data.max_length or max_length, max_length)
    if task.joint is None:
        return Encoder(
            tokenizer,
            encoder_decoder=encoder_decoder,
            max_length=longest,
            chat=data.chat,
            task_wants_chat=task.chat,
            chat_arguments=data.chat_arguments,
            special_tokens=task.special_tokens,
            model_tokens=model_tokens,
        )
    if data.chat == "always":
        what = f"the task '{task.name}' joins prompt and answer as they stand, which a chat template cannot"
        raise ConfigError(what, where="data.chat", fix="Leave it out, or take `joint` out of the task's file.")
    return JoinedEncoder(
        tokenizer,
        joint=task.joint,
        encoder_decoder=encoder_decoder,
        max_length=longest,
        special_tokens=task.special_tokens,
        model_tokens=model_tokens,
        priors=any(PRIOR in name for name in task.metrics),
    )
