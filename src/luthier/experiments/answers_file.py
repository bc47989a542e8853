"""The answers of an evaluation as a file for people: the row that each is from, the whole prompt, and the answer."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.evaluation.prepared_task import PreparedTask
from luthier.evaluation.requests import encode_requests
from luthier.evaluation.run import PredictionLog
from luthier.files.atomic import write_atomically
from luthier.tasks.schema import Task
from luthier.tasks.task_rows import TaskRows

if TYPE_CHECKING:
    from luthier.evaluation.harness.task import HarnessTask

_UNUSUAL = re.compile(r"[^\w.-]+")
"""What the name of a file is kept free of."""


def write_answers(folder: Path, prepared: PreparedTask, log: PredictionLog, *, new_tokens: int) -> Path:
    """Write ``<task>.jsonl`` with a line for each answer: ``source``, ``row`` (from 1), ``id``, ``prompt`` as the model
    read it, ``prediction``, ``targets``, ``finish``, and of choices their log-probabilities.

    Returns:
        The file.

    Raises:
        StoreError: When it cannot be written.
    """
    places, prompts = _places(prepared.task), _prompts(prepared, new_tokens)
    lines = []
    for own in log.predictions:
        source, row = places.get(own.id, ("", 0))
        line: dict[str, Any] = {"source": source, "row": row, "id": own.id, "prompt": prompts.get(own.id, "")}
        line |= {"prediction": own.text, "targets": list(own.targets), "finish": own.finish}
        if own.choices:
            line["choice_logprobs"] = dict(zip(own.choices, own.choice_logprobs, strict=True))
        if own.generated is not None:
            line["generated"] = own.generated
        lines.append(json.dumps(line, ensure_ascii=False))
    path = folder / f"{prepared.task.name}.jsonl"
    write_atomically(path, "".join(line + "\n" for line in lines))
    return path


def write_harness_answers(folder: Path, task: HarnessTask, log: PredictionLog) -> Path:
    """Write ``lm_eval-<task>.jsonl``: as :func:`write_answers`, without a row, and with the numbers that lm-eval gives.

    Raises:
        StoreError: When it cannot be written.
        TaskError: When lm-eval cannot judge the answers.
    """
    prompts = {own.document.id: own.request.example.prompt for own in task.requests}
    lines = []
    for own, judged in zip(log.predictions, task.judge.judged(log.predictions), strict=True):
        line: dict[str, Any] = {"id": own.id, "prompt": prompts[own.id], "prediction": own.text}
        line |= {"targets": list(own.targets), "finish": own.finish}
        if own.choices:
            line |= {"choices": list(own.choices), "choice_logprobs": list(own.choice_logprobs)}
        line["numbers"] = {f"{metric},{of_filter}": value for (metric, of_filter), value in judged.numbers.items()}
        lines.append(json.dumps(line, ensure_ascii=False, default=_plain))
    path = folder / f"lm_eval-{_UNUSUAL.sub('-', task.task.task_name)}.jsonl"
    write_atomically(path, "".join(line + "\n" for line in lines))
    return path


def _plain(value: Any) -> Any:
    """Return a number or an array of numpy as JSON can hold it, and anything else as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _places(task: Task) -> dict[str, tuple[str, int]]:
    """Return the source and the row of each test example, by id."""
    found = TaskRows(task).items(evaluation=True, only="test")
    return {item.example.id: (item.source, item.row) for item in found}


def _prompts(prepared: PreparedTask, new_tokens: int) -> dict[str, str]:
    """Return what the model read of each example, exemplars and chat template included, by id."""
    requests, _ = encode_requests(prepared.examples, prepared.encoder, new_tokens=new_tokens)
    decode = prepared.encoder.tokenizer.decode
    return {item.example.id: str(decode(item.items[0].prompt_ids.tolist())) for item in requests}
