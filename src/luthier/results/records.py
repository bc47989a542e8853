"""What a run found, as frozen records and as JSON.

``results.json`` holds what the same command gives again: to the bit on the same type of machine with the same number of
threads and the same versions of Luthier, torch and its other dependencies. Elsewhere float32 sums are added in another
order; see ``docs/report.md`` for what then differs. ``costs.json`` holds what was measured with a clock or a memory
gauge, and so differs from one execution to the next.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from luthier.arguments import as_path
from luthier.display import Displayed
from luthier.files.atomic import write_atomically
from luthier.records import Score
from luthier.results.answer_changes import AnswerChanges
from luthier.results.answers import AnswerSummary
from luthier.results.change import Change
from luthier.results.choice import Choice
from luthier.results.preference_records import PreferenceResult
from luthier.results.run_files import read_record
from luthier.results.summaries import (
    DataSummary,
    Environment,
    Execution,
    ModelSummary,
    Search,
    TaskSummary,
    TrainedOn,
    TrainingSummary,
)

RESULTS, COSTS = "results.json", "costs.json"


@dataclass(frozen=True, slots=True)
class RetentionResult:
    """One task that was not trained on, before and after training.

    Attributes:
        task: Its name.
        metric: Its primary output, which is shown.
        higher_is_better: Direction of that output; a change against it is forgetting.
        chance: Its value by guessing, where that is known.
        before: Score of the base model.
        after: Score of the arm.
        change: ``after - before``, paired.
        scale: Value of the output that counts as 100 points (1 for accuracy, 100 for BLEU); None where it has no bound,
            and so no points.
        group: Whether it is the number of a group of tasks that stand beside it: no mean counts them twice.
        able: Whether the base can do it: its interval lies above chance. What was never known cannot be forgotten, so
            that a task which it cannot do leaves every mean.
        seen: Whether the arm was trained on examples of it too (of its training split): a cure, not a measurement of
            something apart.
    """

    task: str
    metric: str
    higher_is_better: bool
    chance: float | None
    before: Score
    after: Score
    change: Change
    scale: float | None = 1.0
    group: bool = False
    able: bool = True
    seen: bool = False

    @property
    def counts(self) -> bool:
        """Whether it counts in a mean over tasks."""
        return self.able and not self.group


@dataclass(frozen=True, slots=True)
class SeedResult:
    """One training run of an arm that is trained once per seed.

    Attributes:
        seed: Of the random weights, the order of the data and dropout.
        scores: On the target task's test split; the task's primary output first.
        retained: Tasks that were not trained on.
        token_loss: Nats per token of held-out plain text; None when not measured.
        steps: Optimizer steps.
        best_step: Step whose weights were kept; None when the last were.
        predictions: Log of the target task's predictions, relative to the run's folder.
        curve: Training log, relative to the run's folder.
        validation_score: Best score on the validation split, turned so that higher is better; None when not measured.
    """

    seed: int
    scores: tuple[Score, ...] = ()
    retained: tuple[RetentionResult, ...] = ()
    token_loss: RetentionResult | None = None
    steps: int = 0
    best_step: int | None = None
    predictions: str = ""
    curve: str = ""
    validation_score: float | None = None


@dataclass(frozen=True, slots=True)
class PointResult:
    """An arm at a point between the base and what was trained, which took no training: WiSE-FT, or LoRA's scale.

    Attributes:
        at: The point: 0 is the base, 1 the arm itself.
        scores: On the target task's test split, over all seeds; the task's primary output first.
        retained: Tasks that were not trained on.
        token_loss: Nats per token of held-out plain text; None when not measured.
        against_first: Difference of the primary output from the first arm, corrected for the points of all arms.
        predictions: Log of the target task's predictions, relative to the run's folder; the first seed's.
    """

    at: float
    scores: tuple[Score, ...]
    retained: tuple[RetentionResult, ...] = ()
    token_loss: RetentionResult | None = None
    against_first: Change | None = None
    predictions: str = ""


@dataclass(frozen=True, slots=True)
class ArmResult(Displayed):
    """Everything that is known of one arm and does not depend on the clock.

    Attributes:
        name: The arm's name.
        method: What was trained; None for in-context learning.
        shots: Exemplars that were asked for.
        seed: Of what is drawn (splits, exemplars, retained examples), and of the training where ``seeds`` is empty.
        settings: The method's own settings, those that were not given too, and the modules that PEFT changed.
        training: How it was trained; None when nothing was.
        trainable_parameters: Number of weights that are trained.
        stored_bytes: What has to be kept for one task, for one seed.
        prompt_tokens: Mean tokens of context per request on the target task's test split.
        shots_used: Fewest and most exemplars that fitted.
        steps: Optimizer steps; the first seed's where there are several.
        best_step: Step whose weights were kept; the first seed's where there are several.
        scores: On the target task's test split, over all seeds; the task's primary output first.
        retained: Over all seeds; empty for in-context learning, which changes no weights.
        token_loss: Nats per token of held-out plain text, over all seeds.
        against_first: Difference of the primary output from the first arm.
        predictions: Log of the target task's predictions, relative to the run's folder; the first seed's where there
            are several.
        curve: Training log (``log.jsonl``), likewise; "" when nothing was trained.
        search: How its hyper-parameters were chosen; None when they were given.
        notes: What a reader must know: cut prompts, fewer shots than asked …
        seeds: Seeds that it was trained with; empty when nothing was trained, or where this was not recorded.
        per_seed: What each of these runs found, in the same order.
        answers: Its answers to the target task's test split, counted; None where this was not recorded.
        failed: Why its training failed, and so nothing of it was measured; "" where it did not.
        divergence: Forward KL divergence from the base on the target's validation examples, in nats per token, over all
            seeds; None where it was not measured.
        changes: How its answers to the retained tasks changed, over all seeds; None where none were measured.
        trained_on: Examples and tokens that it was trained on; None when nothing was, or where this was not recorded.
        points: Points between the base and the arm at which it was evaluated too, in order.
        objective: What training minimised.
        objective_settings: Its own settings, those that were not given too.
        preferences: What it makes of held-out pairs of answers, over all seeds; None where there are none, or it is not
            trained.
    """

    view: ClassVar[str] = "arm"

    name: str
    method: str | None
    shots: int
    seed: int
    settings: dict[str, Any]
    training: TrainingSummary | None
    trainable_parameters: int
    stored_bytes: int
    prompt_tokens: float
    shots_used: tuple[int, int] = (0, 0)
    steps: int = 0
    best_step: int | None = None
    scores: tuple[Score, ...] = ()
    retained: tuple[RetentionResult, ...] = ()
    token_loss: RetentionResult | None = None
    against_first: Change | None = None
    predictions: str = ""
    curve: str = ""
    search: Search | None = None
    notes: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    per_seed: tuple[SeedResult, ...] = ()
    answers: AnswerSummary | None = None
    failed: str = ""
    trained_on: TrainedOn | None = None
    divergence: Score | None = None
    changes: AnswerChanges | None = None
    points: tuple[PointResult, ...] = ()
    objective: str = "cross_entropy"
    objective_settings: dict[str, Any] = field(default_factory=dict)
    preferences: PreferenceResult | None = None

    def __repr__(self) -> str:
        score = f", {self.scores[0]}" if self.scores else ", failed" if self.failed else ""
        return f"<ArmResult {self.name}{score}>"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two arms compared on the same examples: ``a - b``."""

    a: str
    b: str
    change: Change


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What follows from the numbers.

    Attributes:
        sentence: Which differences are significant, which are not, and which arm to use.
        arm: The arm to use; None where none is recommended.
        decided: Whether that arm is better than every other.
        headline: The finding in a few words; "" where it was not recorded.
    """

    sentence: str
    arm: str | None
    decided: bool
    headline: str = ""


@dataclass(frozen=True, slots=True)
class LowerPrecision:
    """What matrix products in a lower precision change, seen on the base's answers to some test examples.

    Attributes:
        precision: Of matrix products, e.g. ``bfloat16``.
        examples: How many were answered in both.
        metric: The task's primary output.
        metric_change: Of that output, ``lower - float32``, paired.
        loss_change: Of the loss of the references, in nats per token, likewise.
        same_answers: Examples with the same answer in both.
    """

    precision: str
    examples: int
    metric: str
    metric_change: Change
    loss_change: Change
    same_answers: int


@dataclass(frozen=True, slots=True)
class RunResults(Displayed):
    """The content of ``results.json``.

    Attributes:
        luthier: Version that wrote it.
        run: Name of the run's folder.
        config: The configuration, as it was read.
        model: The pretrained model.
        task: The target task.
        data: What was counted while the data was read and encoded.
        arms: What was compared; the first is the one that others are held against.
        pairs: Every two arms.
        recommendation: What follows.
        confidence: Level that was asked for; each interval says its own.
        threads: Threads that each computation had; None where this was not recorded. With another number the last
            digits differ.
        environment: Versions, hardware and commit; None where this was not recorded.
        precision: Of matrix products; "" where this was not recorded.
        lower_precision: What that precision changes; None in float32.
        kernels: What computed products and attention on a CPU, e.g. ``("onednn", "pieces")``.
        choice: The arm and the point that were chosen by what they keep; None where nobody asked.
        preference_pairs: Every two trained arms by their accuracy on held-out pairs of answers.
    """

    view: ClassVar[str] = "run"

    luthier: str
    run: str
    config: dict[str, Any]
    model: ModelSummary
    task: TaskSummary
    data: DataSummary
    arms: tuple[ArmResult, ...]
    pairs: tuple[Pair, ...]
    recommendation: Recommendation
    confidence: float = 0.95
    threads: int | None = None
    environment: Environment | None = None
    precision: str = ""
    lower_precision: LowerPrecision | None = None
    kernels: tuple[str, ...] = ()
    choice: Choice | None = None
    preference_pairs: tuple[Pair, ...] = ()

    def __repr__(self) -> str:
        arms = ", ".join(arm.name for arm in self.arms)
        return f"<RunResults {self.run}: {self.task.name} on {self.model.name}, arms {arms}>"


@dataclass(frozen=True, slots=True)
class ArmCosts:
    """What one arm cost, measured; the mean over its seeds. ``None`` means not measured, never 0.

    Attributes:
        training_seconds: Of one training run.
        supervised_tokens_per_second: In training.
        peak_memory_bytes: Greatest memory of the process or the device.
        evaluation_seconds: Of answering the target task's test split.
        generation_tokens_per_second: Of generated answers, in batches.
        seconds_per_request: Of the whole test split, answered in batches.
        request_seconds: Median of a request that is alone, with the method beside the weights.
        merged_request_seconds: The same with the method folded into the weights; None where it cannot be, or there is
            none.
        search_seconds: Of the search for hyper-parameters.
        known_answers: Answers known from earlier evaluations: they count with the seconds that they took then.
    """

    training_seconds: float | None = None
    supervised_tokens_per_second: float | None = None
    peak_memory_bytes: int | None = None
    evaluation_seconds: float | None = None
    generation_tokens_per_second: float | None = None
    seconds_per_request: float | None = None
    request_seconds: float | None = None
    merged_request_seconds: float | None = None
    search_seconds: float | None = None
    known_answers: int = 0


@dataclass(frozen=True, slots=True)
class RunCosts(Displayed):
    """The content of ``costs.json``.

    Attributes:
        device: Where it was computed.
        threads: Threads that each computation had; 0 where this is not known.
        arms: By name.
        execution: Command and dates; None where this was not recorded.
        kernels: Why the kernels of ``results.json`` were chosen: what was measured on this processor.
    """

    view: ClassVar[str] = "costs"

    device: str
    threads: int
    arms: dict[str, ArmCosts] = field(default_factory=dict)
    execution: Execution | None = None
    kernels: str = ""

    def __repr__(self) -> str:
        return f"<RunCosts on {self.device}, arms {', '.join(self.arms)}>"


def write_json(path: Path, record: Any) -> None:
    """Write a record (a dataclass) with sorted keys, whole or not at all; NaN stays ``NaN``."""
    write_atomically(path, json.dumps(asdict(record), indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_results(run: str | Path) -> RunResults:
    """Read ``results.json`` of a run's folder.

    Raises:
        StoreError: When it is missing or damaged, or this is no run.
    """
    results: RunResults = read_record(as_path(run, where="read_results(run)"), RESULTS, RunResults, made=RESULTS)
    return results


def read_costs(run: str | Path) -> RunCosts:
    """Read ``costs.json`` of a run's folder.

    Raises:
        StoreError: When it is missing or damaged, or this is no run.
    """
    costs: RunCosts = read_record(as_path(run, where="read_costs(run)"), COSTS, RunCosts, made=RESULTS)
    return costs
