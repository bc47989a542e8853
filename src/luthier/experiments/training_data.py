"""The training data of a comparison: the target's examples and those that arms replay, as an objective's records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from luthier.config.advice import or_allow_lost
from luthier.config.arms import Arm
from luthier.config.replay import SELF, TASKS
from luthier.data.encoding import Encoder
from luthier.data.shares import Measured, shares
from luthier.errors import DataError
from luthier.evaluation.prepared_task import PreparedTask, generation_settings_of, make_encoder
from luthier.experiments.preference_data import PreferenceData, kind_of, read_preferences
from luthier.experiments.replay import REPLAYED, ReplaySources, fisher_records, replay_pools, with_replayed
from luthier.experiments.reward_data import AnswerRoom
from luthier.experiments.selections import SelectionKey, read_selections, selection_key
from luthier.objectives.cross_entropy import CrossEntropy
from luthier.objectives.objective import Objective
from luthier.records import Encoded
from luthier.shares import Share
from luthier.tasks.loader import TaskData
from luthier.tasks.mixture import Mixture, Reader, make_mixture, with_equal_epochs
from luthier.tasks.mixture_spec import read_mixture
from luthier.tasks.texts import text_hash
from luthier.training.job import TrainingData, ValidationSet, validation_set
from luthier.training.selection import Selection
from luthier.training.stream import LazyRecords, Origin, PreparedRecords, TrainingSet, prepare_records, training_set

OBJECTIVE: Objective[Encoded] = CrossEntropy()
"""What makes the records of arms that learn the targets."""


@dataclass(frozen=True)
class ArmsData:
    """What the arms of a comparison can learn from.

    Attributes:
        target: The target's training examples.
        replayable: Records of each source from which an arm replays.
        validation: Of the target.
        mixtures: What arms learn from that are trained on a mixture, by its file.
        selections: What chooses the best weights of arms beside the target.
        preferences: What arms learn from that have a preference objective, by the kind of its records.
        elsewhere: Training examples of the retained tasks, in turns, as many as the arm asks for that measures Fisher
            information on most of them.
    """

    target: TrainingSet[Encoded]
    replayable: Mapping[str, tuple[Encoded, ...]]
    validation: ValidationSet[Encoded]
    elsewhere: tuple[Encoded, ...] = ()
    mixtures: Mapping[str, Mixture] = field(default_factory=dict)
    selections: Mapping[SelectionKey, Selection] = field(default_factory=dict)
    preferences: Mapping[str, PreferenceData] = field(default_factory=dict)

    def of(self, arm: Arm) -> TrainingData[Any]:
        """Return what an arm learns from: the target's examples and those that it replays, or its preferences."""
        few = self.elsewhere[: arm.anchor.fisher_examples]
        elsewhere = training_set("retained tasks", few) if arm.anchor.ewc else None
        key = selection_key(arm)
        selection = self.selections[key] if key is not None else None
        if kind := kind_of(arm):
            return replace(self.preferences[kind].training, elsewhere=elsewhere, selection=selection)
        if arm.mixture:
            train = mixture_set(self.mixtures[arm.mixture])
        else:
            train = with_replayed(self.target, arm, self.replayable)
        return TrainingData(train, self.validation, elsewhere, selection)

    def with_equal_epochs(self, seed: int) -> ArmsData:
        """Return the same, but every epoch of a mixture reads the same examples, drawn by a seed."""
        return replace(self, mixtures={name: with_equal_epochs(own, seed) for name, own in self.mixtures.items()})

    def notes_of(self, arm: Arm) -> tuple[str, ...]:
        """Return what was cut and left out of the preferences that an arm learns from."""
        kind = kind_of(arm)
        return self.preferences[kind].notes if kind else ()

    def shares_of(self, arm: Arm) -> tuple[Share, ...]:
        """Return the shares of what an arm learns from; nothing where that is the target alone."""
        if arm.mixture:
            return self.mixtures[arm.mixture].shares
        train = self.of(arm).train
        if len(train.origins) < 2:
            return ()
        found = quotas_of(train)
        asked = arm.replay.share if arm.replay else 0.0
        return shares(measured_origins(train), (1 - asked, asked), found)


def seen_tasks(data: ArmsData, arm: Arm, retained: Sequence[str]) -> frozenset[str]:
    """Return the retained tasks of which an arm is trained on other examples, by their names."""
    if arm.mixture:
        return frozenset(share.source for share in data.mixtures[arm.mixture].shares)
    source = arm.replay.source if arm.replay else ""
    return frozenset(retained if source in (TASKS, SELF) else (source, Path(source).stem))


def quotas_of(train: TrainingSet[Encoded]) -> tuple[int, ...]:
    """Return how many records of each origin an epoch has."""
    return train.quotas or tuple(origin.records for origin in train.origins)


def measured_origins(train: TrainingSet[Encoded]) -> list[Measured]:
    """Return the origins of a training set with the mean number of their supervised tokens."""
    found, start = [], 0
    for origin in train.origins:
        own = train.records[start : start + origin.records]
        start += origin.records
        tokens = sum(len(record.target_ids) for record in own) / max(1, len(own))
        cut = sum(record.cut_tokens > 0 for record in own) / max(1, len(own))
        found.append(Measured(origin.name, origin.records, tokens, cut))
    return found


def replayed_examples(data: TrainingData[Encoded]) -> int:
    """Return how many replayed examples are among the training data."""
    return sum(origin.records for origin in data.train.origins if origin.name == REPLAYED)


def read_arms_data(
    arms: Sequence[Arm],
    splits: TaskData,
    judged: TaskData,
    sources: ReplaySources,
    chosen_on: Sequence[PreparedTask] = (),
) -> tuple[ArmsData, dict[str, Any]]:
    """Prepare what the arms learn from, and count what was cut and dropped.

    Args:
        arms: What is compared.
        splits: The target's.
        judged: The same, with the answers that were found bad where an arm learns from those.
        sources: The target, and what may be replayed.
        chosen_on: The retained tasks, with their validation splits, where an arm's weights are chosen by them.

    Raises:
        DataError: More than the share ``data.max_lost`` of the training examples does not fit, or none is left.
        ConfigError: An arm replays, and there is nothing to replay.
    """
    target, where = sources.target, sources.config.task
    train = prepare_records(OBJECTIVE, splits.train, target.encoder)
    validation = prepare_records(OBJECTIVE, splits.validation, target.encoder)
    _require_few_lost(train, len(splits.train), sources.config.data.max_lost, where)
    if any(arm.method and not arm.mixture and not kind_of(arm) for arm in arms):
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
        {name: _mixture(name, splits, sources) for name in dict.fromkeys(arm.mixture for arm in arms if arm.mixture)},
        read_selections(arms, sources, chosen_on),
        read_preferences(
            arms,
            judged,
            target.task.name,
            AnswerRoom(target.encoder, generation_settings_of(target.task, sources.config.decoding).new_tokens),
            max_lost=sources.config.data.max_lost,
            where=where,
        ),
    )
    return data, counts


def mixture_set(mixture: Mixture) -> TrainingSet[Encoded]:
    """Return a mixture as a training set, whose records are made as they are read."""
    sizes = mixture.sizes
    origins = tuple(Origin(share.source, size) for share, size in zip(mixture.shares, sizes, strict=True))
    return TrainingSet(LazyRecords(sum(sizes), mixture.record), mixture.digest, origins, mixture.quotas)


def _mixture(name: str, splits: TaskData, sources: ReplaySources) -> Mixture:
    """Read a mixture, without the examples whose texts are measured on."""
    config, model = sources.config, sources.model
    measured = {other.task.name: frozenset(map(text_hash, other.examples)) for other in sources.retained}
    measured[sources.target.task.name] = frozenset(map(text_hash, (*splits.validation, *splits.test)))
    reader = Reader(
        model.tokenizer,
        model.encoder_decoder,
        model.max_length,
        lambda task: make_encoder(model, task, config.data),
    )
    return make_mixture(read_mixture(name), reader, config.data, seed=config.seed, held_out=measured)


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
