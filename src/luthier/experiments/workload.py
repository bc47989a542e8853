"""What a comparison has to do, counted before it does anything: units of work, and what lies in the store already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from luthier.config.arms import Arm
from luthier.config.interpolation import BASE
from luthier.evaluation.jobs import EvaluationJob
from luthier.evaluation.response_cache import recall
from luthier.experiments.lower_precision import computes_lower, precision_jobs
from luthier.experiments.plan import Plan
from luthier.experiments.run_unit import has_failed, is_finished, measures_divergence, retention_jobs, target_job
from luthier.experiments.search import search_is_finished, settled
from luthier.experiments.trained_arms import job_of
from luthier.experiments.units import Unit, plan_units, points_of
from luthier.records import Encoded
from luthier.results.forecast import AnswerCounts, ArmCounts, TrainingCounts
from luthier.training.job import TrainingJob
from luthier.training.stream import count_tokens
from luthier.training.validation import validation_steps


@dataclass(frozen=True)
class UnitWork:
    """A unit of work, and what it is made of.

    Attributes:
        unit: The unit.
        found: Whether everything that it makes lies in the store.
        training: What it trains; None where it trains nothing.
        jobs: What it answers, in order: the target, in two precisions maybe, or the retained tasks and then the text.
        fresh: Whether the adapter that answers is not trained yet, so that no answer is known.
    """

    unit: Unit
    found: bool
    training: TrainingJob[Encoded] | None = None
    jobs: tuple[EvaluationJob, ...] = ()
    fresh: bool = False

    def left(self) -> list[tuple[int, ...]]:
        """Look up, for each job, the places of the requests whose answers are not known."""
        return [_left(job, fresh=self.fresh) for job in self.jobs]


def units_of(plan: Plan) -> tuple[Unit, ...]:
    """Return the units of a plan, in an order in which one process may run them."""
    return plan_units(
        plan.arms,
        searching=plan.config.search.trials > 0,
        retaining=bool(plan.retained or plan.texts),
        diverging=measures_divergence(plan),
        preferring=bool(plan.pairs),
        lower_precision=computes_lower(plan),
        choosing=plan.choosing is not None,
    )


def count_work(plan: Plan) -> tuple[UnitWork, ...]:
    """Find out what every unit has to do, and what of it is in the store.

    What is asked of an arm that is not trained yet is the same for all seeds and arms, and is made ready only once.
    """
    known: dict[tuple[str, int, str], tuple[EvaluationJob, ...]] = {}
    return tuple(_work(plan, unit, known) for unit in units_of(plan))


def _work(plan: Plan, unit: Unit, known: dict[tuple[str, int, str], tuple[EvaluationJob, ...]]) -> UnitWork:
    if unit.kind in ("search", "train"):
        arm, seed = plan.arm(unit.arm), unit.seed if unit.seed is not None else plan.arm(unit.arm).seeds[0]
        chosen = settled(plan, arm)[0] if search_is_finished(plan, arm) else arm
        return UnitWork(unit, is_finished(plan, unit), job_of(plan, chosen, seed))
    if unit.kind in ("divergence", "pairs"):
        return UnitWork(unit, is_finished(plan, unit))  # a few forward passes
    if unit.kind == "precision":
        return UnitWork(unit, is_finished(plan, unit), jobs=precision_jobs(plan).in_order)
    trained = unit.seed is None or unit.at == BASE or is_finished(plan, Unit("train", unit.arm, unit.seed))
    if unit.arm and has_failed(plan, unit):
        return UnitWork(unit, found=True)
    kind = "retain" if unit.kind == "retain" else "target"
    key = (kind, plan.arm(unit.arm).shots if kind == "target" else 0, unit.split)
    if trained or key not in known:
        # Of an arm that is not trained yet only the questions matter; they are those that the base is asked.
        base = Unit("retain", "", split=unit.split)
        asked = unit if trained else replace(unit, seed=None) if kind == "target" else base
        jobs = tuple(retention_jobs(plan, asked)) if kind == "retain" else (target_job(plan, asked)[0],)
        known[key] = jobs
    else:
        jobs = known[key]
    finished = trained and is_finished(plan, unit)
    return UnitWork(unit, finished, jobs=jobs, fresh=not trained)


def _left(job: EvaluationJob, *, fresh: bool) -> tuple[int, ...]:
    """Return the places of the requests that have no answer yet; of a fresh adapter none has."""
    if not fresh and job.entry.finished:
        return ()
    known = recall(job.cache, job.requests) if job.cache is not None and not fresh else {}
    return tuple(place for place, item in enumerate(job.requests) if item.blank.id not in known)


def count_arms(plan: Plan, work: Sequence[UnitWork]) -> tuple[ArmCounts, ...]:
    """Sum up the work of the base, where forgetting is measured, and of each arm."""
    names = dict.fromkeys(item.unit.arm for item in work)
    return tuple(_counts(plan, name, [item for item in work if item.unit.arm == name]) for name in names)


def _counts(plan: Plan, name: str, work: Sequence[UnitWork]) -> ArmCounts:
    arm = plan.arm(name) if name else None
    trains = arm is not None and arm.method is not None
    training = next((item.training for item in work if item.training is not None), None)
    return ArmCounts(
        name=name,
        seeds=len(arm.seeds) if trains and arm is not None else 0,
        trials=plan.config.search.trials if trains else 0,
        training=training_counts(training) if training is not None else None,
        test=_asked(item for item in work if item.unit.kind == "evaluate" and item.unit.split == "test"),
        retained=_asked(item for item in work if item.unit.kind == "retain" and item.unit.split == "test"),
        units=len(work),
        found=sum(item.found for item in work),
        points=len(points_of(arm)) if arm is not None else 0,
        choosing=_asked_to_choose(work),
        pairs=len(plan.pairs) if any(item.unit.kind == "pairs" for item in work) else 0,
    )


def _asked_to_choose(work: Sequence[UnitWork]) -> AnswerCounts | None:
    """Count what is asked of the validation splits, of the target's and of the retained tasks' together."""
    own = [item for item in work if item.unit.split == "validation"]
    asked = [_asked(item for item in own if item.unit.kind == kind) for kind in ("evaluate", "retain")]
    known = [counts for counts in asked if counts is not None]
    if not known:
        return None
    return AnswerCounts(sum(counts.requests for counts in known), sum(counts.tokens for counts in known))


def training_counts(job: TrainingJob[Encoded]) -> TrainingCounts:
    """Count a training."""
    tokens = count_tokens(job.stream, job.recipe.objective).read
    return TrainingCounts(len(job.stream.data.records), job.stream.steps, tokens, validations_of(job))


def training_in_words(plan: Plan, arm: Arm) -> str:
    """Write the work of training one arm in a line; the store may hold its result."""
    own = training_counts(job_of(plan, arm, arm.seeds[0]))
    validations = f"{own.validations} {'validation' if own.validations == 1 else 'validations'}"
    return f"{arm.name}: {_size(own)}, {validations}"


def _size(own: TrainingCounts) -> str:
    return f"{own.examples:,} examples, {own.steps:,} steps, {own.tokens:,} tokens to train on"


def validations_of(job: TrainingJob[Encoded]) -> int:
    """Return how many times a training measures the validation split."""
    some = job.validation.examples and job.validation.records
    return len(validation_steps(job.stream.steps, job.recipe.config.validations)) if some else 0


def _asked(work: Iterable[UnitWork]) -> AnswerCounts | None:
    """Count what one of some alike units asks: what is asked does not depend on the seed."""
    first = next((item for item in work if item.jobs), None)
    if first is None:
        return None
    items = [sequence for job in first.jobs for own in job.items for sequence in own]
    tokens = sum(len(item.prompt_ids) + len(item.target_ids) for item in items)
    return AnswerCounts(sum(len(job.requests) for job in first.jobs), tokens)


def in_words(counts: ArmCounts) -> str:
    """Write the work of an arm in a line: ``lora: 320 examples, 60 steps, 61,000 tokens; …``."""
    parts = []
    if counts.found == counts.units:
        return f"{counts.label}: found in the store"
    if counts.training is not None:
        times = f"{counts.trials + counts.seeds} × " if counts.trials + counts.seeds > 1 else ""
        parts.append(f"{times}{_size(counts.training)}")
    kinds = (
        (counts.test, "test requests"),
        (counts.retained, "requests to measure forgetting"),
        (counts.choosing, "validation requests to choose by"),
    )
    for asked, what in kinds:
        if asked is not None:
            times = f"{counts.seeds} × " if counts.seeds > 1 else ""
            parts.append(f"{times}{asked.requests:,} {what}, {asked.tokens:,} tokens")
    if counts.pairs:
        parts.append(f"{counts.pairs:,} pairs of answers to score")
    if counts.points:
        parts.append(f"the same at {counts.points} {'point' if counts.points == 1 else 'points'} between base and arm")
    if counts.found:
        parts.append(f"{counts.found} of {counts.units} units of work found in the store")
    return f"{counts.label}: {'; '.join(parts)}"
