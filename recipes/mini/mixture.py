"""The instruction mixture: every built-in task but those held out, in proportion to its examples.

Each training example stands there once in the wording of every training template, so that the model learns the task and
not a string; among them stands plain text, so that it does not unlearn to write.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np

from luthier.config import DataConfig
from luthier.data.encoding import Encoder
from luthier.models.language_model import LanguageModel
from luthier.records import Encoded, Example
from luthier.tasks.load import library_names, load_splits, load_task
from recipes.tasks.corpus import documents

HELD_OUT = frozenset({"dialogue_summary", "story_ending", "plain_text"})
REPLAYED = 3000


def tasks() -> tuple[str, ...]:
    """Names of the tasks of the mixture."""
    return tuple(name for name in library_names() if name not in HELD_OUT)


def training_mixture(model: LanguageModel, *, seed: int) -> list[Encoded]:
    """Encode the training split of all tasks in every training template, and some plain text."""
    examples: list[Example] = []
    for name in tasks():
        task = load_task(name)
        for template in task.training_templates:
            alone = replace(task, templates=(template,))
            rows = load_splits(alone, DataConfig(), seed).train
            examples += [replace(row, id=f"{row.id}/{template.name}") for row in rows]
    return [*_encode(model, examples), *_replay(model)]


def validation_mixture(model: LanguageModel, *, seed: int) -> list[Encoded]:
    """Encode the validation split of all tasks, in the wording of evaluation."""
    examples = [row for name in tasks() for row in load_splits(load_task(name), DataConfig(), seed).validation]
    return _encode(model, examples)


def _encode(model: LanguageModel, examples: list[Example]) -> list[Encoded]:
    encoder = Encoder(model.tokenizer, encoder_decoder=False, max_length=model.max_length, chat="never")
    return list(encoder.encode_all(examples).encoded)


def _replay(model: LanguageModel) -> list[Encoded]:
    tokenizer = model.tokenizer
    begin = np.array([tokenizer.bos_token_id], dtype=np.int32)
    texts = list(islice(documents(), REPLAYED))
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return [
        Encoded(f"text-{number}", begin, np.array([*own, tokenizer.eos_token_id], dtype=np.int32))
        for number, own in enumerate(ids)
    ]
