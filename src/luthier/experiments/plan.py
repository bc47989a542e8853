"""Everything that a comparison needs, read and checked before the first arm runs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from luthier.config.arms import Arm
from luthier.config.compare import CompareConfig
from luthier.config.data import DataConfig
from luthier.data.encoding import Encoder
from luthier.data.splits import digest_examples
from luthier.errors import ConfigError, DataError, LuthierError, collecting, raise_faults
from luthier.evaluation.prepared_task import PreparedTask, generation_settings_of, make_encoder
from luthier.evaluation.requests import encode_requests
from luthier.experiments.inputs import Inputs, RetainedTask, read_inputs
from luthier.files.digests import digest
from luthier.methods.base import virtual_tokens
from luthier.methods.registry import find_method, read_settings
from luthier.models.language_model import LanguageModel
from luthier.progress import say
from luthier.records import Encoded, Example
from luthier.tasks.loader import TaskData, load_examples, load_splits
from luthier.training.train_arm import TrainingData, naming


@dataclass(frozen=True)
class Plan:
    """Everything that was read and checked before the first arm runs.

    Attributes:
        config: What the user asked for.
        model: The base.
        target: The task that arms are trained on and measured by, with its test split.
        data: Its splits.
        training: The same, encoded.
        pool: Training examples as exemplars show them.
        replayed: Training examples of the retained tasks, in turns.
        arms: What is compared.
        retained: The tasks on which forgetting is measured.
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

    def arm(self, name: str) -> Arm:
        """Return the arm of this name."""
        return next(arm for arm in self.arms if arm.name == name)


def read_plan(config: CompareConfig) -> Plan:
    """Read and check everything that a comparison needs.

    Raises:
        LuthierError: All faults that can be found at once.
    """
    inputs = read_inputs(config)
    model, task = inputs.model, inputs.task
    faults: list[LuthierError] = []
    with collecting(faults):
        check_methods(inputs.arms, model)
        model.keep_free(_virtual_tokens(inputs.arms, searching=config.search.trials > 0))
    with collecting(faults):
        data = load_splits(task, config.data, config.seed)
    retained: list[PreparedTask] = []
    for other in inputs.retained:
        with collecting(faults):
            retained += _prepare_retained(other, model, config)
    raise_faults("the comparison cannot start", faults)
    target = PreparedTask(task, make_encoder(model, task, config.data), data.test)
    training, counts = encode_training(target.encoder, data, config.data.max_lost, where=config.task)
    if any(arm.method for arm in inputs.arms):
        _require_training(training, data, target.encoder, where=config.task)
    return Plan(
        config,
        model,
        target,
        data,
        training,
        _exemplar_pool(inputs, config.data, config.seed),
        _replayed(inputs.arms, retained, len(training.train), config.data, config.seed),
        inputs.arms,
        tuple(retained),
        inputs.texts,
        counts,
    )


def _exemplar_pool(inputs: Inputs, data: DataConfig, seed: int) -> tuple[Example, ...]:
    if not any(arm.shots for arm in inputs.arms):
        return ()
    return tuple(load_examples(inputs.task, "train", limit=data.train, seed=seed, evaluation=True))


def training_of(plan: Plan, arm: Arm) -> TrainingData:
    """Return what an arm is trained on: the target's examples, and those of the retained tasks that it replays."""
    if not arm.replay:
        return plan.training
    count = round(arm.replay * len(plan.training.train))
    more = plan.replayed[:count]
    key = digest(
        [plan.training.digest, [[item.id, item.prompt_ids.tolist(), item.target_ids.tolist()] for item in more]]
    )
    return replace(plan.training, train=(*plan.training.train, *more), digest=key)


def _replayed(
    arms: Sequence[Arm], retained: Sequence[PreparedTask], examples: int, data: DataConfig, seed: int
) -> tuple[Encoded, ...]:
    """Encode as many training examples of the retained tasks as the arm that replays most of them takes, in turns."""
    asking = [arm for arm in arms if arm.replay]
    if not asking:
        return ()
    if not retained:
        fix = "Name tasks with `retain`, or leave `replay` out."
        raise ConfigError(
            "no task is retained, so there is nothing to replay", where=f"arm '{asking[0].name}'", fix=fix
        )
    each = math.ceil(max(arm.replay for arm in asking) * examples / len(retained))
    limits = data.model_copy(update={"train": each})
    encoded = [other.encoder.encode_all(load_splits(other.task, limits, seed).train).encoded for other in retained]
    turns = itertools.zip_longest(*encoded)
    return tuple(item for turn in turns for item in turn if item is not None)


def _prepare_retained(retained: RetainedTask, model: LanguageModel, config: CompareConfig) -> list[PreparedTask]:
    """Return a retained task made ready; nothing for a member of a set that the model cannot hold."""
    task = retained.task
    examples = load_examples(task, "test", limit=config.evaluation.retain_examples, seed=config.seed, evaluation=True)
    encoder = make_encoder(model, task, config.data)
    if not retained.by_name:
        new_tokens = generation_settings_of(task, config.decoding).new_tokens
        _, dropped = encode_requests(examples, encoder, new_tokens=new_tokens)
        if len(dropped) > config.data.max_lost * len(examples):
            say(f"{task.name}: not watched, {len(dropped)} of {len(examples)} examples do not fit this model")
            return []
    return [PreparedTask(task, encoder, tuple(examples))]


def check_methods(arms: Sequence[Arm], model: LanguageModel) -> None:
    """Check that the methods of all arms exist, and that their settings fit the model.

    Raises:
        LuthierError: All faults; each names its arm.
    """
    faults: list[LuthierError] = []
    for arm in arms:
        if arm.method is not None:
            with collecting(faults), naming(arm):
                method = find_method(arm.method)
                settings = read_settings(method, arm.settings, where="settings")
                if arm.settings or virtual_tokens(settings):
                    # Settings can name layers that this model does not have: that must not show after hours.
                    method.attach(model, settings, seed=arm.seeds[0]).detach()
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


def _require_training(training: TrainingData, data: TaskData, encoder: Encoder, *, where: str) -> None:
    if training.train:
        return
    if data.train:
        reason = encoder.encode_all(data.train).dropped[0].reason
        raise DataError(
            f"none of the {len(data.train)} training examples fits ({reason})",
            where=where,
            fix="Use a model that holds longer texts, or shorten the rows.",
        )
    became = " ".join(data.report.sentences)
    raise DataError("no training example is left", where=where, fix=f"What became of the rows: {became}")


def encode_training(
    encoder: Encoder, data: TaskData, max_lost: float, *, where: str
) -> tuple[TrainingData, dict[str, Any]]:
    """Encode the training and validation splits, and count what was cut and dropped.

    Raises:
        DataError: When more than the share ``max_lost`` of the training examples does not fit.
    """
    train = encoder.encode_all(data.train)
    validation = encoder.encode_all(data.validation)
    lost = len(train.dropped) / max(1, len(data.train))
    if lost > max_lost:
        raise DataError(
            f"{len(train.dropped)} of {len(data.train)} training examples do not fit ({train.dropped[0].reason})",
            where=where,
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
    """Check that something can be evaluated, before anything is trained.

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
        _, dropped = encode_requests([example], plan.target.encoder, new_tokens=new_tokens)
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
