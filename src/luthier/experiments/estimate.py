"""The arithmetic of a forecast: from counts and measured rates to seconds, and from units of work to wall time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from luthier.evaluation import latency
from luthier.evaluation.timed_answers import WritingRates, Written
from luthier.experiments.units import Unit, next_unit


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of answers: the mean, and of the longest."""

    mean: float
    longest: float


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests that are answered together, in writing.

    Attributes:
        requests: How many.
        at_once: How many of them run at a time at most.
        work: Of reading their prompts.
    """

    requests: int
    at_once: int
    work: float


def writing_seconds(rates: WritingRates, batches: Sequence[Batch], lengths: Lengths) -> float:
    """Return what writing takes.

    Where more requests wait than run at a time, places are taken as they become free, so that all but the last answers
    run in full batches.
    """
    seconds = 0.0
    for batch in batches:
        waves = batch.requests * lengths.mean / batch.at_once
        steps = max(lengths.longest, waves + lengths.longest - lengths.mean)
        seconds += rates.work * batch.work + rates.step * steps + rates.sequence * batch.requests * lengths.mean
    return seconds


def lengths_of(written: Sequence[Written]) -> Lengths:
    """Return the lengths of answers of which some may have been cut off before their end.

    Where none was cut off, these are the lengths that were seen. Otherwise each token is taken to be the last one with
    the same chance, that of those that were seen.
    """
    limit = max(own.limit for own in written)
    cut = [own for own in written if not own.ended and own.tokens < own.limit]
    if not cut:
        return Lengths(sum(own.tokens for own in written) / len(written), max(own.tokens for own in written))
    ends = sum(own.ended for own in written) / sum(own.tokens for own in written)
    mean = (1 - (1 - ends) ** limit) / ends if ends else float(limit)
    return Lengths(min(mean, limit), limit)


def reference_lengths(tokens: Sequence[int], limit: int) -> Lengths:
    """Return the lengths of answers that are like their references, an end token included."""
    bounded = [min(limit, count + 1) for count in tokens] or [limit]
    return Lengths(sum(bounded) / len(bounded), max(bounded))


def between(one: Lengths, other: Lengths) -> Lengths:
    """Return the lengths half way between two, as those of answers during a training."""
    return Lengths((one.mean + other.mean) / 2, max(one.longest, other.longest))


def timing_seconds(request: float, *, merges: bool) -> float:
    """Return what timing single requests takes, each of so many seconds; see :mod:`luthier.evaluation.latency`."""
    each = request * (2 if merges else 1)
    passes = min(latency.PASSES, max(1, -(-latency.SECONDS // max(each, 1e-9))))
    return each * (1 + passes)


def wall_seconds(units: Sequence[Unit], seconds: Mapping[str, float], *, workers: int) -> float:
    """Return the wall time of some units that workers run side by side, handed out as they are.

    Args:
        units: All of them.
        seconds: What each takes, by its name; 0 for what lies in the store.
        workers: How many.
    """
    waiting = [unit for unit in units if seconds[unit.name] > 0]
    done = {unit.name for unit in units if seconds[unit.name] <= 0}
    running: dict[Unit, float] = {}
    now = 0.0
    while waiting or running:
        while len(running) < workers and (unit := _next(waiting, done, running, workers)) is not None:
            waiting.remove(unit)
            running[unit] = now + seconds[unit.name]
        first = min(running, key=lambda unit: running[unit])
        now = running.pop(first)
        done.add(first.name)
    return now


def _next(waiting: Sequence[Unit], done: set[str], running: Mapping[Unit, float], workers: int) -> Unit | None:
    """Return what begins next: one process takes units in their order, several as :func:`.units.next_unit` says."""
    if workers == 1:
        return waiting[0] if waiting else None
    return next_unit(waiting, done, tuple(running))
