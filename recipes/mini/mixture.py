"""The instruction mixture: every built-in task but those held out, in proportion to its examples.

Each training example stands there in the wordings of several training templates, so that the model learns the task and
not a string; among them stands plain text, so that it does not unlearn to write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from luthier.config import DataConfig
from luthier.data.encoding import Encoder
from luthier.models.language_model import LanguageModel
from luthier.records import Encoded, Example
from luthier.tasks.load import library_names, load_splits, load_task
from recipes.mini.architecture import CONTEXT

HELD_OUT = frozenset({"dialogue_summary", "story_ending", "plain_text"})
WORDINGS = 4
"""Training templates in which each example stands there."""
REPLAYED = 1500

USUAL_TARGET = 6.0
"""Tokens of a usual target: brings the loss of :func:`each_example_alike` to the scale of a loss by tokens."""


def tasks() -> tuple[str, ...]:
    """Names of the tasks of the mixture."""
    return tuple(name for name in library_names() if name not in HELD_OUT)


def training_mixture(model: LanguageModel, texts: Sequence[str], *, seed: int) -> list[Encoded]:
    """Encode the training split of all tasks, each example in several training templates, and some plain text."""
    examples: list[Example] = []
    for name in tasks():
        task = load_task(name)
        for number, template in enumerate(task.training_templates):
            alone = replace(task, templates=(template,))
            rows = load_splits(alone, DataConfig(), seed).train
            count = len(task.training_templates)
            kept = [row for place, row in enumerate(rows) if (place + number) % count < WORDINGS]
            examples += [replace(row, id=f"{row.id}/{template.name}") for row in kept]
    return [*_encode(model, examples), *as_examples(model, texts[-REPLAYED:])]


def validation_mixture(model: LanguageModel, *, seed: int) -> list[Encoded]:
    """Encode the validation split of all tasks, in the wording of evaluation."""
    examples = [row for name in tasks() for row in load_splits(load_task(name), DataConfig(), seed).validation]
    return _encode(model, examples)


def as_examples(model: LanguageModel, texts: Sequence[str]) -> list[Encoded]:
    """Documents as a model reads them alone: everything after the begin token is learned."""
    tokenizer = model.tokenizer
    begin = np.array([tokenizer.bos_token_id], dtype=np.int32)
    ids = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return [
        Encoded(f"text-{number}", begin, np.array([*own, tokenizer.eos_token_id], dtype=np.int32)[: CONTEXT - 1])
        for number, own in enumerate(ids)
    ]


def each_example_alike(model: LanguageModel, batch: Sequence[Encoded]) -> Tensor:
    """Objective in which each example weighs the same: a one-word label as much as a page of text."""
    lengths = torch.tensor([len(item.target_ids) for item in batch])
    weights = torch.repeat_interleave(1 / lengths, lengths).to(model.device)
    return -(model.target_logprobs(batch) * weights).sum() * USUAL_TARGET


def _encode(model: LanguageModel, examples: list[Example]) -> list[Encoded]:
    encoder = Encoder(model.tokenizer, encoder_decoder=False, max_length=model.max_length, chat="never")
    return list(encoder.encode_all(examples).encoded)
