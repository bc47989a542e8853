"""Tasks of the suites beside the tasks of lm-eval that they equal, over the files of ``../shared/data``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from luthier.config.data import EncodingConfig
from luthier.data.encoding import Encoder
from luthier.evaluation.exemplars import add_exemplars
from luthier.models.language_model import LanguageModel
from luthier.records import Example
from luthier.tasks.loader import load_exemplar_pool, load_task
from luthier.tasks.schema import Task
from luthier.tasks.task_encoder import task_encoder
from luthier.tasks.task_rows import TaskRows

SAME_NAME = (
    *("mmlu_anatomy", "mmlu_formal_logic", "mmlu_us_foreign_policy"),
    *("cola", "sst2", "rte", "wnli"),
    *("boolq", "cb", "sglue_rte", "wic", "wsc"),
    *("gsm8k", "truthfulqa_mc1", "truthfulqa_mc2", "truthfulqa_gen"),
)
PAIRS = {name: name for name in SAME_NAME} | {
    "bbh_boolean_expressions": "bbh_zeroshot_boolean_expressions",
    "bbh_ruin_names": "bbh_zeroshot_ruin_names",
    "bbh_dyck_languages": "bbh_zeroshot_dyck_languages",
    "crows_pairs": "crows_pairs_english",
    "winogender": "winogender_all",
    "bbq_age": "bbq",
}
"""By our name the name of lm-eval's task."""


def examples_by_row(task: Task) -> dict[int, Example]:
    """Return the test examples of a task by the number of their row, from 0 as lm-eval counts."""
    items = TaskRows(task).items(evaluation=True, only="test")
    return {item.row - 1: item.example for item in items}


def joined(model: LanguageModel, task: Task, max_length: int = 1_000_000) -> Encoder:
    """Return the encoder of a model for a task that joins prompt and answer; of any length when not said."""
    return task_encoder(
        task,
        model.tokenizer,
        EncodingConfig(),
        encoder_decoder=model.encoder_decoder,
        max_length=max_length,
        model_tokens=model.tokens,
    )


def same_requests(
    ours: str, requests: list[Any], data: Path, model: LanguageModel, shots: int = 0
) -> Iterator[tuple[Any, tuple[list[int], list[int]]]]:
    """Yield each request of lm-eval that we have too, with our token ids of its prompt and its answer."""
    task = load_task(ours, data)
    encoder, rows = joined(model, task), examples_by_row(task)
    if shots:
        pool = load_exemplar_pool(task, limit=None, seed=0)
        order = task.exemplars.order
        shown = add_exemplars(list(rows.values()), pool, shots, seed=0, fits=lambda example: True, order=order)
        rows = dict(zip(rows, shown.examples, strict=True))
    for request in requests:
        if request.row not in rows:
            assert ours.startswith("bbq_"), f"{ours}: row {request.row} is missing"  # theirs holds all categories
            continue
        example = rows[request.row]
        if request.kind == "generate_until":
            prompt: Any = encoder.encode_prompt(example, 0)
            yield request, (prompt.prompt_ids.tolist(), [])
        else:
            choices: Any = encoder.encode_choices(example)
            one = choices[request.index]
            yield request, (one.prompt_ids.tolist(), one.target_ids.tolist())
