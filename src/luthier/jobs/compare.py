"""Run every arm from the same start on the same splits, measure what each kept and cost, and say what follows."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from luthier.comparison.arms import Arm, make_arms
from luthier.comparison.measure import TOKEN_LOSS, all_pairs, change, retention, score
from luthier.comparison.recommend import recommend
from luthier.comparison.results import ArmCosts, ArmResult, RunCosts, RunResults, write_json
from luthier.config import CompareConfig
from luthier.data.encoding import Encoder
from luthier.errors import DataError, LuthierError, raise_faults
from luthier.evaluation.predict import fits_whole
from luthier.evaluation.shots import with_shots
from luthier.jobs.measures import yardstick_of
from luthier.jobs.predict import Predicted, Work, finish, read, task_work, text_work
from luthier.jobs.train import Trained, TrainingData, examples_digest, train_arm
from luthier.methods.folder import load_adapter
from luthier.methods.registry import find_method, read_settings
from luthier.metrics.log import write_predictions
from luthier.models.language_model import LanguageModel
from luthier.models.load import load_model
from luthier.records import Example
from luthier.store import digest, writing
from luthier.tasks.load import TaskData, library_names, load_examples, load_splits, load_task, load_texts
from luthier.tasks.task import Task
from luthier.version import __version__

PLAIN_TEXT = "plain_text"


@dataclass(frozen=True)
class Subject:
    """A task made ready for one model.

    Attributes:
        task: The task.
        encoder: The model's encoder, with or without its chat template as the task wants it.
        examples: What is evaluated.
    """

    task: Task
    encoder: Encoder
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Plan:
    """Everything that was read and checked before the first arm runs."""

    config: CompareConfig
    model: LanguageModel
    target: Subject
    data: TaskData
    training: TrainingData
    pool: tuple[Example, ...]
    arms: tuple[Arm, ...]
    retained: tuple[Subject, ...]
    texts: tuple[str, ...]
    counts: dict[str, Any]


def compare(config: CompareConfig) -> Path:
    """Run a comparison; return the run's folder, with ``results.json``, ``costs.json`` and the logs in it.

    Finished work is found in the store and not done again; a killed run goes on.

    Raises:
        LuthierError: Whatever is wrong with the configuration, the data or the model, before anything is trained.
    """
    plan = read_plan(config)
    run = config.out / (config.name or run_name(plan))
    with writing(run):
        run.mkdir(parents=True, exist_ok=True)
    base = _answers(plan, Arm("base", None, 0), None)
    outcomes = [_run_arm(plan, arm, base) for arm in plan.arms]
    _write_run(plan, run, outcomes)
    return run


def read_plan(config: CompareConfig) -> Plan:
    """Read and check everything that a comparison needs.

    Raises:
        LuthierError: All faults that can be found at once.
    """
    faults: list[LuthierError] = []
    with _collecting(faults):
        task = load_task(config.task)
        arms = make_arms(config.arms, training=config.training, few_shots=task.few_shot.shots, seed=config.seed)
    with _collecting(faults):
        retained_tasks = _retained_tasks(config)
    with _collecting(faults):
        texts = tuple(load_texts(config.retain_text)) if config.retain_text else ()
    with _collecting(faults):
        model = load_model(config.model, device=config.device, trust_remote_code=config.trust_remote_code)
    raise_faults("the comparison cannot start", faults)
    with _collecting(faults):
        _check_methods(arms)
    with _collecting(faults):
        data = load_splits(task, config.data, config.seed)
    retained = []
    for other in retained_tasks:
        with _collecting(faults):
            examples = load_examples(
                other, "test", limit=config.evaluation.retain_examples, seed=config.seed, evaluation=True
            )
            retained.append(Subject(other, make_encoder(model, other, config), tuple(examples)))
    raise_faults("the comparison cannot start", faults)
    encoder = make_encoder(model, task, config)
    training, counts = encode_training(encoder, data, config)
    pool = tuple(load_examples(task, "train", limit=config.data.train, seed=config.seed, evaluation=True))
    return Plan(
        config,
        model,
        Subject(task, encoder, data.test),
        data,
        training,
        pool,
        tuple(arms),
        tuple(retained),
        texts,
        counts,
    )


@contextlib.contextmanager
def _collecting(faults: list[LuthierError]) -> Iterator[None]:
    try:
        yield
    except LuthierError as fault:
        faults.append(fault)


def _retained_tasks(config: CompareConfig) -> list[Task]:
    names = config.retain
    if names is None:
        names = tuple(name for name in library_names() if name not in (config.task, PLAIN_TEXT))
    return [load_task(name) for name in names]


def _check_methods(arms: Sequence[Arm]) -> None:
    faults: list[LuthierError] = []
    for arm in arms:
        if arm.method is not None:
            with _collecting(faults):
                read_settings(find_method(arm.method), arm.settings, where=f"arm '{arm.name}', settings")
    raise_faults("the arms have faults", faults)


def make_encoder(model: LanguageModel, task: Task, config: CompareConfig) -> Encoder:
    """Return the model's encoder for a task."""
    limit = min(config.data.max_length or model.max_length, model.max_length)
    return Encoder(
        model.tokenizer,
        encoder_decoder=model.encoder_decoder,
        max_length=limit,
        chat=config.data.chat,
        task_wants_chat=task.chat,
    )


def encode_training(encoder: Encoder, data: TaskData, config: CompareConfig) -> tuple[TrainingData, dict[str, Any]]:
    """Encode the training and validation splits, and count what was cut and dropped.

    Raises:
        DataError: When more than ``data.max_lost`` of the training examples do not fit.
    """
    train = encoder.encode_all(data.train)
    validation = encoder.encode_all(data.validation)
    lost = len(train.dropped) / max(1, len(data.train))
    if lost > config.data.max_lost:
        raise DataError(
            f"{len(train.dropped)} of {len(data.train)} training examples do not fit ({train.dropped[0].reason})",
            where=config.task,
            fix="Use a model that holds longer texts, shorten the targets, or raise data.max_lost.",
        )
    counts = {
        "train_cut": train.cut,
        "train_dropped": len(train.dropped),
        "validation_cut": validation.cut,
        "validation_dropped": len(validation.dropped),
    }
    key = digest([examples_digest(data.train), examples_digest(data.validation)])
    return TrainingData(tuple(train.encoded), data.validation, tuple(validation.encoded), key), counts


def run_name(plan: Plan) -> str:
    """Return a name that the same command gives again."""
    settings = plan.config.model_dump(mode="json", exclude={"out", "name"})
    model = Path(plan.config.model).name
    return f"compare-{plan.target.task.name}-{model}-{digest([settings, plan.model.digest])[:8]}"


@dataclass(frozen=True)
class Answers:
    """Everything that one arm answered."""

    target: Predicted | None
    retained: tuple[Predicted, ...]
    text: Predicted | None
    shots_used: tuple[int, int] = (0, 0)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """One arm, run and measured."""

    result: ArmResult
    costs: ArmCosts
    answers: Answers
    trained: Trained | None


def _run_arm(plan: Plan, arm: Arm, base: Answers) -> Outcome:
    trained = None
    if arm.method is not None:
        trained = train_arm(
            plan.model,
            plan.target.encoder,
            plan.target.task,
            plan.training,
            arm,
            out=plan.config.out,
            decoding=plan.config.decoding,
            evaluation=plan.config.evaluation,
        )
    answers = _answers(plan, arm, trained)
    return Outcome(_result(plan, arm, trained, answers, base), _costs(trained, answers), answers, trained)


def _answers(plan: Plan, arm: Arm, trained: Trained | None) -> Answers:
    """Answer the target task as the arm does; and the other tasks, where the weights are not the base's."""
    adapter = trained.entry.key if trained else ""
    is_base = arm.name == "base" and arm.method is None
    options = {"adapter": adapter, "out": plan.config.out, "batch_tokens": plan.config.evaluation.batch_tokens}
    target, used = (None, (0, 0)) if is_base else _target_work(plan, arm, options)
    others: list[Work] = []
    text = None
    if trained or is_base:
        for subject in plan.retained:
            label = f"{arm.name}: {subject.task.name}"
            others.append(_work(plan, subject, subject.examples, label, options))
        if plan.texts:
            label = f"{arm.name}: plain text"
            text = text_work(plan.model, plan.target.encoder, plan.texts, label=label, **options)
    _finish_all(plan.model, [work for work in (target, *others, text) if work], trained)
    notes = tuple(
        f"{len(work.dropped)} examples of {work.label} do not fit and were not answered ({work.dropped[0].reason})"
        for work in (target, *others)
        if work and work.dropped
    )
    return Answers(
        read(target) if target else None,
        tuple(read(work) for work in others),
        read(text) if text else None,
        used,
        notes,
    )


def _target_work(plan: Plan, arm: Arm, options: dict[str, Any]) -> tuple[Work, tuple[int, int]]:
    task, encoder = plan.target.task, plan.target.encoder
    new_tokens = plan.config.decoding.max_new_tokens or task.max_new_tokens

    def fits(example: Example) -> bool:
        return fits_whole(example, encoder, new_tokens=new_tokens)

    shown = with_shots(plan.target.examples, plan.pool, arm.shots, seed=plan.config.seed, fits=fits)
    return _work(plan, plan.target, shown.examples, f"{arm.name}: {task.name}", options), shown.used


def _work(plan: Plan, subject: Subject, examples: Sequence[Example], label: str, options: dict[str, Any]) -> Work:
    return task_work(
        plan.model, subject.encoder, subject.task, examples, decoding=plan.config.decoding, label=label, **options
    )


def _finish_all(model: LanguageModel, works: Sequence[Work], trained: Trained | None) -> None:
    """Do what is not done yet, with the adapter attached only if something is left to do."""
    left = [work for work in works if not work.entry.finished]
    if not left:
        return
    attached = load_adapter(model, trained.adapter) if trained else None
    try:
        for work in left:
            finish(work)
    finally:
        if attached is not None:
            attached.detach()


def _result(plan: Plan, arm: Arm, trained: Trained | None, answers: Answers, base: Answers) -> ArmResult:
    assert answers.target is not None
    evaluation = plan.config.evaluation
    predictions = answers.target.predictions
    yardstick = yardstick_of(plan.target.task)
    context = {"task": f"{yardstick.task}-v{plan.target.task.version}", "split": "test", "shots": str(arm.shots)}
    context["prompt"] = plan.target.task.digest[:8]
    retained = tuple(
        retention(before.predictions, after.predictions, yardstick_of(subject.task), evaluation, _zero_shot(subject))
        for subject, before, after in zip(plan.retained, base.retained, answers.retained, strict=False)
    )
    token_loss = None
    if answers.text and base.text:
        token_loss = retention(base.text.predictions, answers.text.predictions, TOKEN_LOSS, evaluation, {})
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
        shots_used=answers.shots_used,
        steps=known.get("steps", 0),
        best_step=known.get("best_step"),
        scores=score(predictions, yardstick, evaluation, context),
        retained=retained,
        token_loss=token_loss,
        predictions=f"predictions/{arm.name}.jsonl",
        curve=f"curves/{arm.name}.jsonl" if trained else "",
        notes=(*_shot_notes(arm, answers.shots_used), *answers.notes),
    )


def _zero_shot(subject: Subject) -> dict[str, str]:
    return {
        "task": f"{subject.task.name}-v{subject.task.version}",
        "split": "test",
        "shots": "0",
        "prompt": subject.task.digest[:8],
    }


def _shot_notes(arm: Arm, used: tuple[int, int]) -> tuple[str, ...]:
    if arm.shots and used[0] < arm.shots:
        return (f"{arm.shots} exemplars were asked for; {used[0]} to {used[1]} fitted",)
    return ()


def _costs(trained: Trained | None, answers: Answers) -> ArmCosts:
    assert answers.target is not None
    seconds = answers.target.seconds
    generated = sum(item.generated_tokens for item in answers.target.predictions)
    known = trained.costs if trained else {}
    return ArmCosts(
        training_seconds=known.get("training_seconds"),
        supervised_tokens_per_second=known.get("supervised_tokens_per_second"),
        peak_memory_bytes=known.get("peak_memory_bytes"),
        evaluation_seconds=seconds,
        generation_tokens_per_second=generated / seconds if generated and seconds else None,
        seconds_per_request=seconds / len(answers.target.predictions),
    )


def _write_run(plan: Plan, run: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the run's folder; ``results.json`` comes last, and whole."""
    yardstick = yardstick_of(plan.target.task)
    logs = {outcome.result.name: _target(outcome) for outcome in outcomes}
    first = next(iter(logs.values()))
    arms = tuple(
        replace(outcome.result, against_first=change(_target(outcome), first, yardstick, plan.config.evaluation))
        if index
        else outcome.result
        for index, outcome in enumerate(outcomes)
    )
    pairs = all_pairs(logs, yardstick, plan.config.evaluation)
    results = RunResults(
        luthier=__version__,
        run=run.name,
        config=plan.config.model_dump(mode="json", exclude={"out", "name"}),
        model=_describe_model(plan.model),
        task=_describe_task(plan),
        data=plan.counts | {"report": asdict(plan.data.report)},
        arms=arms,
        pairs=pairs,
        recommendation=recommend(arms, pairs, higher_is_better=yardstick.higher_is_better),
        confidence=plan.config.evaluation.confidence,
    )
    costs = RunCosts(
        str(plan.model.device), torch.get_num_threads(), {outcome.result.name: outcome.costs for outcome in outcomes}
    )
    with writing(run):
        _write_logs(plan, run, outcomes)
        write_json(run / "costs.json", costs)
        write_json(run / "results.json", results)


def _target(outcome: Outcome) -> tuple[Any, ...]:
    assert outcome.answers.target is not None
    return outcome.answers.target.predictions


def _write_logs(plan: Plan, run: Path, outcomes: Sequence[Outcome]) -> None:
    for folder in ("predictions", "curves"):
        (run / folder).mkdir(exist_ok=True)
    rows = [json.dumps(asdict(example), ensure_ascii=False) for example in plan.target.examples]
    (run / "predictions" / "examples.jsonl").write_text("".join(row + "\n" for row in rows), encoding="utf-8")
    for outcome in outcomes:
        write_predictions(run / outcome.result.predictions, _target(outcome))
        if outcome.trained:
            shutil.copyfile(outcome.trained.log, run / outcome.result.curve)


def _describe_model(model: LanguageModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "digest": model.digest,
        "kind": "encoder-decoder" if model.encoder_decoder else "decoder",
        "parameters": model.parameters,
        "vocabulary": model.vocabulary,
        "max_length": model.max_length,
    }


def _describe_task(plan: Plan) -> dict[str, Any]:
    task = plan.target.task
    splits = {"train": len(plan.data.train), "validation": len(plan.data.validation), "test": len(plan.data.test)}
    return {
        "name": task.name,
        "version": task.version,
        "description": task.description,
        "primary": task.primary,
        "metrics": list(task.metrics),
        "higher_is_better": yardstick_of(task).higher_is_better,
        "chance": task.chance,
        "splits": splits,
        "citation": task.citation,
        "licence": task.licence,
    }
