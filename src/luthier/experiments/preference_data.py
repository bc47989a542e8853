"""What arms with another objective than the targets learn from: pairs, judged answers, or prompts, of the target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.config.advice import or_allow_lost
from luthier.config.arms import Arm
from luthier.data.encoding import Encoder
from luthier.data.preferences import Judged, Pair, pairs_of
from luthier.errors import ConfigError, DataError, LuthierError, collecting, raise_faults
from luthier.experiments.reward_data import AnswerRoom, require_reward, with_room
from luthier.objectives.cross_entropy import CrossEntropy
from luthier.objectives.kto import KTO
from luthier.objectives.policy_gradient import PolicyGradient
from luthier.records import Example
from luthier.tasks.loader import TaskData
from luthier.training.job import TrainingData, objective_of, reward_of, validation_set
from luthier.training.stream import PreparedRecords, prepare_records, training_set


@dataclass(frozen=True)
class PreferenceData:
    """Records of one kind.

    Attributes:
        training: What is trained and validated on.
        notes: What was cut and left out.
    """

    training: TrainingData[Any]
    notes: tuple[str, ...]


def kind_of(arm: Arm) -> str:
    """Return what an arm's objective learns from; "" where that is the targets of examples, or nothing is trained."""
    kind = objective_of(arm).learns_from if arm.method is not None else ""
    return "" if kind == CrossEntropy.learns_from else kind


def judges(arms: Sequence[Arm]) -> bool:
    """Whether any arm learns from answers that were judged one by one."""
    return any(arm.method is not None and arm.objective == KTO.name for arm in arms)


def check_objectives(arms: Sequence[Arm]) -> None:
    """Check that objectives and their settings are right, and fit the rest of their arms.

    Raises:
        ConfigError: All faults together.
    """
    faults: list[LuthierError] = []
    for arm in arms:
        with collecting(faults):
            kind = kind_of(arm)
            reward = reward_of(arm) if kind else None
            given = (
                ("replay", arm.replay is not None),
                ("mixture", bool(arm.mixture)),
                ("anchor.kl", arm.anchor.kl > 0),
            )
            for key, is_given in given:
                if kind and is_given:
                    what = f"the objective {arm.objective} learns from {kind}, and has no `{key}`"
                    own = "`beta`" if reward is not None else "`nll`"
                    fix = f"Leave it out; {own}, `anchor.l2` or a start of its own hold such an arm near to that."
                    faults.append(ConfigError(what, where=f"arm '{arm.name}', {key}", fix=fix))
    raise_faults("the arms have faults", faults)


def read_preferences(
    arms: Sequence[Arm], splits: TaskData, name: str, room: AnswerRoom, *, max_lost: float, where: str
) -> dict[str, PreferenceData]:
    """Encode what the arms learn from, each kind of records once.

    Args:
        arms: What is compared.
        splits: The target's, with the bad answers where an arm learns from those.
        name: Of the target.
        room: The target's encoder, and the tokens of an answer that a model draws.
        max_lost: Share of the records that may be left out.
        where: The target as the user named it.

    Raises:
        DataError: There is no record of a kind that an arm needs, too many do not fit, or nothing can be rewarded; all
            such faults.
    """
    faults: list[LuthierError] = []
    found: dict[str, PreferenceData] = {}
    for arm in arms:
        kind = kind_of(arm)
        if kind and kind not in found:
            with collecting(faults):
                objective = objective_of(arm)
                train = with_room(prepare_records(objective, splits.train, room.encoder), room)
                _require_records(train, kind, f"arm '{arm.name}', {where}", max_lost)
                validation = with_room(prepare_records(objective, splits.validation, room.encoder), room)
                answered = tuple(own for own in splits.validation if own.targets)
                found[kind] = PreferenceData(
                    TrainingData(training_set(name, train.records), validation_set(answered, validation.records)),
                    tuple(_notes(kind, {"training": train, "validation": validation})),
                )
        if kind in found:
            with collecting(faults):
                require_reward(arm, found[kind].training.train.records, where)
    raise_faults("the target's rows do not fit the arms", faults)
    return found


def held_out_pairs(examples: Sequence[Example], encoder: Encoder) -> tuple[Pair, ...]:
    """Return the pairs of some examples that fit the model; none of examples that hold no preferences."""
    found = pairs_of([example for example in examples if example.rejected], encoder)
    return tuple(item for item in found if isinstance(item, Pair))


def _require_records(train: PreparedRecords[Any], kind: str, where: str, max_lost: float) -> None:
    dropped = Counter(item.reason for item in train.dropped)
    total = len(train.records) + len(train.dropped)
    reasons = "; ".join(f"{count:,}: {reason}" for reason, count in dropped.most_common(3))
    if not train.records:
        what = f"the training split has no {kind}" + (f" ({reasons})" if reasons else "")
        fix = "Give rows with chosen and rejected, or for kto with prompt, completion and label."
        if kind == PolicyGradient.learns_from:
            fix = "Give rows with a prompt and a right answer, and leave room for answers."
        raise DataError(what, where=where, fix=f"{fix} `luthier check` shows what there is.")
    if len(train.dropped) > max_lost * total:
        what = f"{len(train.dropped):,} of {total:,} {kind} cannot be learned from ({reasons})"
        fix = f"Correct the rows, or take a model that holds longer texts{or_allow_lost(len(train.dropped), total)}."
        raise DataError(what, where=where, fix=fix)
    verdicts = {item.good for item in train.records if isinstance(item, Judged)}
    if len(verdicts) == 1:
        only = "good" if verdicts == {True} else "bad"
        what = f"all {len(train.records):,} judged answers are {only}, and kto learns from the difference"
        raise DataError(what, where=where, fix="Give rows of both kinds, or learn the good answers with lora.")


def _notes(kind: str, prepared: Mapping[str, PreparedRecords[Any]]) -> list[str]:
    said = []
    for split, found in prepared.items():
        if found.cut:
            said.append(f"{found.cut:,} {split} {kind}: the input text was cut to fit, alike for all answers")
        for reason, count in Counter(item.reason for item in found.dropped).most_common():
            said.append(f"{count:,} {split} {kind} were left out: {reason}")
    return said
