"""Rows to Examples."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import blake2b

from luthier.errors import DataError, LuthierError, TaskError, did_you_mean
from luthier.files.value_text import answer_texts, value_text
from luthier.records import Example, Row
from luthier.tasks.rows.row_formats import exchanges
from luthier.tasks.rows.splits import hash64
from luthier.tasks.rows.templates import find_input
from luthier.tasks.schema import PromptTemplate, TargetSource, Task


class LeftOut(DataError):
    """A row from which nothing can be learned (an empty target, a conversation without answer): counted, not fatal."""


def left_out_why(task: Task) -> str:
    """Return what the rows of a task that are left out have in common, as a message ends it."""
    if task.row_format is not None and task.row_format.conversation:
        return "hold no conversation that can be learned"
    if task.has_choices and not task.choices:
        return "have an empty prompt or target, or a right answer that stands twice among the choices"
    return "have an empty prompt or target"


def choices_given(task: Task, row: Row) -> int:
    """Return how many choices a row has where it has its own, those that stand twice counted twice; else 0."""
    if task.choices:
        return 0
    if task.choices_column is not None:
        listed = _from_json(row.get(task.choices_column))
        return len(listed) if isinstance(listed, list | tuple) else 0
    return len(task.choice_templates)


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
    value = value_text(row[task.id_column])
    if not value.strip():
        raise DataError(f"the id column '{task.id_column}' is empty", where=where, fix="Give each row its own id.")
    return value


def split_key(task: Task, row: Row, key: str, where: str) -> tuple[str, str]:
    """Return ``(group, what decides the split)``: rows of one group stay together."""
    if task.group_column is None:
        return "", key
    if task.group_column not in row:
        raise _no_column(task.group_column, row, where)
    value = value_text(row[task.group_column])
    # Rows without a group are alone, not a group of their own kind.
    return (value, value) if value else ("", key)


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
        split: Its split; the targets may depend on it.
        evaluation: Whether to use the evaluation template instead of one drawn by the id.
        where: File and row, for messages.

    Raises:
        LeftOut: When nothing can be learned from the row.
        LuthierError: When the row cannot be rendered.
    """
    if task.row_format is not None and task.row_format.conversation:
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
        targets = _targets(template.targets or task.split_targets.get(split, task.targets), row)
        given = _choices(task, row)
        span = find_input(prompt, row, _input_column(task, row), template.prompt.render)
        part = task.part.render(row).strip() if task.part is not None else ""
        preamble = task.preamble.render(row) if task.preamble is not None else ""
    except LuthierError as fault:
        raise _located(fault, where) from None
    if not prompt.strip():
        raise LeftOut("the prompt is empty", where=where)
    if not targets:
        raise LeftOut("the target is empty", where=where)
    choices = _distinct(given, targets, where)
    if choices and (strays := [target for target in targets if target not in choices]):
        what = f"the target '{strays[0]}' is not among the choices"
        raise DataError(what, where=where, fix=did_you_mean(strays[0], choices))
    example = Example(
        id=key,
        task=task.name,
        template=template.name,
        prompt=prompt,
        targets=targets,
        choices=choices,
        input_span=span,
        group=group,
        part=part,
        preamble=preamble,
    )
    return _whole(example, where)


def _whole(example: Example, where: str) -> Example:
    """Return an example whose texts can be written: JSON can hold half of a character, files and tokenizers cannot."""
    texts = (
        example.id,
        example.group,
        example.preamble,
        example.system,
        example.prompt,
        *example.targets,
        *example.choices,
    )
    try:
        for text in (*texts, *(text for turn in example.turns for text in (turn.prompt, turn.reply))):
            text.encode()
    except UnicodeEncodeError as fault:
        half = f"U+{ord(fault.object[fault.start]):04X}"
        raise DataError(f"the text holds half of a character ({half})", where=where, fix="Correct the text.") from None
    return example


def _drawn(task: Task, key: str) -> PromptTemplate:
    templates = task.training_templates
    return templates[hash64(key, "luthier words") % len(templates)]


def _targets(source: TargetSource, row: Row) -> tuple[str, ...]:
    """Return the targets that are not empty, without blanks around them."""
    if source.column is not None:
        if source.column not in row:
            raise _no_column(source.column, row, "")
        listed = answer_texts(_from_json(row[source.column]))
        if listed is None:
            raise DataError(f"column '{source.column}' is not a list of answers")
        texts = listed
    else:
        texts = tuple(template.render(row) for template in source.templates)
    return tuple(stripped for text in texts if (stripped := text.strip()))


def _choices(task: Task, row: Row) -> tuple[str, ...]:
    if task.choices:
        return task.choices
    if task.choices_column is not None:
        if task.choices_column not in row:
            raise _no_column(task.choices_column, row, "")
        listed = _from_json(row[task.choices_column])
        if not isinstance(listed, list | tuple):
            raise DataError(f"column '{task.choices_column}' is not a list of choices")
        choices = tuple(map(value_text, listed))
    else:
        choices = tuple(template.render(row).strip() for template in task.choice_templates)
    if len(choices) == 1 or any(not choice for choice in choices):
        raise DataError("a row needs two choices or more, none of them empty")
    return choices


def _distinct(choices: tuple[str, ...], targets: tuple[str, ...], where: str) -> tuple[str, ...]:
    """Return the choices, each once: two that are the same have one probability, and one answer.

    Raises:
        LeftOut: The right answer stands twice, so that the row has two right answers.
    """
    distinct = tuple(dict.fromkeys(choices))
    if len(distinct) == len(choices):
        return choices
    twice = next((target for target in targets if choices.count(target) > 1), None)
    if twice is not None:
        what = f"the right answer '{twice}' stands twice among the choices: {', '.join(choices)}"
        raise LeftOut(what, where=where, fix="Give each choice its own text.")
    return distinct


def _input_column(task: Task, row: Row) -> str | None:
    column = task.input_column
    if column is not None and column not in row and task.row_format is None:
        raise TaskError(f"the input column '{column}' does not exist", fix=did_you_mean(column, map(str, row)))
    return column if column in row else None


def _conversation(task: Task, row: Row, key: str, where: str) -> Iterator[Example]:
    assert task.row_format is not None
    try:
        conversation = list(exchanges(row, task.row_format, where))
    except DataError as fault:
        # Published collections hold such conversations; a column that is missing altogether is another matter.
        if task.row_format.conversation not in row:
            raise _no_column(task.row_format.conversation, row, where) from None
        raise LeftOut(fault.what, where=fault.where, fix=fault.fix) from None
    for number, exchange in enumerate(conversation):
        if not exchange.prompt.strip() or not exchange.reply.strip():
            raise LeftOut(f"message {number + 1} is empty", where=where)
        start = len(exchange.prompt) - len(exchange.prompt.lstrip())
        example = Example(
            id=f"{key}#{number}",
            task=task.name,
            template=task.row_format.name,
            prompt=exchange.prompt,
            targets=(exchange.reply.strip(),),
            input_span=(start, len(exchange.prompt.rstrip())),
            turns=exchange.turns,
            system=exchange.system,
            group=key,
        )
        yield _whole(example, where)


def _from_json(value: object) -> object:
    """Return what a string holds as JSON, as a list stands in a CSV file; what is no JSON stays as it is."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _located(fault: LuthierError, where: str) -> LuthierError:
    """Return a template's fault with the row on which it happened."""
    return type(fault)(fault.what, where=f"{where} ({fault.where})" if fault.where else where, fix=fault.fix)
