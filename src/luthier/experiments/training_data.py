"""The training data of a comparison: the target's examples and those that arms replay, as an objective's records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.config.advice import or_allow_lost
from luthier.config.arms import Arm
from luthier.data.encoding import Encoder
from luthier.errors import DataError
from luthier.experiments.replay import REPLAYED, ReplaySources, fisher_records, replay_pools, with_replayed
from luthier.objectives.cross_entropy import CrossEntropy
from luthier.objectives.objective import Objective
from luthier.records import Encoded
from luthier.tasks.loader import TaskData
from luthier.training.job import TrainingData, ValidationSet, validation_set
from luthier.training.stream import PreparedRecords, TrainingSet, prepare_records, training_set

OBJECTIVE: Objective[Encoded] = CrossEntropy()
"""What makes the records: the objective of every arm, since there is only this one."""


@dataclass(frozen=True)
class ArmsData:
    """What the arms of a comparison can learn from.

    Attributes:
        target: The target's training examples.
        replayable: Records of each source from which an arm replays.
        validation: Of the target.
        elsewhere: Training examples of the retained tasks, in turns, as many as the arm asks for that measures Fisher
            information on most of them.
    """

    target: TrainingSet[Encoded]
    replayable: Mapping[str, tuple[Encoded, ...]]
    validation: ValidationSet[Encoded]
    elsewhere: tuple[Encoded, ...] = ()

    def of(self, arm: Arm) -> TrainingData[Encoded]:
        """Return what an arm learns from: the target's examples, and those that it replays."""
        train = with_replayed(self.target, arm, self.replayable)
        few = self.elsewhere[: arm.anchor.fisher_examples]
        elsewhere = training_set("retained tasks", few) if arm.anchor.ewc else None
        return TrainingData(train, self.validation, elsewhere)


def replayed_examples(data: TrainingData[Encoded]) -> int:
    """Return how many replayed examples are among the training data."""
    return sum(origin.records for origin in data.train.origins if origin.name == REPLAYED)


def read_arms_data(arms: Sequence[Arm], splits: TaskData, sources: ReplaySources) -> tuple[ArmsData, dict[str, Any]]:
    """Prepare what the arms learn from, and count what was cut and dropped.

    Args:
        arms: What is compared.
        splits: The target's.
        sources: The target, and what may be replayed.

    Raises:
        DataError: More than the share ``data.max_lost`` of the training examples does not fit, or none is left.
        ConfigError: An arm replays, and there is nothing to replay.
    """
    target, where = sources.target, sources.config.task
    train = prepare_records(OBJECTIVE, splits.train, target.encoder)
    validation = prepare_records(OBJECTIVE, splits.validation, target.encoder)
    _require_few_lost(train, len(splits.train), sources.config.data.max_lost, where)
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
        replay_pools(arms, sources, len(train.records)),
        validation_set(splits.validation, validation.records),
        fisher_records(arms, sources),
    )
    return data, counts


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
