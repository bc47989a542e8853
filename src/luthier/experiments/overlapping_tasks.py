"""Retained tasks that are not apart from the target: what is learned cannot show what is forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from luthier.errors import ConfigError, LuthierError
from luthier.evaluation.prepared_task import PreparedTask
from luthier.records import Example
from luthier.tasks.texts import text_hash

ALLOWED = 0.01
"""Share of a retained task's test examples whose text may stand in the target's training examples."""


def overlapping(retained: Sequence[PreparedTask], target: PreparedTask, train: Sequence[Example]) -> list[LuthierError]:
    """Return a fault for each retained task that is the target, or shares its texts with the target's training.

    Args:
        retained: With their test examples.
        target: The task that is trained on.
        train: Its training examples.
    """
    learned = {text_hash(example) for example in train}
    return [fault for other in retained for fault in _faults(other, target, learned)]


def _faults(other: PreparedTask, target: PreparedTask, learned: set[int]) -> Iterator[LuthierError]:
    name, where = other.task.name, "retain"
    if other.task.digest == target.task.digest:
        fix = "Take it out of the retained tasks: how the target changes is what the arms are compared by."
        yield ConfigError(f"the target '{name}' is retained too", where=where, fix=fix)
        return
    shared = sum(text_hash(example) in learned for example in other.examples)
    if shared > ALLOWED * len(other.examples):
        what = (
            f"{shared} of {len(other.examples)} test examples of '{name}' have the text of a training example of the "
            "target: what is learned would hide what is forgotten"
        )
        yield ConfigError(what, where=where, fix="Take it out of the retained tasks, or train on other rows.")
