"""What ``luthier curve`` found, as frozen records and as JSON: ``results.json`` of a run of several sizes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from luthier.arguments import as_path
from luthier.display import Displayed
from luthier.metrics.task_metrics import TaskMetrics
from luthier.records import Score
from luthier.results.learning_curve import LearningCurve
from luthier.results.records import RESULTS
from luthier.results.run_files import read_record
from luthier.results.summaries import DataSummary, Environment, ModelSummary, TaskSummary, TrainingSummary


@dataclass(frozen=True, slots=True)
class CurveRun:
    """One training run at one size.

    Attributes:
        seed: Of the random weights, the order of the data and dropout.
        score: The task's primary output on the test split.
        loss: Nats per token of the references of the test split.
        steps: Optimizer steps.
        best_step: Step whose weights were kept; None when the last were.
        predictions: Log of the answers, relative to the run's folder.
    """

    seed: int
    score: float
    loss: float
    steps: int
    best_step: int | None
    predictions: str


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """An arm at one size.

    Attributes:
        size: Training examples that were drawn.
        examples: Those of them that fit the model, and were learned from.
        score: The task's primary output on the test split, over training runs.
        loss: Nats per token of the references of the test split, over training runs.
        runs: Single training runs, in the order of their seeds.
    """

    size: int
    examples: int
    score: Score
    loss: Score
    runs: tuple[CurveRun, ...]


@dataclass(frozen=True, slots=True)
class ArmCurve:
    """How one arm's errors fall with the number of training examples.

    Attributes:
        name: The arm's name.
        method: What was trained.
        seeds: Of its training runs.
        training: How it was trained at the largest size.
        points: In rising order of size; those at which training failed are missing.
        loss: Of the token loss of the references; None at fewer than two points.
        error: Of one minus the metric (as shares of its scale; of a metric of which less is better, that itself); None
            where the metric has no bound, too.
        notes: What a reader must know.
    """

    name: str
    method: str
    seeds: tuple[int, ...]
    training: TrainingSummary
    points: tuple[CurvePoint, ...]
    loss: LearningCurve | None
    error: LearningCurve | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CurveResults(Displayed):
    """The content of ``results.json`` of a learning curve.

    Attributes:
        luthier: Version that wrote it.
        run: Name of the run's folder.
        config: The configuration, as it was read.
        model: The pretrained model.
        task: The task; its training split is that of the largest size.
        data: What was counted while the largest size was read and encoded.
        sizes: Numbers of examples, in rising order.
        fixed: What all sizes have alike: ``epochs`` or ``steps``.
        arms: The curves.
        confidence: Level of all intervals.
        scale: Value of the metric that counts as 1 where its error is taken; None where it has no bound.
        threads: Threads that each computation had.
        environment: Versions, hardware and commit.
        precision: Of matrix products.
        kernels: What computed products and attention on a CPU.
        kind: Tells these results from those of a comparison.
    """

    view: ClassVar[str] = "curve"

    luthier: str
    run: str
    config: dict[str, Any]
    model: ModelSummary
    task: TaskSummary
    data: DataSummary
    sizes: tuple[int, ...]
    fixed: Literal["epochs", "steps"]
    arms: tuple[ArmCurve, ...]
    confidence: float
    scale: float | None
    threads: int
    environment: Environment
    precision: str
    kernels: tuple[str, ...] = field(default=())
    kind: Literal["curve"] = "curve"

    def __repr__(self) -> str:
        arms = ", ".join(arm.name for arm in self.arms)
        return f"<CurveResults {self.run}: {self.task.name} on {self.model.name}, arms {arms}>"


def error_of(value: float, metrics: TaskMetrics) -> float:
    """Return one minus a metric, as a share of its scale; a metric of which less is better is an error already."""
    scale = metrics.scale or 1.0
    return 1 - value / scale if metrics.higher_is_better else value / scale


def has_error(metrics: TaskMetrics) -> bool:
    """Whether a task's metric has an error that is never below 0."""
    return metrics.scale is not None or not metrics.higher_is_better


def read_curve(run: str | Path) -> CurveResults:
    """Read ``results.json`` of the folder of a learning curve.

    Raises:
        StoreError: When it is missing or damaged, or this is no run of ``luthier curve``.
    """
    results: CurveResults = read_record(as_path(run, where="read_curve(run)"), RESULTS, CurveResults, made=RESULTS)
    return results
