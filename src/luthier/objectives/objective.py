"""What an objective is: it says what a training record is, how its loss is computed, and what the loss is divided by.

An objective says why the weights move, a method says which weights move; neither names the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from luthier.config.base import Settings
from luthier.data.batching import plan_batches, plan_even_batches
from luthier.data.encoding import Encoder
from luthier.models.language_model import LanguageModel
from luthier.objectives.policy_settings import PolicySettings
from luthier.records import Dropped, Encoded, Example


class TrainingRecord(Protocol):
    """What an objective learns from: a frozen dataclass, such as a supervised pair or a preference pair."""

    @property
    def id(self) -> str:
        """The id of the example that it was made of."""


R = TypeVar("R", bound=TrainingRecord)


@dataclass(frozen=True, slots=True)
class MicroBatch(Generic[R]):
    """The records of one forward pass.

    Attributes:
        records: At least one.
        step: All records of the optimizer step that this is a part of.
        reference: For each record the log-probabilities (nats) that the reference gives to the target tokens of the
            record's sequences, one sequence after another: float32 ``(target tokens,)``. Empty where the objective does
            not need them.
    """

    records: Sequence[R]
    step: Sequence[R]
    reference: Sequence[Tensor] = ()


@dataclass(frozen=True, slots=True)
class LossSum:
    """The loss of a micro-batch, before it is divided by the normaliser of the whole step.

    Attributes:
        total: Float32 scalar, differentiable: the sum over what the normaliser counts.
        quantities: Further sums for the training log, by name; the log divides them by the same normaliser.
    """

    total: Tensor
    quantities: Mapping[str, float] = field(default_factory=dict)


class Objective(Protocol[R]):
    """What training minimises. A new one is one module, and one line in ``objectives/registry.py``.

    Attributes:
        name: What the user calls it.
        settings_class: Its own settings.
        learns_from: What its records are: objectives that name the same learn from the same records.
        rate_factor: What a method's default learning rate is multiplied by.
    """

    name: ClassVar[str]
    settings_class: ClassVar[type[Settings]]
    learns_from: ClassVar[str]
    rate_factor: ClassVar[float]

    @property
    def settings(self) -> Settings:
        """The settings that it was made with."""

    @property
    def needs_reference(self) -> bool:
        """Whether its loss reads the log-probabilities of the reference: the model before it is trained."""

    def prepare(self, examples: Iterable[Example], encoder: Encoder) -> Iterator[R | Dropped]:
        """Turn each example into its records, or say why one was dropped; in the order of the examples."""

    def sequences(self, record: R) -> Sequence[Encoded]:
        """Return the sequences that the loss of a record reads: the same objects at every call."""

    def tokens(self, record: R) -> int:
        """Return the tokens that a record takes in a forward pass. A record is never split over two of them."""

    def fitted(self, records: Sequence[R], reference: Sequence[Tensor]) -> Objective[R]:
        """Return the objective of a training on these records, with what it derives from all of them.

        Args:
            records: What is trained on.
            reference: For each of them the log-probabilities of the reference, as in :class:`MicroBatch`.
        """

    def of_step(self, model: LanguageModel, batches: Sequence[MicroBatch[R]]) -> Objective[R]:
        """Return the objective of one optimizer step, with what it derives from all of its passes, and no gradient."""

    def normaliser(self, step: Sequence[R]) -> float:
        """Return what the loss of a whole optimizer step is divided by: its supervised tokens, its pairs …"""

    def loss(self, model: LanguageModel, batch: MicroBatch[R]) -> LossSum:
        """Return the sum of the loss over a micro-batch."""


@runtime_checkable
class StartsAtReference(Protocol):
    """An objective whose reference is the start: without dropout, its loss there is known beforehand.

    Attributes:
        needs_reference: See :class:`Objective`.
    """

    @property
    def needs_reference(self) -> bool:
        """Whether there is a reference at all."""

    def gap_at_start(self, model: LanguageModel, batch: MicroBatch[Any]) -> float:
        """Return how far the loss of a batch is from what it must be where the model is its reference, relatively."""


@runtime_checkable
class LearnsFromOwnAnswers(Protocol):
    """An objective whose records of a step are answers to its prompts, which the model draws at that step."""

    @property
    def settings(self) -> PolicySettings:
        """Its settings."""

    def advantages(self, rewards: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the advantages of answers, ``(prompts, samples)``, from their rewards: NaN where there is none."""


def cut_into_micro_batches(
    objective: Objective[R],
    step: Sequence[R],
    max_tokens: int,
    *,
    enough: int | None = None,
    even: bool = False,
    reference: Sequence[Tensor] = (),
) -> list[MicroBatch[R]]:
    """Cut an optimizer step into forward passes.

    Losses are sums that are divided by the normaliser of the whole step, so the cut does not change the gradient.

    Args:
        objective: Counts the tokens of a record.
        step: The records of the step.
        max_tokens: Tokens of a forward pass, when it is padded to its longest record.
        enough: Tokens that keep the device busy; see :func:`luthier.data.batching.plan_batches`.
        even: Whether passes are not padded, and are to be of about the same size; ``enough`` is not used then.
        reference: For each record the reference's log-probabilities; empty for none.
    """
    lengths = [objective.tokens(record) for record in step]
    plan = plan_even_batches(lengths, max_tokens) if even else plan_batches(lengths, max_tokens, enough=enough)
    return [
        MicroBatch([step[place] for place in places], step, [reference[place] for place in places] if reference else ())
        for places in plan
    ]


def sums_of_answers(values: Tensor, lengths: Sequence[int]) -> Tensor:
    """Return the sum of the values of each answer's tokens: ``(answers,)``.

    Args:
        values: ``(target tokens,)``, one answer after another.
        lengths: Tokens of each answer.
    """
    return torch.stack([part.sum() for part in torch.split(values, list(lengths))])


def supervised_tokens(objective: Objective[R], records: Sequence[R]) -> int:
    """Return the number of target tokens of some records."""
    return sum(len(sequence.target_ids) for record in records for sequence in objective.sequences(record))


@torch.no_grad()
def mean_loss(objective: Objective[R], model: LanguageModel, batches: Sequence[MicroBatch[R]]) -> float:
    """Return the loss over all batches divided by their normaliser; NaN, not measured, when there is nothing in them.

    For cross-entropy these are nats per supervised token.
    """
    objective = objective.of_step(model, batches)
    total = sum(float(objective.loss(model, batch).total.double()) for batch in batches)
    normaliser = objective.normaliser([record for batch in batches for record in batch.records])
    return total / normaliser if normaliser else math.nan
