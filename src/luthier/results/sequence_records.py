"""What ``luthier compare --sequence`` found, as frozen records and as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from luthier.arguments import as_path
from luthier.display import Displayed
from luthier.results.records import RESULTS
from luthier.results.run_files import read_record
from luthier.results.sequence import Interval, SequenceNumbers
from luthier.results.summaries import Environment, ModelSummary, TrainingSummary


@dataclass(frozen=True, slots=True)
class StageTask:
    """One task of a sequence.

    Attributes:
        name: Its name.
        metric: Its primary output.
        scale: Value of that output that counts as 1.
        higher_is_better: Its direction; where less is better, a score is 1 less the output's share of the scale.
        examples: Of its test split.
        trained_on: Training examples of its stage.
        description: What it is.
        citation: Where it is from.
    """

    name: str
    metric: str
    scale: float
    higher_is_better: bool
    examples: int
    trained_on: int
    description: str = ""
    citation: str = ""


@dataclass(frozen=True, slots=True)
class SequenceRun:
    """One training run of an arm: all stages with one seed.

    Attributes:
        seed: Of random weights, the order of the data and dropout.
        matrix: R: N + 1 rows, the first that of the base, and N columns.
        numbers: What it says.
    """

    seed: int
    matrix: tuple[tuple[float, ...], ...]
    numbers: SequenceNumbers


@dataclass(frozen=True, slots=True)
class ArmSequence:
    """What one arm found.

    Attributes:
        name: The arm's name.
        method: What was trained.
        seeds: Of its training runs.
        training: How it was trained.
        steps: Optimizer steps of each stage, with the first seed.
        replayed: Training examples of earlier tasks that each stage replayed.
        matrix: R over training runs, with intervals; empty where a stage failed.
        numbers: By name: ``acc``, ``bwt``, ``forgetting``, ``fwt``, ``incremental``; over training runs.
        runs: Each of them.
        failed: Why a stage failed; "" where none did.
    """

    name: str
    method: str
    seeds: tuple[int, ...]
    training: TrainingSummary
    steps: tuple[int, ...] = ()
    replayed: tuple[int, ...] = ()
    matrix: tuple[tuple[Interval, ...], ...] = ()
    numbers: dict[str, Interval] = field(default_factory=dict)
    runs: tuple[SequenceRun, ...] = ()
    failed: str = ""


@dataclass(frozen=True, slots=True)
class SequenceResults(Displayed):
    """The content of ``results.json`` of a sequence.

    Attributes:
        luthier: Version that wrote it.
        run: Name of the run's folder.
        config: The configuration, as it was read.
        model: The pretrained model.
        tasks: In the order in which they are learned.
        arms: What was trained.
        confidence: Level of all intervals.
        threads: Threads that each computation had.
        environment: Versions, hardware and commit.
        precision: Of matrix products.
        kernels: What computed products and attention on a CPU.
        kind: Tells these results from those of a comparison.
    """

    view: ClassVar[str] = "sequence"

    luthier: str
    run: str
    config: dict[str, Any]
    model: ModelSummary
    tasks: tuple[StageTask, ...]
    arms: tuple[ArmSequence, ...]
    confidence: float
    threads: int
    environment: Environment
    precision: str
    kernels: tuple[str, ...] = ()
    kind: Literal["sequence"] = "sequence"

    def __repr__(self) -> str:
        arms = ", ".join(arm.name for arm in self.arms)
        return f"<SequenceResults {self.run}: {' → '.join(task.name for task in self.tasks)}, arms {arms}>"


def read_sequence(run: str | Path) -> SequenceResults:
    """Read ``results.json`` of the folder of a sequence.

    Raises:
        StoreError: When it is missing or damaged, or this is no run of ``luthier compare --sequence``.
    """
    results: SequenceResults = read_record(
        as_path(run, where="read_sequence(run)"), RESULTS, SequenceResults, made=RESULTS
    )
    return results
