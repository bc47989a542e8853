"""What an evaluation found: one record for each task, and the averages of suites."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from luthier.display import Displayed
from luthier.evaluation.measured import Judging
from luthier.evaluation.run import PredictionLog
from luthier.metrics.suite_averages import SuiteScore
from luthier.records import Score
from luthier.results.change import Change
from luthier.results.compared import Compared
from luthier.results.contamination import Contamination
from luthier.results.preference_records import PreferenceResult
from luthier.results.seven import Seven
from luthier.tasks.schema import Task


@dataclass(frozen=True)
class Evaluated(Displayed):
    """One task, measured.

    Attributes:
        task: The task.
        scores: The primary output first.
        shots_used: Fewest and most exemplars that fitted.
        dropped: Examples that do not fit and were not answered.
        log: The predictions and the time that they took.
        parts: The scores of each part of the test split, where the task names parts.
        extracted: The scores by each further way of taking the answer out, where the task names several.
        majority: What the most frequent answer scores; None where the answers are no classes.
        chance: What guessing scores, or None.
        coarser: The primary output less that of the model's own weights where the engine's are coarser, or less that
            of float32 products, for the first examples, where products are in a lower precision.
        same: Share of answers that are then the same.
        seven: What the suite ``helm`` measures; None where it was not asked for.
        contamination: How much of the items stands in what the adapter was trained on; None without an adapter.
        compared: A second model on the same examples; None where none was named.
        seven_compared: What the suite ``helm`` measures of that model.
        preferences: What it makes of held-out pairs, where the task has some.
    """

    view: ClassVar[str] = "evaluated task"

    task: Task | Judging
    scores: tuple[Score, ...]
    shots_used: tuple[int, int]
    dropped: int
    log: PredictionLog
    parts: Mapping[str, tuple[Score, ...]]
    extracted: Mapping[str, tuple[Score, ...]] = field(default_factory=dict)
    majority: float | None = None
    chance: float | None = None
    coarser: Change | None = None
    same: float | None = None
    seven: Seven | None = None
    contamination: Contamination | None = None
    compared: Compared | None = None
    seven_compared: Seven | None = None
    preferences: PreferenceResult | None = None

    def __repr__(self) -> str:
        return f"<Evaluated {self.task.name}: {self.scores[0]}>"


class Evaluation(Displayed, list[Evaluated]):
    """The tasks that were measured, in order.

    Attributes:
        averages: Of the suites that were asked for.
    """

    view: ClassVar[str] = "evaluation"

    def __init__(self, found: Iterable[Evaluated], averages: Sequence[SuiteScore] = ()) -> None:
        super().__init__(found)
        self.averages = tuple(averages)
