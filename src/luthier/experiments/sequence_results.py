"""From what the stages of a sequence left in the store to its folder: ``results.json``, costs and logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import torch

from luthier.config.advice import lower_rate
from luthier.config.compare import CompareConfig
from luthier.errors import DivergenceError
from luthier.evaluation.run import PredictionLog, read_log
from luthier.experiments.environment import environment_of, execution_since
from luthier.experiments.failures import failure_of
from luthier.experiments.plan import Plan
from luthier.experiments.run_unit import retention_jobs
from luthier.experiments.summaries import model_summary, training_summary
from luthier.experiments.trained_arms import trained
from luthier.experiments.training_data import replayed_examples
from luthier.experiments.units import Unit
from luthier.files.atomic import writing
from luthier.metrics.prediction_log import write_predictions
from luthier.results.costs import mean_costs
from luthier.results.records import COSTS, RESULTS, ArmCosts, RunCosts, write_json
from luthier.results.sequence import (
    SequenceScores,
    cell_intervals,
    numbers_of_runs,
    sequence_intervals,
    sequence_scores,
)
from luthier.results.sequence_records import ArmSequence, SequenceResults, SequenceRun, StageTask
from luthier.training.job import default_rate
from luthier.training.trained import Trained
from luthier.version import __version__


@dataclass(frozen=True)
class StageRun:
    """What one stage left of an arm with one seed.

    Attributes:
        trained: The training.
        logs: Its answers to every task of the sequence.
    """

    trained: Trained
    logs: tuple[PredictionLog, ...]


def write_sequence(config: CompareConfig, stages: Sequence[Plan], run: Path, *, started: datetime) -> None:
    """Write the folder of a sequence; ``results.json`` comes last, and whole.

    Args:
        config: What the user asked for.
        stages: What was read and checked; all of their units have run.
        run: The folder.
        started: When this execution began.

    Raises:
        DivergenceError: A stage of every arm has failed.
        StoreError: Something is damaged, or the folder cannot be written.
    """
    first = stages[0]
    base = _logs(first, Unit("retain", ""))
    found = {arm.name: _runs_of(stages, arm.name) for arm in first.arms if not _failed(stages, arm.name)}
    if not found:
        what = "a stage of every arm has failed"
        raise DivergenceError(what, where="arms", fix=f"{lower_rate()}; what is finished is kept.")
    results = _results(config, stages, run.name, base, found)
    costs = {name: mean_costs([_costs(own) for own in runs.values()]) for name, runs in found.items()}
    with writing(run):
        folder = run / "predictions"
        folder.mkdir(exist_ok=True)
        _write_logs(folder, stages, "base", base)
        for name, runs in found.items():
            for seed, own in runs.items():
                for number, stage in enumerate(own, 1):
                    _write_logs(folder, stages, f"{name}-seed-{seed}-stage-{number}", stage.logs)
        model = first.model
        record = RunCosts(
            str(model.device), torch.get_num_threads(), costs, execution_since(started), model.kernels.why
        )
        write_json(run / COSTS, record)
        write_json(run / RESULTS, results)


def _write_logs(folder: Path, stages: Sequence[Plan], name: str, logs: Sequence[PredictionLog]) -> None:
    for number, log in enumerate(logs, 1):
        write_predictions(folder / f"{name}-task-{number}.jsonl", log.predictions)


def _failed(stages: Sequence[Plan], name: str) -> str:
    """Say which stage of an arm failed first, and why; "" where none did."""
    for number, stage in enumerate(stages, 1):
        if (failure := failure_of(stage, stage.arm(name))) is not None:
            return f"stage {number} ({stage.target.task.name}): {failure}"
    return ""


def _runs_of(stages: Sequence[Plan], name: str) -> dict[int, tuple[StageRun, ...]]:
    return {seed: tuple(_stage_run(stage, name, seed) for stage in stages) for seed in stages[0].arm(name).seeds}


def _stage_run(stage: Plan, name: str, seed: int) -> StageRun:
    return StageRun(trained(stage, stage.arm(name), seed), _logs(stage, Unit("retain", name, seed)))


def _logs(stage: Plan, unit: Unit) -> tuple[PredictionLog, ...]:
    return tuple(read_log(job) for job in retention_jobs(stage, unit))


def _results(
    config: CompareConfig,
    stages: Sequence[Plan],
    name: str,
    base: Sequence[PredictionLog],
    found: Mapping[str, Mapping[int, Sequence[StageRun]]],
) -> SequenceResults:
    model = stages[0].model
    return SequenceResults(
        luthier=__version__,
        run=name,
        config=config.identity(),
        model=model_summary(model),
        tasks=tuple(_task(stage, log) for stage, log in zip(stages, base, strict=True)),
        arms=tuple(_arm(config, stages, arm.name, base, found.get(arm.name)) for arm in stages[0].arms),
        confidence=config.evaluation.confidence,
        threads=torch.get_num_threads(),
        environment=environment_of(model.device),
        precision=model.product_type,
        kernels=model.kernels.key_inputs(),
    )


def _task(stage: Plan, log: PredictionLog) -> StageTask:
    task, metrics = stage.target.task, stage.target.metrics
    assert metrics.scale is not None, "the plan requires a metric with a scale"
    return StageTask(
        name=task.name,
        metric=metrics.primary,
        scale=metrics.scale,
        higher_is_better=metrics.higher_is_better,
        examples=len(log.predictions),
        trained_on=len(stage.training.target.records),
        description=task.description,
        citation=task.citation,
    )


def _arm(
    config: CompareConfig,
    stages: Sequence[Plan],
    name: str,
    base: Sequence[PredictionLog],
    runs: Mapping[int, Sequence[StageRun]] | None,
) -> ArmSequence:
    arm = stages[0].arm(name)
    assert arm.method is not None, "the plan requires a method"
    rate = arm.training.learning_rate or default_rate(arm)
    known = ArmSequence(name, arm.method, arm.seeds, training_summary(arm.training, rate))
    if runs is None:
        return replace(known, failed=_failed(stages, name))
    scores = sequence_scores(
        {seed: [[log.predictions for log in stage.logs] for stage in own] for seed, own in runs.items()},
        [log.predictions for log in base],
        [stage.target.metrics for stage in stages],
        draws=config.evaluation.resamples,
    )
    return replace(
        known,
        steps=tuple(stage.trained.result.steps for stage in next(iter(runs.values()))),
        replayed=tuple(replayed_examples(stage.training.of(stage.arm(name))) for stage in stages),
        matrix=tuple(map(tuple, cell_intervals(scores, config.evaluation.confidence))),
        numbers=sequence_intervals(scores, config.evaluation.confidence),
        runs=_runs(list(runs), scores),
    )


def _runs(seeds: Sequence[int], scores: SequenceScores) -> tuple[SequenceRun, ...]:
    return tuple(
        SequenceRun(seed, tuple(map(tuple, matrix.tolist())), numbers)
        for seed, matrix, numbers in zip(seeds, scores.runs, numbers_of_runs(scores), strict=True)
    )


def _costs(stages: Sequence[StageRun]) -> ArmCosts:
    """Return what all stages of one training run cost."""
    logs = [log for stage in stages for log in stage.logs]
    peaks = [stage.trained.costs.peak_memory_bytes for stage in stages]
    return ArmCosts(
        training_seconds=sum(stage.trained.costs.training_seconds for stage in stages),
        peak_memory_bytes=max((peak for peak in peaks if peak is not None), default=None),
        evaluation_seconds=sum(log.seconds for log in logs),
        known_answers=sum(log.cached for log in logs),
    )
