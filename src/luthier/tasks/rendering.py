"""Rows to Examples."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import blake2b

from luthier.data.shapes import exchanges
from luthier.data.splits import hash64
from luthier.data.templates import find_input
from luthier.errors import DataError, LuthierError, TaskError, did_you_mean
from luthier.records import Example, Row
from luthier.tasks.task import Answers, PromptTemplate, Task, as_list, template_problem


class EmptyText(DataError):
    """The prompt or the target of a row is empty: the row is left out and counted."""


def row_id(task: Task, row: Row, where: str) -> str:
    """Return a row's id: its id column, or a digest of everything in it.

    Raises:
        DataError: When the id column is missing or empty.
    """
    if task.id_column is None:
        text = json.dumps(row, sort_keys=True, ensure_ascii=False, default=repr)
        return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    if task.id_column not in row:
        raise _no_column(task.id_column, row, where)
    value = row[task.id_column]
    if value is None or not str(value).strip():
        raise DataError(f"the id column '{task.id_column}' is empty", where=where, fix="Give each row its own id.")
    return str(value)


def split_key(task: Task, row: Row, key: str, where: str) -> tuple[str, str]:
    """Return ``(group, what decides the split)``: rows of one group stay together."""
    if task.group_column is None:
        return "", key
    if task.group_column not in row:
        raise _no_column(task.group_column, row, where)
    group = str(row[task.group_column])
    return group, group


def _no_column(column: str, row: Row, where: str) -> DataError:
    return DataError(f"column '{column}' does not exist", where=where, fix=did_you_mean(column, map(str, row)))


def render(
    task: Task, row: Row, *, key: str, group: str, split: str, evaluation: bool, where: str
) -> Iterator[Example]:
    """Yield the examples of a row: one, or one for each answer of a conversation.

    Args:
        task: Says how.
        row: The row.
        key: The row's id.
        group: Its group, or "".
        split: Its split; accepted answers may depend on it.
        evaluation: Whether to use the evaluation template instead of one drawn by the id.
        where: File and row, for messages.

    Raises:
        EmptyText: When prompt or target is empty.
        LuthierError: When the row cannot be rendered.
    """
    if task.shape is not None and task.shape.conversation:
        yield from _conversation(task, row, key, where)
        return
    template = task.evaluation_template if evaluation else _drawn(task, key)
    yield render_with(task, template, row, key=key, group=group, split=split, where=where)


def render_with(
    task: Task, template: PromptTemplate, row: Row, *, key: str, group: str, split: str, where: str
) -> Example:
    """Return the example that one template makes of a row; raises as :func:`render` does."""
    try:
        prompt = template.prompt.render(row)
        targets = _answers(template.answers or task.split_answers.get(split, task.answers), row)
        choices = _choices(task, row)
        span = find_input(prompt, row, _input_column(task, row), template.prompt.render)
    except LuthierError as fault:
        raise template_problem(fault, where) from None
    if not prompt.strip():
        raise EmptyText("the prompt is empty", where=where)
    if not targets:
        raise EmptyText("the target is empty", where=where)
    if choices and (strays := [target for target in targets if target not in choices]):
        what = f"the target '{strays[0]}' is not among the choices"
        raise DataError(what, where=where, fix=did_you_mean(strays[0], choices))
    return Example(key, task.name, template.name, prompt, targets, choices, span, group=group)


def _drawn(task: Task, key: str) -> PromptTemplate:
    templates = task.training_templates
    return templates[hash64(key, "luthier words") % len(templates)]


def _answers(answers: Answers, row: Row) -> tuple[str, ...]:
    """Return the accepted answers that are not empty, without blanks around them."""
    if answers.column is not None:
        if answers.column not in row:
            raise _no_column(answers.column, row, "")
        listed = as_list(row[answers.column])
        if listed is None:
            raise DataError(f"column '{answers.column}' is not a list of answers")
        texts = listed
    else:
        texts = tuple(template.render(row) for template in answers.templates)
    return tuple(stripped for text in texts if (stripped := text.strip()))


def _choices(task: Task, row: Row) -> tuple[str, ...]:
    if task.choices:
        return task.choices
    if task.choices_column is not None:
        if task.choices_column not in row:
            raise _no_column(task.choices_column, row, "")
        choices = as_list(row[task.choices_column])
        if choices is None:
            raise DataError(f"column '{task.choices_column}' is not a list of choices")
    else:
        choices = tuple(template.render(row).strip() for template in task.choice_templates)
    if len(set(choices)) < len(choices):
        raise DataError(f"two choices are the same: {', '.join(choices)}", fix="Give each choice its own text.")
    if len(choices) == 1 or any(not choice for choice in choices):
        raise DataError("a row needs two choices or more, none of them empty")
    return choices


def _input_column(task: Task, row: Row) -> str | None:
    column = task.input_column
    if column is not None and column not in row and task.shape is None:
        raise TaskError(f"the input column '{column}' does not exist", fix=did_you_mean(column, map(str, row)))
    return column if column in row else None


def _conversation(task: Task, row: Row, key: str, where: str) -> Iterator[Example]:
    assert task.shape is not None
    for number, exchange in enumerate(exchanges(row, task.shape, where)):
        if not exchange.prompt.strip() or not exchange.reply.strip():
            raise EmptyText(f"message {number + 1} is empty", where=where)
        start = len(exchange.prompt) - len(exchange.prompt.lstrip())
        yield Example(
            id=f"{key}#{number}",
            task=task.name,
            template=task.shape.name,
            prompt=exchange.prompt,
            targets=(exchange.reply.strip(),),
            input_span=(start, len(exchange.prompt.rstrip())),
            turns=exchange.turns,
            system=exchange.system,
            group=key,
        )
