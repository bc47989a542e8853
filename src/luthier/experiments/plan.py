"""Everything that a comparison needs, read and checked before the first arm runs."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from luthier.config.arms import Arm, make_arms
from luthier.config.compare import CompareConfig
from luthier.data.encoding import Encoder
from luthier.data.splits import digest_examples
from luthier.errors import ConfigError, DataError, LuthierError, raise_faults
from luthier.evaluation.prepared_task import generation_settings_of
from luthier.evaluation.requests import prepare
from luthier.files.digests import digest
from luthier.methods.base import virtual_tokens
from luthier.methods.registry import find_method, read_settings
from luthier.models.language_model import LanguageModel
from luthier.models.load import load_model
from luthier.progress import say
from luthier.records import Encoded, Example
from luthier.tasks.loader import TaskData, library_names, load_examples, load_splits, load_task, load_texts
from luthier.tasks.schema import Task
from luthier.training.train_arm import Trained, TrainingData, Watch, naming, train_arm

PLAIN_TEXT = "plain_text"


@dataclass(frozen=True)
class PreparedTask:
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
    """Everything that was read and checked before the first arm runs.

    Attributes:
        config: What the user asked for.
        model: The base.
        target: The task that arms are trained on and measured by.
        data: Its splits.
        training: The same, encoded.
        pool: Training examples as exemplars show them.
        replayed: Training examples of the watched tasks, in turns.
        arms: What is compared.
        retained: The watched tasks.
        texts: Held-out plain text.
        counts: What was cut and dropped.
    """

    config: CompareConfig
    model: LanguageModel
    target: PreparedTask
    data: TaskData
    training: TrainingData
    pool: tuple[Example, ...]
    replayed: tuple[Encoded, ...]
    arms: tuple[Arm, ...]
    retained: tuple[PreparedTask, ...]
    texts: tuple[str, ...]
    counts: dict[str, Any]


def read_plan(config: CompareConfig) -> Plan:
    """Read and check everything that a comparison needs.

    Raises:
        LuthierError: All faults that can be found at once.
    """
    task, arms, retained_tasks, texts, model = _read_inputs(config)
    faults: list[LuthierError] = []
    with collecting(faults):
        _check_methods(arms, model)
        model.keep_free(_virtual_tokens(arms, searching=config.search.trials > 0))
    with collecting(faults):
        data = load_splits(task, config.data, config.seed)
    retained: list[PreparedTask] = []
    for other in retained_tasks:
        with collecting(faults):
            retained += _retained(other, model, config)
    raise_faults("the comparison cannot start", faults)
    encoder = make_encoder(model, task, config)
    training, counts = encode_training(encoder, data, config)
    if any(arm.method for arm in arms):
        _require_training(training, data, encoder, config)
    pool: list[Example] = []
    if any(arm.shots for arm in arms):
        pool = load_examples(task, "train", limit=config.data.train, seed=config.seed, evaluation=True)
    return Plan(
        config,
        model,
        PreparedTask(task, encoder, data.test),
        data,
        training,
        tuple(pool),
        _replayed(arms, retained, len(training.train), config),
        tuple(arms),
        tuple(retained),
        tuple(texts),
        counts,
    )


def training_of(plan: Plan, arm: Arm) -> TrainingData:
    """Return what an arm is trained on: the target's examples, and those of the watched tasks that it replays."""
    if not arm.replay:
        return plan.training
    count = round(arm.replay * len(plan.training.train))
    more = plan.replayed[:count]
    key = digest(
        [plan.training.digest, [[item.id, item.prompt_ids.tolist(), item.target_ids.tolist()] for item in more]]
    )
    return replace(plan.training, train=(*plan.training.train, *more), digest=key)


def train_planned(plan: Plan, arm: Arm, *, watch: Watch | None = None) -> Trained:
    """Train an arm of a plan, or find it in the store; see :func:`luthier.training.train_arm.train_arm`."""
    return train_arm(
        plan.model,
        plan.target.encoder,
        plan.target.task,
        training_of(plan, arm),
        arm,
        out=plan.config.out,
        decoding=plan.config.decoding,
        evaluation=plan.config.evaluation,
        watch=watch,
    )


def _replayed(
    arms: Sequence[Arm], retained: Sequence[PreparedTask], examples: int, config: CompareConfig
) -> tuple[Encoded, ...]:
    """Encode as many training examples of the watched tasks as the arm that replays most of them takes, in turns."""
    asking = [arm for arm in arms if arm.replay]
    if not asking:
        return ()
    if not retained:
        fix = "Name tasks to watch with `retain`, or leave `replay` out."
        raise ConfigError("no task is watched, so there is nothing to replay", where=f"arm '{asking[0].name}'", fix=fix)
    each = math.ceil(max(arm.replay for arm in asking) * examples / len(retained))
    limits = config.data.model_copy(update={"train": each})
    encoded = [
        subject.encoder.encode_all(load_splits(subject.task, limits, config.seed).train).encoded for subject in retained
    ]
    turns = itertools.zip_longest(*encoded)
    return tuple(item for turn in turns for item in turn if item is not None)


class _Inputs(NamedTuple):
    task: Task
    arms: list[Arm]
    retained: list[Task]
    texts: list[str]
    model: LanguageModel


def _read_inputs(config: CompareConfig) -> _Inputs:
    """Read what is named by the configuration, each by itself, so that all faults show at once."""
    faults: list[LuthierError] = []
    with collecting(faults):
        task = load_task(config.task)
        arms = make_arms(config.arms, training=config.training, few_shots=task.few_shot, seed=config.seed)
    with collecting(faults):
        retained = _retained_tasks(config)
    with collecting(faults):
        texts = load_texts(config.retention_text) if config.retention_text else []
    with collecting(faults):
        model = load_model(config.model, device=config.device, trust_remote_code=config.trust_remote_code)
    raise_faults("the comparison cannot start", faults)
    return _Inputs(task, arms, retained, texts, model)


@contextlib.contextmanager
def collecting(faults: list[LuthierError]) -> Iterator[None]:
    """Keep a fault and go on, so that the user sees all of them at once."""
    try:
        yield
    except LuthierError as fault:
        faults.append(fault)


def _retained_tasks(config: CompareConfig) -> list[Task]:
    names = config.retain
    if names is None:
        names = tuple(name for name in library_names() if name not in (config.task, PLAIN_TEXT))
    faults: list[LuthierError] = []
    tasks: list[Task] = []
    for name in names:
        with collecting(faults):
            tasks.append(load_task(name))
    faults += repeated_names(tasks, "retain")
    raise_faults("the retained tasks have faults", faults)
    return tasks


def repeated_names(tasks: Sequence[Task], where: str) -> list[LuthierError]:
    """Return a fault for each name that several tasks have: their scores could not be told apart."""
    counts = Counter(task.name for task in tasks)
    return [
        ConfigError(f"{count} tasks are called '{name}'", where=where, fix="Leave one out, or rename it in its YAML.")
        for name, count in counts.items()
        if count > 1
    ]


def _retained(task: Task, model: LanguageModel, config: CompareConfig) -> list[PreparedTask]:
    """Return a retained task made ready; nothing for one that nobody asked for and the model cannot hold."""
    examples = load_examples(task, "test", limit=config.evaluation.retain_examples, seed=config.seed, evaluation=True)
    encoder = make_encoder(model, task, config)
    if config.retain is None:
        _, dropped = prepare(examples, encoder, new_tokens=generation_settings_of(task, config.decoding).new_tokens)
        if len(dropped) > config.data.max_lost * len(examples):
            say(f"{task.name}: not watched, {len(dropped)} of {len(examples)} examples do not fit this model")
            return []
    return [PreparedTask(task, encoder, tuple(examples))]


def _check_methods(arms: Sequence[Arm], model: LanguageModel) -> None:
    faults: list[LuthierError] = []
    for arm in arms:
        if arm.method is not None:
            with collecting(faults), naming(arm):
                method = find_method(arm.method)
                settings = read_settings(method, arm.settings, where="settings")
                if arm.settings or virtual_tokens(settings):
                    # Settings can name layers that this model does not have: that must not show after hours.
                    method.attach(model, settings, seed=arm.seed).detach()
    raise_faults("the arms have faults", faults)


def _virtual_tokens(arms: Sequence[Arm], *, searching: bool) -> int:
    """Tokens that the longest soft prompt takes: they are kept free for every arm, so that all read the same text."""
    lengths = [0]
    for arm in arms:
        if arm.method is not None:
            method = find_method(arm.method)
            lengths.append(virtual_tokens(read_settings(method, arm.settings, where="settings")))
            if searching and (knob := method.space.get("virtual_tokens")):
                lengths += knob.values
    return max(lengths)


def _require_training(training: TrainingData, data: TaskData, encoder: Encoder, config: CompareConfig) -> None:
    if training.train:
        return
    if data.train:
        reason = encoder.encode_all(data.train).dropped[0].reason
        raise DataError(
            f"none of the {len(data.train)} training examples fits ({reason})",
            where=config.task,
            fix="Use a model that holds longer texts, or shorten the rows.",
        )
    became = " ".join(data.report.sentences)
    raise DataError("no training example is left", where=config.task, fix=f"What became of the rows: {became}")


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
    key = digest([digest_examples(data.train), digest_examples(data.validation)])
    return TrainingData(tuple(train.encoded), data.validation, tuple(validation.encoded), key), counts


def require_test(plan: Plan) -> None:
    """Check that something can be measured, before anything is trained.

    Raises:
        DataError: When the test split is empty, or not one of its examples fits the model.
    """
    task = plan.target.task
    if not plan.target.examples:
        became = " ".join(plan.data.report.sentences)
        raise DataError("the test split has no examples", where=task.where, fix=f"What became of the rows: {became}")
    new_tokens = generation_settings_of(task, plan.config.decoding).new_tokens
    reason = ""
    for example in plan.target.examples:
        _, dropped = prepare([example], plan.target.encoder, new_tokens=new_tokens)
        if not dropped:
            return
        reason = dropped[0].reason
    fix = "Use a model that holds longer texts, or lower max_new_tokens."
    raise DataError(f"no test example can be answered ({reason})", where=task.where, fix=fix)


def run_name(plan: Plan) -> str:
    """Return a name that the same command gives again."""
    settings = plan.config.identity()
    model = Path(plan.config.model).name
    return f"compare-{plan.target.task.name}-{model}-{digest([settings, plan.model.digest])[:8]}"
