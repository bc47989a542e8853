"""How long one request takes alone, with the method beside the weights and folded into them.

A few requests are asked one at a time, by turns unmerged and merged, so that whatever else the machine does falls on
both alike. Nothing of the answers is kept: scores come from the log of the whole split. The result lies in the store,
as training times do.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import torch

from luthier.data.encoding import Encoder
from luthier.errors import ModelError
from luthier.evaluation.context import EvaluationContext
from luthier.evaluation.jobs import prediction_inputs
from luthier.evaluation.prepared_task import PreparedTask, generation_settings_of
from luthier.evaluation.requests import Request, answer_batch, encode_requests
from luthier.files.store import Entry, open_entry, reading
from luthier.methods.base import Attached
from luthier.methods.merging import Mergeable
from luthier.models.language_model import LanguageModel
from luthier.records import Example

REQUESTS = 3
"""Different requests that are asked."""
PASSES = 9
"""Times that a request is asked at most, merged and unmerged each."""
SECONDS = 1.5
"""After so many, no further pass begins."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Median wall seconds of a request that is alone.

    Attributes:
        unmerged: As the arm is trained: for in-context learning, the base.
        merged: With the method folded into the weights; None where it cannot be, or there is none.
    """

    unmerged: float
    merged: float | None


@dataclass(frozen=True, slots=True)
class TimingJob:
    """Requests to be timed, and the place of the result.

    Attributes:
        entry: Its place in the store.
        ask: Answers one of the requests, by its number.
        requests: How many there are.
        label: What is timed.
    """

    entry: Entry
    ask: Callable[[int], object]
    requests: int
    label: str


def timing_job(model: LanguageModel, prepared: PreparedTask, context: EvaluationContext, *, label: str) -> TimingJob:
    """Prepare the timing of the first requests of a task that fit; at least one must."""
    generation = generation_settings_of(prepared.task, context.decoding)
    requests = _first(prepared.examples, prepared.encoder, generation.new_tokens)
    timed = replace(prepared, examples=tuple(request.example for request in requests))
    inputs = prediction_inputs(model, timed, context) | {"device": str(model.device), "passes": [PASSES, SECONDS]}

    def ask(number: int) -> object:
        chosen = [requests[number]]
        return answer_batch(model, prepared.encoder, chosen, generation, batch_tokens=context.batch_tokens)

    about = replace(context.about, task=prepared.task.name)
    return TimingJob(open_entry(context.out, "latency", inputs, about), ask, len(requests), label)


def time_requests(timing: TimingJob, attached: Attached | None) -> None:
    """Time the requests, unless they have been, and put the result into the store. The model must stand as planned.

    A method that is folded in is taken out again, bit for bit.
    """
    with timing.entry.held(timing.label):
        if timing.entry.finished:
            return
        found = _measure(timing, attached)
        (timing.entry.work / "latency.json").write_text(json.dumps(asdict(found)), encoding="utf-8")
        timing.entry.finish()


def read_latency(timing: TimingJob) -> Latency:
    """Read a result.

    Raises:
        StoreError: When it is damaged.
    """
    with reading(timing.entry):
        return Latency(**json.loads(timing.entry.checked("latency.json").read_text(encoding="utf-8")))


def _first(examples: Sequence[Example], encoder: Encoder, new_tokens: int) -> list[Request]:
    found: list[Request] = []
    for example in examples:
        found += encode_requests([example], encoder, new_tokens=new_tokens)[0]
        if len(found) == REQUESTS:
            break
    return found


def _measure(timing: TimingJob, attached: Attached | None) -> Latency:
    mergeable: Mergeable | None = attached if isinstance(attached, Mergeable) else None
    folding = mergeable if mergeable is not None and not mergeable.in_place else None
    _seconds(timing, 0)  # the first request is slower: the model is tried, and kernels are chosen
    if folding is not None and _folded(folding, timing, 0) is None:
        folding = None
    unmerged: list[float] = []
    merged: list[float] = []
    began = time.monotonic()
    while len(unmerged) < PASSES and (not unmerged or time.monotonic() - began < SECONDS):
        number = len(unmerged) % timing.requests
        unmerged.append(_seconds(timing, number))
        taken = _folded(folding, timing, number) if folding is not None else None
        merged += [] if taken is None else [taken]
    alone = statistics.median(unmerged)
    if mergeable is not None and mergeable.in_place:
        return Latency(alone, alone)
    return Latency(alone, statistics.median(merged) if merged else None)


def _folded(attached: Mergeable, timing: TimingJob, number: int) -> float | None:
    """Time a request with the method folded into the weights; None where it cannot be."""
    try:
        undo = attached.merge()
    except (ModelError, torch.OutOfMemoryError):
        return None
    try:
        return _seconds(timing, number)
    finally:
        undo()


def _seconds(timing: TimingJob, number: int) -> float:
    started = time.monotonic()
    timing.ask(number)
    return time.monotonic() - started
