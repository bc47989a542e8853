"""``luthier check``: a task's rows, streamed through the encoder. A file larger than memory can be checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from luthier.config.data import DataConfig
from luthier.data.check import CheckReport, SplitMeter
from luthier.data.check_pairs import PairMeter
from luthier.data.model_tokens import ModelTokens
from luthier.tasks.loader import load_task, with_data_settings
from luthier.tasks.rows.splits import NAMES
from luthier.tasks.split_index import SplitIndex
from luthier.tasks.task_encoder import task_encoder
from luthier.tasks.task_rows import TaskRows


def run_check(
    task: str,
    tokenizer: Any,
    *,
    encoder_decoder: bool,
    max_length: int,
    data: DataConfig | None = None,
    seed: int = 0,
    samples: int = 3,
    model_tokens: ModelTokens = ModelTokens(),  # noqa: B008 - frozen
) -> CheckReport:
    """Check what would be learned from a task.

    Args:
        task: Built-in name, task YAML, data file, folder or hub id.
        tokenizer: A Hugging Face tokenizer.
        encoder_decoder: Whether the model is an encoder–decoder.
        max_length: Tokens that the model takes; a shorter ``data.max_length`` wins.
        data: How many examples of each split, and how they are encoded.
        seed: Decides which are drawn.
        samples: How many examples of each split are kept to be shown.
        model_tokens: What the model says of its tokens.

    Raises:
        LuthierError: When the task, its rows or the tokenizer cannot be used.
    """
    data = data or DataConfig()
    loaded = with_data_settings(load_task(task, data.folder), data)
    encoder = task_encoder(
        loaded, tokenizer, data, encoder_decoder=encoder_decoder, max_length=max_length, model_tokens=model_tokens
    )
    index = SplitIndex(TaskRows(loaded), seed)
    limits = {"train": data.train, "validation": data.validation, "test": data.test}
    wanted = np.logical_or.reduce([index.chosen(name, limit) for name, limit in limits.items()])
    report = index.report(wanted)
    meters = {name: SplitMeter(name, encoder, samples) for name in NAMES}
    pairs = {name: PairMeter(name, encoder) for name in NAMES}
    for item in index.items(wanted, evaluation=False):
        meters[item.split].add(item.example)
        pairs[item.split].add(item.example)
    compared = tuple(meter.finish() for meter in pairs.values())
    splits = tuple(meter.finish() for meter in meters.values())
    return CheckReport(
        task=loaded.name,
        where=loaded.where,
        max_length=encoder.max_length,
        chat=encoder.chat,
        rows=report.rows,
        left_out=report.left_out,
        left_out_rows=report.left_out_rows,
        left_out_why=report.left_out_why,
        sentences=report.sentences,
        splits=tuple(split for split in splits if split.examples),
        pairs=tuple(own for own in compared if own.prompts),
    )
