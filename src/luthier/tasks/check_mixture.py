"""``luthier check`` of a mixture: its shares, asked and realised, before anything is trained."""

from __future__ import annotations

from typing import Any

from luthier.config.data import DataConfig
from luthier.data.model_tokens import ModelTokens
from luthier.tasks.loader import load_splits, load_task, with_data_settings
from luthier.tasks.mixture import Mixture, Reader, make_mixture
from luthier.tasks.mixture_spec import read_mixture
from luthier.tasks.task_encoder import task_encoder
from luthier.tasks.texts import text_hash


def run_check_mixture(
    name: str,
    tokenizer: Any,
    *,
    encoder_decoder: bool,
    max_length: int,
    model_tokens: ModelTokens,
    data: DataConfig,
    seed: int,
) -> Mixture:
    """Read a mixture as a training would.

    Args:
        name: Its file.
        tokenizer: A Hugging Face tokenizer.
        encoder_decoder: Whether the model is an encoder-decoder.
        max_length: Tokens that the model takes.
        model_tokens: What the model says of its tokens.
        data: How rows are read.
        seed: Of what is drawn.

    Raises:
        LuthierError: All faults of its file and its sources.
    """
    spec = read_mixture(name)
    target = with_data_settings(load_task(spec.target_name, data.folder), data)
    splits = load_splits(target, data, seed)
    reader = Reader(
        tokenizer,
        encoder_decoder,
        min(data.max_length or max_length, max_length),
        lambda task: task_encoder(
            task, tokenizer, data, encoder_decoder=encoder_decoder, max_length=max_length, model_tokens=model_tokens
        ),
    )
    measured = {target.name: frozenset(map(text_hash, (*splits.validation, *splits.test)))}
    return make_mixture(spec, reader, data, seed=seed, held_out=measured)
