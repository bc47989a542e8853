"""The training data of a comparison: the target's examples and those that arms replay, as an objective's records."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from luthier.config.advice import how_to_set, or_allow_lost
from luthier.config.arms import Arm
from luthier.config.data import DataConfig
from luthier.data.encoding import Encoder
from luthier.errors import ConfigError, DataError
from luthier.evaluation.prepared_task import PreparedTask
from luthier.objectives.cross_entropy import CrossEntropy
from luthier.objectives.objective import Objective
from luthier.records import Encoded
from luthier.tasks.loader import TaskData, load_splits
from luthier.training.job import TrainingData, ValidationSet, validation_set
from luthier.training.stream import PreparedRecords, TrainingSet, prepare_records, training_set, with_replay

OBJECTIVE: Objective[Encoded] = CrossEntropy()
"""What makes the records: the objective of every arm, since there is only this one."""
_REPLAYED = "retained tasks"


@dataclass(frozen=True)
class ArmsData:
    """What the arms of a comparison can learn from.

    Attributes:
        target: The target's training examples.
        replayable: Training examples of the retained tasks, the tasks in turns.
        validation: Of the target.
    """

    target: TrainingSet[Encoded]
    replayable: tuple[Encoded, ...]
    validation: ValidationSet[Encoded]

    def of(self, arm: Arm) -> TrainingData[Encoded]:
        """Return what an arm learns from: the target's examples, and those of the retained tasks that it replays."""
        if not arm.replay:
            return TrainingData(self.target, self.validation)
        count = round(arm.replay * len(self.target.records))
        replayed = training_set(_REPLAYED, self.replayable[:count])
        return TrainingData(with_replay(self.target, replayed), self.validation)


def replayed_examples(data: TrainingData[Encoded]) -> int:
    """Return how many examples of retained tasks are among the training data."""
    return sum(origin.records for origin in data.train.origins if origin.name == _REPLAYED)


def read_arms_data(
    arms: Sequence[Arm],
    target: PreparedTask,
    splits: TaskData,
    retained: Sequence[PreparedTask],
    limits: DataConfig,
    *,
    seed: int,
    where: str,
) -> tuple[ArmsData, dict[str, Any]]:
    """Prepare what the arms learn from, and count what was cut and dropped.

    Args:
        arms: What is compared.
        target: The task that is trained on.
        splits: Its splits.
        retained: Tasks whose training examples may be replayed.
        limits: How many examples are used, and how many may be lost.
        seed: Of the draw of examples to replay.
        where: What the user called the target, for messages.

    Raises:
        DataError: More than the share ``limits.max_lost`` of the training examples does not fit, or none is left.
        ConfigError: An arm replays, and there is no retained task.
    """
    train = prepare_records(OBJECTIVE, splits.train, target.encoder)
    validation = prepare_records(OBJECTIVE, splits.validation, target.encoder)
    _require_few_lost(train, len(splits.train), limits.max_lost, where)
    if any(arm.method for arm in arms):
        _require_examples(train, splits, target.encoder, where)
    counts = {
        "train_cut": train.cut,
        "train_dropped": len(train.dropped),
        "validation_cut": validation.cut,
        "validation_dropped": len(validation.dropped),
    }
    data = ArmsData(
        training_set(target.task.name, train.records),
        _replayable(arms, retained, len(train.records), limits, seed),
        validation_set(splits.validation, validation.records),
    )
    return data, counts


def _replayable(
    arms: Sequence[Arm], retained: Sequence[PreparedTask], examples: int, limits: DataConfig, seed: int
) -> tuple[Encoded, ...]:
    """Prepare as many training examples of the retained tasks as the arm that replays most of them takes."""
    asking = [arm for arm in arms if arm.replay]
    if not asking:
        return ()
    if not retained:
        name = how_to_set("retain", "[topic]")
        fix = f"Name tasks with {name} (tasks of lm-eval have no training examples), or leave `replay` out of the arm."
        raise ConfigError(
            "no task is retained, so there is nothing to replay", where=f"arm '{asking[0].name}'", fix=fix
        )
    each = math.ceil(max(arm.replay for arm in asking) * examples / len(retained))
    few = limits.model_copy(update={"train": each})
    prepared = [
        prepare_records(OBJECTIVE, load_splits(other.task, few, seed).train, other.encoder).records
        for other in retained
    ]
    turns = itertools.zip_longest(*prepared)
    return tuple(item for turn in turns for item in turn if item is not None)


def _require_few_lost(train: PreparedRecords[Encoded], examples: int, max_lost: float, where: str) -> None:
    if len(train.dropped) > max_lost * max(1, examples):
        raise DataError(
            f"{len(train.dropped)} of {examples} training examples do not fit ({train.dropped[0].reason})",
            where=where,
            fix="Use a model that holds longer texts, or shorten the targets"
            f"{or_allow_lost(len(train.dropped), examples)}.",
        )


def _require_examples(train: PreparedRecords[Encoded], splits: TaskData, encoder: Encoder, where: str) -> None:
    if train.records:
        return
    if train.dropped:
        raise DataError(
            f"none of the {len(splits.train)} training examples fits ({train.dropped[0].reason})",
            where=where,
            fix="Use a model that holds longer texts, or shorten the rows.",
        )
    became = " ".join(splits.report.sentences)
    raise DataError("no training example is left", where=where, fix=f"What became of the rows: {became}")
