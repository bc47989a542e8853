"""What a comparison will take, said before it is spent: frozen records of plain values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TrainingCounts:
    """One training of an arm.

    Attributes:
        examples: That it learns from.
        steps: Optimizer steps in all.
        tokens: Of prompts and targets, over all steps.
        validations: How many times the validation split is measured.
    """

    examples: int
    steps: int
    tokens: int
    validations: int


@dataclass(frozen=True, slots=True)
class AnswerCounts:
    """What is asked once.

    Attributes:
        requests: Examples, and texts whose loss is measured.
        tokens: Of their prompts, and of the answers that are given to be scored, each sequence counted whole.
    """

    requests: int
    tokens: int


@dataclass(frozen=True, slots=True)
class ArmCounts:
    """The work of an arm, or of the base where forgetting is measured.

    Attributes:
        name: Of the arm; "" for the base.
        seeds: How many times it is trained; 0 where nothing is.
        trials: Of its search, each a training.
        training: One training; None where nothing is trained.
        test: The target's test split, answered once for each training; None for the base.
        retained: Retained tasks and texts, answered once for each training; None where they are not.
        units: Units of work that it is made of.
        found: Those of them that lie in the store.
        points: Points between the base and the arm, at each of which the same is asked again.
        choosing: Validation splits by which an arm and a point are chosen, answered as often; None where none is.
        pairs: Held-out pairs of answers that are scored once for each training.
    """

    name: str
    seeds: int
    trials: int
    training: TrainingCounts | None
    test: AnswerCounts | None
    retained: AnswerCounts | None
    units: int
    found: int
    points: int = 0
    choosing: AnswerCounts | None = None
    pairs: int = 0

    @property
    def label(self) -> str:
        """What people call it."""
        return self.name or "base"


@dataclass(frozen=True, slots=True)
class ArmForecast:
    """What an arm will take.

    Attributes:
        counts: Its work.
        seconds: Of everything that is not in the store, one after another.
        training_seconds: Of searches and trainings, validation included.
        peak_memory_bytes: Of a forward and backward pass; None where nothing is trained or it was not measured.
    """

    counts: ArmCounts
    seconds: float
    training_seconds: float
    peak_memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a comparison will take.

    Attributes:
        task: Name of the target.
        arms: The base first, where forgetting is measured, then the arms in their order.
        seconds: Wall seconds of all, with as many workers.
        workers: Processes that work side by side.
        measuring_seconds: What the estimate itself took.
    """

    task: str
    arms: tuple[ArmForecast, ...]
    seconds: float
    workers: int
    measuring_seconds: float
