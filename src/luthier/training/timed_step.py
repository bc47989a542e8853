"""What a step of a training takes, timed before the training on its own records. Nothing that is trained changes.

Steps are taken at a learning rate of zero, which leaves every weight as it is, and the random state is put back. What
is timed is a step of one short record and one of as many records as a forward pass takes, so that a large model is not
kept busy with a whole step: the time of any step follows from the two by its tokens.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from luthier.kernels.peak_memory import peak_bytes
from luthier.kernels.verification import evaluation_mode
from luthier.methods.base import Attached
from luthier.models.frozen_activations import reuse_frozen_activations
from luthier.models.language_model import LanguageModel
from luthier.objectives.objective import MicroBatch, R, cut_into_micro_batches
from luthier.training.checkpoint import random_state, restore_random_state
from luthier.training.job import TrainingJob
from luthier.training.loop import read_again, started_penalties, training_mode
from luthier.training.memory_fit import first_pass_size
from luthier.training.optimizer import make_optimizer
from luthier.training.pass_size import busy_tokens
from luthier.training.step import Training, take_step
from luthier.training.stream import TokenCounts

_LONG = 5.0
"""Seconds of a first pass after which no other one is timed: its warm-up is a small part of it."""


@dataclass(frozen=True, slots=True)
class StepRates:
    """What the steps of a training take, in seconds.

    Attributes:
        step: Each step, besides its tokens.
        token: Each token of a record that is read for the first time.
        token_again: Each token of a record that was read before: less where frozen activations are kept.
        forward: Each token without a gradient, as in the loss of the validation split.
        peak_bytes: Of the memory meanwhile; None where it could not be measured.
    """

    step: float
    token: float
    token_again: float
    forward: float
    peak_bytes: int | None = None

    def seconds(self, steps: int, tokens: TokenCounts) -> float:
        """Return what so many steps take that read so many tokens."""
        again = tokens.read - tokens.distinct
        return self.step * steps + self.token * tokens.distinct + self.token_again * again


def affine(small: tuple[int, float], large: tuple[int, float]) -> tuple[float, float]:
    """Return the fixed seconds and the seconds of each token of two timed steps, given as tokens and seconds.

    Neither is negative: where the small step was not faster, all is laid to the tokens of the large one.
    """
    (few, short), (many, long) = small, large
    each = (long - short) / (many - few) if many > few and long > short else long / many
    return max(0.0, long - each * many), each


def time_step(model: LanguageModel, attached: Attached, job: TrainingJob[R]) -> StepRates:
    """Time a step of a training.

    Args:
        model: With the job's method attached, untrained.
        attached: The method.
        job: The training.

    Raises:
        DivergenceError: The loss is not finite.
    """
    config, parameters = job.recipe.config, attached.trainable()
    terms = started_penalties(model, attached, job.stream, job.recipe, out=None)
    optimizer = make_optimizer(parameters, config)
    training = Training(model, attached, job.stream, job.recipe, terms, optimizer, job.name)
    again = read_again(job.stream, job.recipe)
    with (
        random_state_kept(),
        training_mode(model, job.recipe),
        reuse_frozen_activations(model, again, config.frozen_cache_mib * 2**20) as reused,
    ):
        rates = _timed(training, reused=reused)
    optimizer.zero_grad(set_to_none=True)
    return rates


@contextlib.contextmanager
def random_state_kept() -> Iterator[None]:
    """Put torch's random state back afterwards."""
    state = random_state()
    try:
        yield
    finally:
        restore_random_state(state)


def _timed(training: Training[R], *, reused: bool) -> StepRates:
    objective, model = training.recipe.objective, training.model
    micro_tokens = first_pass_size(training)
    passes = _first_passes(training, micro_tokens)
    # Passes that are not padded are alike; of others, the longest records take more for each token than most.
    largest, part = passes[0], passes[0 if model.why_padded() is None else len(passes) // 2]
    short = [min(part, key=objective.tokens)]
    few, many = (sum(objective.tokens(record) for record in records) for records in (short, part))

    def step(records: Sequence[R]) -> float:
        return _seconds(model.device, lambda: take_step(training, records, (), 0.0, step=0, micro_tokens=micro_tokens))

    step(short)
    small = (few, step(short))
    if reused:
        fixed, each = affine(small, (many, step(part)))
        again = max(0.0, step(part) - fixed) / many
    else:
        # The largest pass finds the memory for all; where it is long, that is a small part of it.
        first = step(largest)
        one = first if first > _LONG and part is largest else step(part)
        fixed, each = affine(small, (many, one if one > _LONG else (one + step(part)) / 2))
        again = each
    peak = peak_bytes(model.device)
    batch = MicroBatch(part, part)
    with evaluation_mode(model.module):
        forward = _seconds(model.device, lambda: objective.loss(model, batch)) / many
    return StepRates(fixed, each, again, forward, peak)


def _first_passes(training: Training[R], micro_tokens: int) -> list[Sequence[R]]:
    """Return the records of each pass of the first step, cut as the training cuts it: the largest pass first."""
    stream, model = training.stream, training.model
    batches = cut_into_micro_batches(
        training.recipe.objective,
        stream.records(0),
        micro_tokens,
        enough=busy_tokens(model),
        even=training.recipe.config.micro_tokens == "auto" and model.why_padded() is None,
    )
    return [batch.records for batch in batches]


def _seconds(device: torch.device, compute: Callable[[], object]) -> float:
    started = time.monotonic()
    compute()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.monotonic() - started
