"""What the units of a comparison left in the store, read back: the trainings and logs of every arm and seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from luthier.config.advice import lower_rate
from luthier.config.arms import Arm
from luthier.config.interpolation import BASE, TRAINED
from luthier.errors import DivergenceError, raise_faults
from luthier.evaluation.jobs import EvaluationJob
from luthier.evaluation.latency import Latency, read_latency
from luthier.evaluation.run import PredictionLog, read_log
from luthier.experiments.failures import Failure, failure_of
from luthier.experiments.plan import Plan
from luthier.experiments.run_unit import (
    divergence_of,
    measures_divergence,
    pairs_of_unit,
    retention_jobs,
    target_job,
    timing_of,
)
from luthier.experiments.search import SearchOutcome, settled
from luthier.experiments.trained_arms import trained
from luthier.experiments.units import Unit
from luthier.records import Prediction
from luthier.training.outcome import ended_worse
from luthier.training.trained import Trained


@dataclass(frozen=True)
class RetentionLogs:
    """What a model answers on tasks and text that it was not trained on, and how far it is from the base.

    Attributes:
        tasks: Answers to the retained tasks.
        text: Token loss of the plain text; None without any.
        notes: What was cut or left out.
        divergence: From the base, on the target's validation examples; None where it was not measured.
        pairs: Both answers of the target's held-out pairs, of the base alone; None where they were not scored.
    """

    tasks: tuple[PredictionLog, ...]
    text: PredictionLog | None
    notes: tuple[str, ...] = ()
    divergence: PredictionLog | None = None
    pairs: PredictionLog | None = None


@dataclass(frozen=True)
class SeedOutcome:
    """What an arm left that was trained with one seed, or not trained at all.

    Attributes:
        seed: Of the training; the run's where nothing is trained.
        trained: The training; None for in-context learning.
        log: Answers to the target's test split.
        shots_used: Fewest and most exemplars that fitted.
        retention: Answers to the retained tasks and text.
        notes: What a reader must know.
        pairs: Both answers of the target's held-out pairs; None where they were not scored.
    """

    seed: int
    trained: Trained | None
    log: PredictionLog
    shots_used: tuple[int, int]
    retention: RetentionLogs
    notes: tuple[str, ...]
    pairs: PredictionLog | None = None


@dataclass(frozen=True)
class PointOutcome:
    """What an arm left at a point between the base and what was trained.

    Attributes:
        at: The point.
        runs: One for each seed; a single one at the base, which no seed changes.
    """

    at: float
    runs: tuple[SeedOutcome, ...]

    @property
    def logs(self) -> dict[int, tuple[Prediction, ...]] | tuple[Prediction, ...]:
        """Answers to the target's test split: by seed, or one log where no seed changes them."""
        if len(self.runs) == 1:
            return self.runs[0].log.predictions
        return {run.seed: run.log.predictions for run in self.runs}


@dataclass(frozen=True)
class ArmOutcome:
    """What one arm left.

    Attributes:
        arm: As it was trained: with the hyper-parameters that a search chose.
        search: What the search found; None without one.
        runs: One for each seed; a single one where nothing is trained.
        latency: Of single requests, with the first seed.
        points: What it left at the points that were asked for, in order.
    """

    arm: Arm
    search: SearchOutcome | None
    runs: tuple[SeedOutcome, ...]
    latency: Latency
    points: tuple[PointOutcome, ...] = ()

    @property
    def logs(self) -> dict[int, tuple[Prediction, ...]] | tuple[Prediction, ...]:
        """Answers to the target's test split: by seed, or one log where nothing is trained."""
        if self.arm.method is None:
            return self.runs[0].log.predictions
        return {run.seed: run.log.predictions for run in self.runs}


def read_base(plan: Plan) -> RetentionLogs:
    """Read what the base answers where forgetting is measured: the "before" of every arm."""
    found = _retention_logs(plan, Unit("retain", "")) if plan.retained or plan.texts else RetentionLogs((), None)
    trains = any(arm.method is not None for arm in plan.arms)
    return replace(found, pairs=_pairs(plan, Unit("pairs", ""))) if trains else found


@dataclass(frozen=True)
class FailedArm:
    """An arm of which nothing was measured, because its training failed."""

    arm: Arm
    failure: Failure


def read_outcomes(plan: Plan) -> list[ArmOutcome | FailedArm]:
    """Read what every arm left in the store, in their order.

    Raises:
        DivergenceError: Every arm has failed; several are Faults.
        StoreError: When something is damaged, or not there.
    """
    failures = {arm.name: failure for arm in plan.arms if (failure := failure_of(plan, arm)) is not None}
    if len(failures) == len(plan.arms):
        fix = f"{lower_rate()}; what is finished is kept."
        faults = [
            DivergenceError(own.what, where=", ".join(filter(None, (f"arm '{name}'", own.where))), fix=fix)
            for name, own in failures.items()
        ]
        raise_faults("the training of every arm has failed", faults)
    return [
        FailedArm(arm, failures[arm.name]) if arm.name in failures else read_outcome(plan, arm.name)
        for arm in plan.arms
    ]


def read_outcome(plan: Plan, name: str) -> ArmOutcome:
    """Read what one arm left in the store.

    Raises:
        StoreError: When something is damaged, or not there.
    """
    arm, searched = settled(plan, plan.arm(name))
    seeds: tuple[int | None, ...] = arm.seeds if arm.method is not None else (None,)
    timing = timing_of(plan, Unit("time", arm.name, seeds[0]))
    runs = tuple(_seed_outcome(plan, arm, seed) for seed in seeds)
    return ArmOutcome(arm, searched, runs, read_latency(timing), tuple(_points(plan, arm, runs)))


def _points(plan: Plan, arm: Arm, runs: tuple[SeedOutcome, ...]) -> Iterator[PointOutcome]:
    """Read what an arm left at each point; at 1 it is the arm itself."""
    for at in arm.interpolate:
        seeds = arm.seeds[:1] if at == BASE else arm.seeds
        yield PointOutcome(at, runs if at == TRAINED else tuple(_seed_outcome(plan, arm, seed, at) for seed in seeds))


def _seed_outcome(plan: Plan, arm: Arm, seed: int | None, at: float = TRAINED) -> SeedOutcome:
    job, shots_used = target_job(plan, Unit("evaluate", arm.name, seed, at=at))
    retains = seed is not None and bool(plan.retained or plan.texts)
    logs = _retention_logs(plan, Unit("retain", arm.name, seed, at=at)) if retains else RetentionLogs((), None)
    done = None if seed is None else trained(plan, arm, seed)
    log = read_log(job)
    notes = (*_training_notes(arm, seed, done), *_fit_notes([job]), *_unparsed_notes([job], [log]), *logs.notes)
    pairs = _pairs(plan, Unit("pairs", arm.name, seed)) if seed is not None and at == TRAINED else None
    return SeedOutcome(plan.config.seed if seed is None else seed, done, log, shots_used, logs, notes, pairs)


def _pairs(plan: Plan, unit: Unit) -> PredictionLog | None:
    return read_log(pairs_of_unit(plan, unit)) if plan.pairs else None


def _retention_logs(plan: Plan, unit: Unit) -> RetentionLogs:
    jobs = retention_jobs(plan, unit)
    logs = [read_log(job) for job in jobs]
    count = len(plan.retained)
    notes = (*_fit_notes(jobs), *_unparsed_notes(jobs, logs))
    text = logs[count] if len(logs) > count else None
    return RetentionLogs(tuple(logs[:count]), text, notes, _divergence(plan, unit))


def _divergence(plan: Plan, unit: Unit) -> PredictionLog | None:
    if not unit.arm or unit.at != TRAINED or not measures_divergence(plan):
        return None
    return read_log(divergence_of(plan, Unit("divergence", unit.arm, unit.seed)))


def _training_notes(arm: Arm, seed: int | None, done: Trained | None) -> tuple[str, ...]:
    """Say where a training ended worse than it began."""
    worse = ended_worse(done.log) if done is not None else ""
    run = f"seed {seed}: " if len(arm.seeds) > 1 else ""
    return (f"{run}{worse}",) if worse else ()


def _fit_notes(jobs: Sequence[EvaluationJob]) -> tuple[str, ...]:
    """Say what was cut and what was left out."""
    notes = []
    for job in jobs:
        if job.cut:
            notes.append(f"{job.label}: the input text of {job.cut} of {len(job.requests)} examples was cut to fit")
        if job.dropped:
            reason = job.dropped[0].reason
            notes.append(f"{job.label}: {len(job.dropped)} examples do not fit and were not answered ({reason})")
    return tuple(notes)


def _unparsed_notes(jobs: Sequence[EvaluationJob], logs: Sequence[PredictionLog]) -> tuple[str, ...]:
    """Say where no answer was found in the generated text; such answers count as wrong."""
    return tuple(
        f"{job.label}: no answer was found in {log.unparsed} of {len(log.predictions)} generated texts (wrong)"
        for job, log in zip(jobs, logs, strict=True)
        if log.unparsed
    )
