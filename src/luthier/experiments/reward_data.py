"""What arms on rewards are asked: prompts that leave room for an answer, and a reward that can be given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from luthier.config.arms import Arm
from luthier.data.attempts import Attempt
from luthier.data.encoding import Encoder
from luthier.errors import ConfigError
from luthier.records import Dropped, Prediction
from luthier.training.job import reward_of
from luthier.training.stream import PreparedRecords


@dataclass(frozen=True, slots=True)
class AnswerRoom:
    """What an answer needs beside its prompt.

    Attributes:
        encoder: Of the task.
        new_tokens: Tokens of an answer at most.
    """

    encoder: Encoder
    new_tokens: int


def with_room(prepared: PreparedRecords[Any], room: AnswerRoom) -> PreparedRecords[Any]:
    """Leave out the prompts that leave no room for an answer that the model draws; other records stay as they are."""
    kept, dropped = [], list(prepared.dropped)
    for record in prepared.records:
        asked = isinstance(record, Attempt)
        item = (
            room.encoder.encode_prompt(record.example, room.new_tokens)
            if asked and not record.example.choices
            else None
        )
        if isinstance(item, Dropped):
            dropped.append(item)
        else:
            kept.append(record)
    return replace(prepared, records=tuple(kept), dropped=tuple(dropped))


def require_reward(arm: Arm, records: Sequence[Any], where: str) -> None:
    """Check that an arm on rewards can learn from records: the reward is tried on the first right answer.

    Raises:
        ConfigError: The answers are choices, which are compared and not written.
        DataError: The reward cannot be given.
    """
    reward = reward_of(arm)
    if reward is None:
        return
    if any(record.example.choices for record in records):
        what = f"the objective {arm.objective} rewards answers that are written, and this task's are chosen from a list"
        fix = "Learn the right choices with lora, or give a task of free text."
        raise ConfigError(what, where=f"arm '{arm.name}', {where}", fix=fix)
    example = records[0].example
    right = Prediction(example.id, example.task, example.targets[0], example.targets, wrong=example.wrong)
    reward.values([example], [right])
