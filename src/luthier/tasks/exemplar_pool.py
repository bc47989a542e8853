"""The examples that a task's exemplars are taken from."""

from __future__ import annotations

from luthier.records import Example
from luthier.tasks.rendering import render_with
from luthier.tasks.schema import Task


def fixed_exemplar(task: Task, number: int) -> Example:
    """Return one of the exemplars that stand in the task's file, rendered by the evaluation template.

    Raises:
        LuthierError: When the row cannot be rendered; the message names its line.
    """
    key = f"few_shot.rows.{number}"
    source = task.exemplars
    template = task.evaluation_template
    return render_with(
        task,
        template,
        {**task.constants, **source.rows[number]},
        key=key,
        group="",
        split="train",
        where=source.where[number],
    )
