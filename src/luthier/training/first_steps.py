"""What a training will take, said once its first steps have been timed: they are steps of the training itself."""

from __future__ import annotations

from typing import Generic

from luthier.kernels.peak_memory import peak_bytes
from luthier.objectives.objective import R
from luthier.progress import duration, say
from luthier.training.checkpoint import TrainingProgress
from luthier.training.step import Training
from luthier.training.stream import count_tokens

_WARM = 10.0
"""Seconds of a first step beside which those that choosing kernels and allocating memory take are few."""
_TIMED = 2.0
"""Seconds of timed steps that are enough."""
_SHARE = 20
"""One in so many steps is timed, where they are quicker than that."""
_LEAST = 3
"""Steps, of which the first two are not most of the training."""


class FirstSteps(Generic[R]):
    """Says in one line what a training takes: after its first step if that is slow, else after a few more.

    Args:
        training: The training.
        progress: What was done before this process.
        validations: How many times the validation split will be measured; those are not timed.
    """

    def __init__(self, training: Training[R], progress: TrainingProgress, *, validations: int) -> None:
        self._training = training
        self._before = progress
        self._first: TrainingProgress | None = None
        self._validations = validations
        self._said = training.stream.steps - progress.step < _LEAST

    def after(self, progress: TrainingProgress) -> None:
        """Take note of a step that has just been taken."""
        if self._said:
            return
        last = self._before if self._first is None else self._first
        seconds, steps = progress.seconds - last.seconds, progress.step - last.step
        if self._first is None and seconds < _WARM:
            self._first = progress
        elif seconds >= _TIMED or steps >= self._training.stream.steps // _SHARE:
            self._said = True
            say(_line(self._training, progress, seconds, steps, self._validations))


def _line(training: Training[R], progress: TrainingProgress, seconds: float, steps: int, validations: int) -> str:
    """Write what is left after some steps that took so many seconds, by their tokens."""
    stream, objective = training.stream, training.recipe.objective
    whole, left = count_tokens(stream, objective).read, count_tokens(stream, objective, first=progress.step).read
    timed = count_tokens(stream, objective, first=progress.step - steps).read - left
    parts = [f"about {duration(seconds * left / max(1, timed))} for the steps that are left"]
    peak = peak_bytes(training.model.device)
    if peak is not None:
        parts.append(f"peak about {peak / 1e9:.1f} GB so far")
    if validations:
        parts.append(f"{validations} {'validation' if validations == 1 else 'validations'} besides")
    size = f"{len(stream.data.records):,} examples, {stream.steps:,} steps, {whole:,} tokens"
    return f"{training.label}: {size}: {', '.join(parts)}"
