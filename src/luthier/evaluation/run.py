"""Run an evaluation job once: the log lies in the store under everything that it depends on.

The answers of earlier evaluations are looked up once, before the batches are planned; see `response_cache`. Batches are
planned before the first one is answered, and each is logged as it ends; a killed evaluation goes on with the batch that
it was in, and gives the same log.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from luthier.evaluation.jobs import EvaluationJob
from luthier.evaluation.response_cache import recall, remember
from luthier.files.atomic import writing
from luthier.files.jsonl import append_lines, read_until_torn
from luthier.files.store import reading
from luthier.kernels.peak_memory import greatest, peak_bytes, reset_peak
from luthier.metrics.extraction import extract_answers
from luthier.metrics.prediction_log import read_predictions, write_predictions
from luthier.progress import progress, say
from luthier.records import Prediction

PARTIAL = "partial.jsonl"


@dataclass(frozen=True, slots=True)
class PredictionLog:
    """A finished log.

    Attributes:
        predictions: In the order of the split.
        seconds: Wall seconds of answering, over all processes; of cached answers, those that they took at their time.
        peak_memory_bytes: Of answering alone, over all processes; None where it could not be measured, or answers were
            cached.
        cached: Answers that came from the response cache.
    """

    predictions: tuple[Prediction, ...]
    seconds: float
    peak_memory_bytes: int | None
    cached: int = 0

    @property
    def unparsed(self) -> int:
        """Answers that were not found in the generated text."""
        return sum(prediction.unparsed for prediction in self.predictions)


@dataclass(frozen=True, slots=True)
class _LogCosts:
    seconds: float
    peak_memory_bytes: int | None
    cached: int


@dataclass(frozen=True, slots=True)
class _Batch:
    """A line of the partial log.

    Attributes:
        seconds: Wall seconds.
        predictions: The answers.
        cached: Whether they came from the response cache.
        peak_memory_bytes: Of the process that computed them, so far; None where it could not be measured.
    """

    seconds: float
    predictions: list[Prediction]
    cached: bool = False
    peak_memory_bytes: int | None = None


_BATCH = TypeAdapter(_Batch)
_COSTS = TypeAdapter(_LogCosts)


def ensure_answered(job: EvaluationJob) -> EvaluationJob:
    """Return a job when it is finished: run now, or said to be in the store already; the model stands as for `run`."""
    if job.entry.finished:
        say(f"{job.label}: answered before, found in the store ({job.entry.key[:8]})")
    else:
        run(job)
    return job


def run(job: EvaluationJob) -> None:
    """Answer what has not been answered yet, and put the log into the store.

    The model must stand as it will be described by the job: with its adapter attached, or bare.
    """
    with job.entry.held(job.label):
        if not job.entry.finished:
            _run(job)


def read_log(job: EvaluationJob) -> PredictionLog:
    """Read a finished log, and take the answers out of generated text where the task says how.

    Raises:
        StoreError: When it is damaged.
        DataError: When taking an answer out of a text takes too long.
    """
    with reading(job.entry):
        costs = _COSTS.validate_json(job.entry.checked("costs.json").read_bytes())
        predictions = read_predictions(job.entry.checked("predictions.jsonl"))
    answers = extract_answers(predictions, job.extraction)
    return PredictionLog(answers, costs.seconds, costs.peak_memory_bytes, costs.cached)


def _run(job: EvaluationJob) -> None:
    reset_peak(job.device)
    partial = job.entry.work / PARTIAL
    with writing(job.entry.work):
        done = _read_partial(partial)
        if done:
            before = sum(len(batch.predictions) for batch in done)
            say(f"{job.label}: goes on, {before} of {len(job.requests)} examples were answered before")
        done = done or _recall(job, partial)
        answered = {own.id for batch in done for own in batch.predictions}
        cached = {own.id for batch in done if batch.cached for own in batch.predictions}
        # The plan holds what was not cached at first, so that a killed evaluation goes on in the same batches.
        planned = job.batches([index for index, item in enumerate(job.requests) if item.blank.id not in cached])
        with progress(job.label, len(job.requests), "examples", done=len(answered)) as advance:
            for indices in planned:
                if job.requests[indices[0]].blank.id not in answered:
                    done.append(_answer(job, indices, partial))
                    advance(len(indices), "")
        by_id = {own.id: own for batch in done for own in batch.predictions}
        write_predictions(job.entry.work / "predictions.jsonl", [by_id[item.blank.id] for item in job.requests])
        costs = _LogCosts(
            seconds=sum(batch.seconds for batch in done),
            peak_memory_bytes=None if cached else greatest(*(batch.peak_memory_bytes for batch in done)),
            cached=len(cached),
        )
        (job.entry.work / "costs.json").write_bytes(_COSTS.dump_json(costs))
        partial.unlink(missing_ok=True)
        job.entry.finish()


def _answer(job: EvaluationJob, indices: Sequence[int], partial: Path) -> _Batch:
    """Answer a batch, log it, and keep its answers for later evaluations."""
    started = time.monotonic()
    predictions = job.answer(indices)
    seconds = time.monotonic() - started
    batch = _Batch(seconds, predictions, peak_memory_bytes=peak_bytes(job.device))
    _append(partial, batch)
    if job.cache is not None:
        remember(job.cache, zip([job.requests[index].key for index in indices], predictions, strict=True))
    return batch


def _recall(job: EvaluationJob, partial: Path) -> list[_Batch]:
    """Log the answers of earlier evaluations as the first batch, so that after a kill the same rest is left."""
    found = recall(job.cache, job.requests) if job.cache is not None else {}
    if not found:
        return []
    say(f"{job.label}: {len(found)} of {len(job.requests)} answers were known from earlier evaluations")
    batch = _Batch(sum(own.seconds for own in found.values()), list(found.values()), cached=True)
    _append(partial, batch)
    return [batch]


def _append(partial: Path, batch: _Batch) -> None:
    append_lines(partial, [json.dumps(asdict(batch))])


def _read_partial(path: Path) -> list[_Batch]:
    """Read the batches that a killed evaluation finished; a last line cut in half is removed from the file."""
    return read_until_torn(path, lambda line: _BATCH.validate_python(json.loads(line)), truncate=True)
