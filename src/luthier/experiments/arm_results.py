"""The results and the costs of one arm, over all seeds that it was trained with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from luthier.config.arms import Arm
from luthier.config.interpolation import TRAINED
from luthier.evaluation.divergence import DIVERGENCE
from luthier.evaluation.latency import Latency
from luthier.evaluation.measured import Judging
from luthier.evaluation.prepared_task import signature_context
from luthier.experiments.outcomes import ArmOutcome, FailedArm, PointOutcome, RetentionLogs, SeedOutcome
from luthier.experiments.plan import Plan
from luthier.experiments.replay import replay_in_words
from luthier.experiments.search import parameters_in_words
from luthier.experiments.suite_averages import averages_of
from luthier.experiments.summaries import training_summary
from luthier.experiments.training_data import replayed_examples, seen_tasks
from luthier.methods.peft_files import target_modules
from luthier.methods.registry import find_method, read_settings
from luthier.metrics.overlap.unicode_words import unread_references
from luthier.metrics.seed_runs import Log
from luthier.metrics.task_metrics import TOKEN_LOSS
from luthier.records import Score
from luthier.results.answer_changes import AnswerChanges, answer_changes
from luthier.results.answers import summarise_answers, warnings_about_answers
from luthier.results.costs import mean_costs
from luthier.results.preference_records import PreferenceResult
from luthier.results.preferences import preference_result
from luthier.results.records import ArmCosts, ArmResult, PointResult, RetentionResult, SeedResult
from luthier.results.scores import (
    Logs,
    corrected_retention,
    retention_over_seeds,
    score_over_seeds,
)
from luthier.results.suite_retention import suite_retention
from luthier.results.summaries import Search, TrainedOn
from luthier.training.job import default_rate, objective_of
from luthier.training.trained import Trained

_CONTEXT_OF_TEXT = {"split": "heldout"}


def arm_result(plan: Plan, outcome: ArmOutcome, base: RetentionLogs) -> ArmResult:
    """Return everything that is known of an arm and does not depend on the clock.

    Args:
        plan: What was read and checked.
        outcome: What the arm left in the store.
        base: What the base answers where forgetting is measured.
    """
    arm, first, target = outcome.arm, outcome.runs[0], plan.target
    done = first.trained.result if first.trained else None
    context = signature_context(target, arm.shots)
    several = len(outcome.runs) > 1
    return ArmResult(
        name=arm.name,
        method=arm.method,
        shots=arm.shots,
        seed=first.seed,
        settings=settings_in_full(arm, first.trained),
        training=training_summary(arm.training, done.learning_rate, done.micro_tokens) if done else None,
        trainable_parameters=done.trainable_parameters if done else 0,
        stored_bytes=done.stored_bytes if done else 0,
        prompt_tokens=sum(item.prompt_tokens for item in first.log.predictions) / len(first.log.predictions),
        shots_used=first.shots_used,
        steps=done.steps if done else 0,
        best_step=done.best_step if done else None,
        scores=score_over_seeds(outcome.logs, target.metrics, plan.config.evaluation, context),
        retained=_retained(plan, arm, outcome.runs, base),
        token_loss=_token_loss(plan, outcome.runs, base),
        predictions=log_path(arm, first.seed),
        curve=curve_path(arm, first.seed) if first.trained else "",
        search=outcome.search.search if outcome.search else None,
        notes=_notes(plan, outcome),
        seeds=arm.seeds if first.trained else (),
        per_seed=tuple(_seed_result(plan, arm, run, base) for run in outcome.runs) if several else (),
        answers=summarise_answers(outcome.logs, target.metrics),
        trained_on=TrainedOn(done.examples, done.supervised_tokens, plan.training.shares_of(arm)) if done else None,
        points=tuple(_point_result(plan, outcome, point, base) for point in outcome.points),
        divergence=_divergence(plan, outcome.runs),
        changes=_changes(plan, outcome.runs, base),
        objective=arm.objective,
        objective_settings=objective_of(arm).settings.model_dump(mode="json") if done else {},
        preferences=_preferences(plan, outcome, base),
    )


def failed_result(plan: Plan, failed: FailedArm) -> ArmResult:
    """Return what is known of an arm of which nothing was measured."""
    arm = failed.arm
    rate = arm.training.learning_rate or default_rate(arm)
    return ArmResult(
        name=arm.name,
        method=arm.method,
        shots=arm.shots,
        seed=plan.config.seed,
        settings=settings_in_full(arm, None),
        training=training_summary(arm.training, rate),
        trainable_parameters=0,
        stored_bytes=0,
        prompt_tokens=math.nan,
        seeds=arm.seeds,
        notes=(f"its training failed, and nothing was measured: {failed.failure}",),
        failed=str(failed.failure),
    )


def settings_in_full(arm: Arm, done: Trained | None) -> dict[str, Any]:
    """Return the settings of an arm's method, defaults included, and the modules that PEFT really changed."""
    if arm.method is None:
        return {}
    settings = read_settings(find_method(arm.method), arm.settings, where=f"arm '{arm.name}', settings").in_full()
    modules = target_modules(done.adapter) if done else ()
    return settings | ({"target_modules": list(modules)} if modules else {})


def log_path(arm: Arm, seed: int, at: float = TRAINED) -> str:
    """Return where the answers of an arm, or of one of its points, stand in the run's folder."""
    point = "" if at == TRAINED else f"-at-{at:g}"
    return f"predictions/{_file_name(arm, seed)}{point}.jsonl"


def curve_path(arm: Arm, seed: int) -> str:
    """Return where the training log of an arm stands in the run's folder."""
    return f"curves/{_file_name(arm, seed)}.jsonl"


def _file_name(arm: Arm, seed: int) -> str:
    return f"{arm.name}-seed-{seed}" if arm.method is not None and len(arm.seeds) > 1 else arm.name


def _seed_result(plan: Plan, arm: Arm, run: SeedOutcome, base: RetentionLogs) -> SeedResult:
    done = run.trained.result if run.trained else None
    context = signature_context(plan.target, arm.shots)
    return SeedResult(
        seed=run.seed,
        scores=score_over_seeds(run.log.predictions, plan.target.metrics, plan.config.evaluation, context),
        retained=_retained(plan, arm, [run], base),
        token_loss=_token_loss(plan, [run], base),
        steps=done.steps if done else 0,
        best_step=done.best_step if done else None,
        predictions=log_path(arm, run.seed),
        curve=curve_path(arm, run.seed),
        validation_score=done.best_score if done else None,
    )


def _point_result(plan: Plan, outcome: ArmOutcome, point: PointOutcome, base: RetentionLogs) -> PointResult:
    arm, target, evaluation = outcome.arm, plan.target, plan.config.evaluation
    context = signature_context(target, arm.shots) | {"at": f"{point.at:g}"}
    return PointResult(
        at=point.at,
        scores=score_over_seeds(point.logs, target.metrics, evaluation, context),
        retained=_retained(plan, outcome.arm, point.runs, base),
        token_loss=_token_loss(plan, point.runs, base),
        predictions=log_path(arm, point.runs[0].seed, point.at),
    )


def _retained(plan: Plan, arm: Arm, runs: Sequence[SeedOutcome], base: RetentionLogs) -> tuple[RetentionResult, ...]:
    if not runs[0].retention.tasks:
        return ()
    found = []
    for place, other in enumerate(plan.retained):
        logs: Logs = {run.seed: run.retention.tasks[place].predictions for run in runs}
        found.append(_kept(plan, other, base.tasks[place].predictions, logs))
    for group in plan.groups:
        before = group.log_of(_by_task(plan, base))
        logs = {run.seed: group.log_of(_by_task(plan, run.retention)) for run in runs}
        found.append(replace(_kept(plan, group, before, logs), group=True))
    seen = seen_tasks(plan.training, arm, [other.name for other in plan.retained])
    found = [replace(item, seen=item.task in seen) for item in found]
    tasks = corrected_retention(found, plan.config.evaluation)
    suites = averages_of(plan.config.retain or (), [item.task for item in tasks])
    return (*tasks, *suite_retention(tasks, suites, plan.config.evaluation.confidence))


def _kept(plan: Plan, judging: Judging, before: Log, logs: Logs) -> RetentionResult:
    metrics, context = judging.metrics_of(before), judging.signature()
    return retention_over_seeds(before, logs, metrics, plan.config.evaluation, context)


def _by_task(plan: Plan, logs: RetentionLogs) -> dict[str, Log]:
    return {other.name: log.predictions for other, log in zip(plan.retained, logs.tasks, strict=True)}


def _divergence(plan: Plan, runs: Sequence[SeedOutcome]) -> Score | None:
    """Return how far an arm is from the base on the target's validation examples, over its seeds."""
    logs = {run.seed: run.retention.divergence.predictions for run in runs if run.retention.divergence is not None}
    if not logs:
        return None
    return score_over_seeds(logs, DIVERGENCE, plan.config.evaluation, {"split": "validation"})[0]


def pair_logs(outcome: ArmOutcome) -> dict[int, Log]:
    """Return the records of held-out pairs of an arm, by seed; none where they were not scored."""
    return {run.seed: run.pairs.predictions for run in outcome.runs if run.pairs is not None}


def _preferences(plan: Plan, outcome: ArmOutcome, base: RetentionLogs) -> PreferenceResult | None:
    logs = pair_logs(outcome)
    if not logs or base.pairs is None:
        return None
    return preference_result(logs, base.pairs.predictions, plan.config.evaluation, {"split": "test"})


def _changes(plan: Plan, runs: Sequence[SeedOutcome], base: RetentionLogs) -> AnswerChanges | None:
    """Return how the answers to the retained tasks changed, over all of an arm's seeds."""
    pairs = [
        (before.predictions, after.predictions)
        for run in runs
        for before, after in zip(base.tasks, run.retention.tasks, strict=False)
    ]
    return answer_changes(pairs, frozenset(plan.target.task.choices))


def _token_loss(plan: Plan, runs: Sequence[SeedOutcome], base: RetentionLogs) -> RetentionResult | None:
    if base.text is None:
        return None
    logs = {run.seed: run.retention.text.predictions for run in runs if run.retention.text is not None}
    if not logs:
        return None
    return retention_over_seeds(base.text.predictions, logs, TOKEN_LOSS, plan.config.evaluation, _CONTEXT_OF_TEXT)


def _notes(plan: Plan, outcome: ArmOutcome) -> tuple[str, ...]:
    arm = outcome.arm
    notes = [*_shot_notes(arm, outcome.runs[0].shots_used), *_replay_notes(plan, arm), *plan.training.notes_of(arm)]
    for run in outcome.runs:
        notes += [note for note in run.notes if note not in notes]
    notes += warnings_about_answers(outcome.logs, plan.target.metrics)
    if unread := unread_references(outcome.runs[0].log.predictions, plan.target.metrics.metrics):
        notes.append(unread)
    if outcome.search is not None:
        notes.append(_search_note(outcome.search.search))
        notes += [f"failed: {failure}" for failure in outcome.search.search.failures]
    return tuple(notes)


def _shot_notes(arm: Arm, used: tuple[int, int]) -> list[str]:
    if arm.shots and used[0] < arm.shots:
        return [f"{arm.shots} exemplars were asked for; {used[0]} to {used[1]} fitted"]
    return []


def _replay_notes(plan: Plan, arm: Arm) -> list[str]:
    if arm.replay is None:
        return []
    target = len(plan.training.target.records)
    return [replay_in_words(arm.replay, replayed_examples(plan.training.of(arm)), target)]


def _search_note(search: Search) -> str:
    ends = [f"{count} {what}" for count, what in ((search.pruned, "stopped early"), (search.failed, "failed")) if count]
    of = f" ({', '.join(ends)})" if ends else ""
    return f"chosen on validation by {search.trials} trials{of}: {parameters_in_words(search.chosen)}"


def arm_costs(outcome: ArmOutcome) -> ArmCosts:
    """Return what an arm cost, measured; the mean over its seeds."""
    search_seconds = outcome.search.seconds if outcome.search else None
    return mean_costs([_run_costs(run, outcome.latency, search_seconds) for run in outcome.runs])


def _run_costs(run: SeedOutcome, latency: Latency, search_seconds: float | None) -> ArmCosts:
    log = run.log
    generated = sum(item.generated_tokens for item in log.predictions)
    known = run.trained.costs if run.trained else None
    return ArmCosts(
        training_seconds=known.training_seconds if known else None,
        supervised_tokens_per_second=known.supervised_tokens_per_second if known else None,
        peak_memory_bytes=known.peak_memory_bytes if known else log.peak_memory_bytes,
        evaluation_seconds=log.seconds,
        generation_tokens_per_second=generated / log.seconds if generated and log.seconds else None,
        seconds_per_request=log.seconds / len(log.predictions),
        request_seconds=latency.unmerged,
        merged_request_seconds=latency.merged,
        search_seconds=search_seconds,
        known_answers=log.cached,
    )
