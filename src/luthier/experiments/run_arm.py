"""Run one arm: train it if it is trained, let it answer, and measure what it answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from luthier.config.arms import Arm
from luthier.evaluation.latency import Latency, Timing, measure, plan_timing, read_latency
from luthier.evaluation.prepared_task import context_of, generation_settings_of, task_metrics_of, with_exemplars
from luthier.evaluation.run import EvaluationContext, EvaluationJob, PredictionLog, finish, read, task_work, text_work
from luthier.experiments.plan import Plan, train_planned, training_of
from luthier.experiments.search import search_arm, told
from luthier.methods.adapter_io import load_adapter
from luthier.metrics.task_metrics import TOKEN_LOSS
from luthier.models.language_model import LanguageModel
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
class Answered:
    """What an arm answers on the target task."""

    log: PredictionLog
    shots_used: tuple[int, int]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """One arm, run and measured."""

    result: ArmResult
    costs: ArmCosts
    predictions: tuple[Prediction, ...]
    trained: Trained | None


def watch_base(plan: Plan) -> RetentionLogs:
    """Measure the base on the retained tasks and text: the "before" of every arm."""
    works = _watching(plan, "base", _conditions(plan, None))
    _finish_all(plan.model, works, None)
    return _watched(plan, works)


def run_arm(plan: Plan, arm: Arm, base: RetentionLogs) -> Outcome:
    """Run one arm.

    Args:
        plan: What was read and checked.
        arm: The arm.
        base: What the base answers where forgetting is measured.
    """
    trained = searched = None
    if arm.method is not None and plan.config.search.trials:
        searched = search_arm(plan, arm)
        arm = searched.arm
    if arm.method is not None:
        trained = train_planned(plan, arm)
    under = _conditions(plan, trained)
    target, timing, shots_used = _target_work(plan, arm, under)
    # In-context learning changes no weights: there is nothing to forget.
    watching = _watching(plan, arm.name, under) if trained else []
    _finish_all(plan.model, [target, *watching], trained, timing)
    watched = _watched(plan, watching)
    notes = (*_shot_notes(arm, shots_used), *_replay_notes(plan, arm), *_fit_notes([target]), *watched.notes)
    answered = Answered(read(target), shots_used, notes)
    result = _result(plan, arm, trained, answered, watched, base)
    costs = _costs(trained, answered.log, read_latency(timing))
    if searched is not None:
        result = replace(result, search=searched.search, notes=(*result.notes, _search_note(searched.search)))
        costs = replace(costs, search_seconds=searched.seconds)
    return Outcome(result, costs, answered.log.predictions, trained)


def _conditions(plan: Plan, trained: Trained | None) -> EvaluationContext:
    adapter = trained.entry.key if trained else ""
    evaluation = plan.config.evaluation
    return EvaluationContext(
        plan.config.out, adapter, plan.config.decoding, evaluation.batch_tokens, cache=evaluation.cache
    )


def _target_work(plan: Plan, arm: Arm, under: EvaluationContext) -> tuple[EvaluationJob, Timing, tuple[int, int]]:
    task, encoder = plan.target.task, plan.target.encoder
    how = generation_settings_of(task, plan.config.decoding)
    shown = with_exemplars(plan.target.examples, plan.pool, arm.shots, encoder, how, seed=plan.config.seed)
    label = f"{arm.name}: {task.name}"
    work = task_work(plan.model, encoder, task, shown.examples, under, label=label)
    timing = plan_timing(plan.model, encoder, task, shown.examples, under, label=f"{arm.name}: one request")
    return work, timing, shown.used


def _watching(plan: Plan, name: str, under: EvaluationContext) -> list[EvaluationJob]:
    """Plan the retained tasks, then the plain text if there is any."""
    works = [
        task_work(plan.model, other.encoder, other.task, other.examples, under, label=f"{name}: {other.task.name}")
        for other in plan.retained
    ]
    if plan.texts:
        works.append(text_work(plan.model, plan.target.encoder, plan.texts, under, label=f"{name}: plain text"))
    return works


def _watched(plan: Plan, works: Sequence[EvaluationJob]) -> RetentionLogs:
    logs = [read(work) for work in works]
    count = len(plan.retained)
    return RetentionLogs(tuple(logs[:count]), logs[count] if len(logs) > count else None, _fit_notes(works))


def _finish_all(
    model: LanguageModel, works: Sequence[EvaluationJob], trained: Trained | None, timing: Timing | None = None
) -> None:
    """Do what is not done yet, with the adapter attached only if something is left to do."""
    left = [work for work in works if not work.entry.finished]
    untimed = timing if timing is not None and not timing.entry.finished else None
    if not left and untimed is None:
        return
    attached = load_adapter(model, trained.adapter) if trained else None
    try:
        for work in left:
            finish(work)
        if untimed is not None:
            measure(untimed, attached)
    finally:
        if attached is not None:
            attached.detach()


def _result(
    plan: Plan, arm: Arm, trained: Trained | None, answered: Answered, watched: RetentionLogs, base: RetentionLogs
) -> ArmResult:
    evaluation = plan.config.evaluation
    predictions = answered.log.predictions
    known = trained.result if trained else {}
    return ArmResult(
        name=arm.name,
        method=arm.method,
        shots=arm.shots,
        seed=arm.seed,
        settings=dict(arm.settings),
        training={**arm.training.model_dump(mode="json"), "learning_rate": known["learning_rate"]} if known else {},
        trainable_parameters=known.get("trainable_parameters", 0),
        stored_bytes=known.get("stored_bytes", 0),
        prompt_tokens=sum(item.prompt_tokens for item in predictions) / len(predictions),
        shots_used=answered.shots_used,
        steps=known.get("steps", 0),
        best_step=known.get("best_step"),
        scores=score(
            predictions, task_metrics_of(plan.target.task), evaluation, context_of(plan.target.task, arm.shots)
        ),
        retained=_retained(plan, watched, base),
        token_loss=_token_loss(plan, watched, base),
        predictions=f"predictions/{arm.name}.jsonl",
        curve=f"curves/{arm.name}.jsonl" if trained else "",
        notes=answered.notes,
    )


def _retained(plan: Plan, watched: RetentionLogs, base: RetentionLogs) -> tuple[RetentionResult, ...]:
    if not watched.tasks:
        return ()
    found = [
        retention(
            before.predictions,
            after.predictions,
            task_metrics_of(other.task),
            plan.config.evaluation,
            context_of(other.task, 0),
        )
        for other, before, after in zip(plan.retained, base.tasks, watched.tasks, strict=True)
    ]
    changes = corrected([item.change for item in found], plan.config.evaluation)
    return tuple(replace(item, change=change) for item, change in zip(found, changes, strict=True))


def _token_loss(plan: Plan, watched: RetentionLogs, base: RetentionLogs) -> RetentionResult | None:
    if watched.text is None or base.text is None:
        return None
    context = {"split": "heldout"}
    return retention(base.text.predictions, watched.text.predictions, TOKEN_LOSS, plan.config.evaluation, context)


def _search_note(search: Search) -> str:
    ends = [f"{count} {what}" for count, what in ((search.pruned, "stopped early"), (search.failed, "failed")) if count]
    of = f" ({', '.join(ends)})" if ends else ""
    return f"chosen on validation by {search.trials} trials{of}: {told(search.chosen)}"


def _shot_notes(arm: Arm, used: tuple[int, int]) -> tuple[str, ...]:
    if arm.shots and used[0] < arm.shots:
        return (f"{arm.shots} exemplars were asked for; {used[0]} to {used[1]} fitted",)
    return ()


def _replay_notes(plan: Plan, arm: Arm) -> tuple[str, ...]:
    count = len(training_of(plan, arm).train) - len(plan.training.train) if arm.replay else 0
    return (f"{count} training examples of the watched tasks were replayed",) if count else ()


def _fit_notes(works: Sequence[EvaluationJob]) -> tuple[str, ...]:
    """Say what was cut and what was left out."""
    notes = []
    for work in works:
        if work.cut:
            notes.append(f"{work.label}: the input text of {work.cut} of {len(work.asked)} examples was cut to fit")
        if work.dropped:
            reason = work.dropped[0].reason
            notes.append(f"{work.label}: {len(work.dropped)} examples do not fit and were not answered ({reason})")
    return tuple(notes)


def _costs(trained: Trained | None, log: PredictionLog, latency: Latency) -> ArmCosts:
    generated = sum(item.generated_tokens for item in log.predictions)
    known = trained.costs if trained else {}
    return ArmCosts(
        training_seconds=known.get("training_seconds"),
        supervised_tokens_per_second=known.get("supervised_tokens_per_second"),
        peak_memory_bytes=known.get("peak_memory_bytes", log.peak_memory_bytes),
        evaluation_seconds=log.seconds,
        generation_tokens_per_second=generated / log.seconds if generated and log.seconds else None,
        seconds_per_request=log.seconds / len(log.predictions),
        request_seconds=latency.unmerged,
        merged_request_seconds=latency.merged,
        known_answers=log.known,
    )
