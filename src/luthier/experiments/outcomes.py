"""What the units of a comparison left in the store, read back: the results and costs of every arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from luthier.config.arms import Arm
from luthier.evaluation.jobs import EvaluationJob
from luthier.evaluation.latency import Latency, read_latency
from luthier.evaluation.prepared_task import signature_context
from luthier.evaluation.run import PredictionLog, read_log
from luthier.experiments.plan import Plan, training_of
from luthier.experiments.run_unit import retention_jobs, target_job, timing_of
from luthier.experiments.search import parameters_in_words, settled
from luthier.experiments.summaries import training_summary
from luthier.experiments.trained_arms import trained
from luthier.experiments.units import Unit
from luthier.metrics.task_metrics import TOKEN_LOSS
from luthier.records import Prediction
from luthier.results.records import ArmCosts, ArmResult, RetentionResult, Search
from luthier.results.scores import corrected, retention, score
from luthier.training.train_arm import Trained


@dataclass(frozen=True)
class RetentionLogs:
    """What a model answers on tasks and text that it was not trained on."""

    tasks: tuple[PredictionLog, ...]
    text: PredictionLog | None
    notes: tuple[str, ...] = ()


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
    """

    seed: int
    trained: Trained | None
    log: PredictionLog
    shots_used: tuple[int, int]
    retention: RetentionLogs
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """One arm, run and measured."""

    result: ArmResult
    costs: ArmCosts
    predictions: tuple[Prediction, ...]
    trained: Trained | None


def read_base(plan: Plan) -> RetentionLogs:
    """Read what the base answers where forgetting is measured: the "before" of every arm."""
    return _retention_logs(plan, Unit("retain", "")) if plan.retained or plan.texts else RetentionLogs((), None)


def read_outcome(plan: Plan, name: str, base: RetentionLogs) -> Outcome:
    """Read what one arm left in the store.

    Args:
        plan: What was read and checked.
        name: Of the arm.
        base: What the base answers where forgetting is measured.

    Raises:
        StoreError: When something is damaged, or not there.
    """
    arm, searched = settled(plan, plan.arm(name))
    seeds: tuple[int | None, ...] = arm.seeds if arm.method is not None else (None,)
    outcomes = [_seed_outcome(plan, arm, seed) for seed in seeds]
    first = outcomes[0]
    timing = timing_of(plan, Unit("time", arm.name, seeds[0]))
    result = _result(plan, arm, first, base)
    costs = _costs(first.trained, first.log, read_latency(timing))
    if searched is not None:
        result = replace(result, search=searched.search, notes=(*result.notes, _search_note(searched.search)))
        costs = replace(costs, search_seconds=searched.seconds)
    return Outcome(result, costs, first.log.predictions, first.trained)


def _seed_outcome(plan: Plan, arm: Arm, seed: int | None) -> SeedOutcome:
    job, shots_used = target_job(plan, Unit("evaluate", arm.name, seed))
    logs = RetentionLogs((), None) if seed is None else _retention_logs(plan, Unit("retain", arm.name, seed))
    notes = (*_shot_notes(arm, shots_used), *_replay_notes(plan, arm), *_fit_notes([job]), *logs.notes)
    done = None if seed is None else trained(plan, arm, seed)
    return SeedOutcome(plan.config.seed if seed is None else seed, done, read_log(job), shots_used, logs, notes)


def _retention_logs(plan: Plan, unit: Unit) -> RetentionLogs:
    jobs = retention_jobs(plan, unit)
    logs = [read_log(job) for job in jobs]
    count = len(plan.retained)
    return RetentionLogs(tuple(logs[:count]), logs[count] if len(logs) > count else None, _fit_notes(jobs))


def _result(plan: Plan, arm: Arm, outcome: SeedOutcome, base: RetentionLogs) -> ArmResult:
    target, evaluation = plan.target, plan.config.evaluation
    predictions = outcome.log.predictions
    known = outcome.trained.result if outcome.trained else {}
    return ArmResult(
        name=arm.name,
        method=arm.method,
        shots=arm.shots,
        seed=outcome.seed,
        settings=dict(arm.settings),
        training=training_summary(arm.training, known["learning_rate"]) if known else None,
        trainable_parameters=known.get("trainable_parameters", 0),
        stored_bytes=known.get("stored_bytes", 0),
        prompt_tokens=sum(item.prompt_tokens for item in predictions) / len(predictions),
        shots_used=outcome.shots_used,
        steps=known.get("steps", 0),
        best_step=known.get("best_step"),
        scores=score(predictions, target.metrics, evaluation, signature_context(target.task, arm.shots)),
        retained=_retained(plan, outcome.retention, base),
        token_loss=_token_loss(plan, outcome.retention, base),
        predictions=f"predictions/{arm.name}.jsonl",
        curve=f"curves/{arm.name}.jsonl" if outcome.trained else "",
        notes=outcome.notes,
    )


def _retained(plan: Plan, after: RetentionLogs, before: RetentionLogs) -> tuple[RetentionResult, ...]:
    if not after.tasks:
        return ()
    found = [
        retention(
            old.predictions,
            new.predictions,
            other.metrics,
            plan.config.evaluation,
            signature_context(other.task, 0),
        )
        for other, old, new in zip(plan.retained, before.tasks, after.tasks, strict=True)
    ]
    changes = corrected([item.change for item in found], plan.config.evaluation)
    return tuple(replace(item, change=change) for item, change in zip(found, changes, strict=True))


def _token_loss(plan: Plan, after: RetentionLogs, before: RetentionLogs) -> RetentionResult | None:
    if after.text is None or before.text is None:
        return None
    context = {"split": "heldout"}
    return retention(before.text.predictions, after.text.predictions, TOKEN_LOSS, plan.config.evaluation, context)


def _search_note(search: Search) -> str:
    ends = [f"{count} {what}" for count, what in ((search.pruned, "stopped early"), (search.failed, "failed")) if count]
    of = f" ({', '.join(ends)})" if ends else ""
    return f"chosen on validation by {search.trials} trials{of}: {parameters_in_words(search.chosen)}"


def _shot_notes(arm: Arm, used: tuple[int, int]) -> tuple[str, ...]:
    if arm.shots and used[0] < arm.shots:
        return (f"{arm.shots} exemplars were asked for; {used[0]} to {used[1]} fitted",)
    return ()


def _replay_notes(plan: Plan, arm: Arm) -> tuple[str, ...]:
    count = len(training_of(plan, arm).train) - len(plan.training.train) if arm.replay else 0
    return (f"{count} training examples of the retained tasks were replayed",) if count else ()


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


def _costs(done: Trained | None, log: PredictionLog, latency: Latency) -> ArmCosts:
    generated = sum(item.generated_tokens for item in log.predictions)
    known = done.costs if done else {}
    return ArmCosts(
        training_seconds=known.get("training_seconds"),
        supervised_tokens_per_second=known.get("supervised_tokens_per_second"),
        peak_memory_bytes=known.get("peak_memory_bytes", log.peak_memory_bytes),
        evaluation_seconds=log.seconds,
        generation_tokens_per_second=generated / log.seconds if generated and log.seconds else None,
        seconds_per_request=log.seconds / len(log.predictions),
        request_seconds=latency.unmerged,
        merged_request_seconds=latency.merged,
        known_answers=log.cached,
    )
