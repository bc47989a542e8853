"""Rows to examples without answers: what a model is asked about rows that nobody has labelled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from luthier.errors import LuthierError
from luthier.files.row_faults import RowFaults
from luthier.records import Example, Row
from luthier.tasks.rendering import choices_of, example_of_exchange, input_column_of, located, require_whole
from luthier.tasks.rows.conversations import exchanges_of
from luthier.tasks.rows.left_out import LeftOut
from luthier.tasks.rows.messages import Said, tool_list
from luthier.tasks.rows.row_formats import TOOLS, messages_of, refuse_pictures, system_of, turns_before
from luthier.tasks.rows.templates import find_input
from luthier.tasks.schema import Task


def unlabelled_examples(
    task: Task, rows: Iterable[tuple[int, Row]], where: str
) -> tuple[tuple[Example, ...], dict[str, str]]:
    """Return an example without targets for each row that asks something, by the task's evaluation template.

    Args:
        task: Says how a row is put into words; columns that only its targets need may be missing.
        rows: With their numbers from 1, which become the ids of the examples.
        where: The file, for messages.

    Returns:
        The examples, and by id why other rows ask nothing.

    Raises:
        DataError: When a row cannot be put into words; all such rows together.
    """
    faults, examples, silent = RowFaults(where), [], dict[str, str]()
    for number, row in rows:
        try:
            examples.append(_unlabelled(task, row, str(number), f"{where}, row {number}"))
        except LeftOut as fault:
            silent[str(number)] = fault.what
        except LuthierError as fault:
            faults.add(fault)
    faults.finish()
    return tuple(examples), silent


def _unlabelled(task: Task, row: Row, key: str, where: str) -> Example:
    if task.row_format is not None:
        refuse_pictures(row, where)
        if task.row_format.conversation:
            return _conversation(task, row, key, where)
    template = task.evaluation_template
    try:
        prompt = template.prompt.render(row)
        choices = tuple(dict.fromkeys(choices_of(task, row)))
        span = find_input(prompt, row, input_column_of(task, row), template.prompt.render)
        preamble = task.preamble.render(row) if task.preamble is not None else ""
    except LuthierError as fault:
        raise located(fault, where) from None
    if not prompt.strip():
        raise LeftOut("the prompt is empty", where=where)
    example = Example(key, task.name, template.name, prompt, (), choices, span, preamble=preamble)
    if task.row_format is not None:
        example = replace(example, system=system_of(row), turns=turns_before(row, where))
    return require_whole(example, where)


def _conversation(task: Task, row: Row, key: str, where: str) -> Example:
    """Return the example that asks for the next answer; an answer at the end of the row is what is asked for."""
    assert task.row_format is not None
    own = {name: value for name, value in row.items() if name != task.row_format.answer}
    messages = list(messages_of(own, task.row_format, where))
    while messages and messages[-1].role == "assistant":
        messages.pop()
    if not messages:
        raise LeftOut("there is no message to answer", where=where, fix="End it with a message of the user.")
    exchange = list(exchanges_of([*messages, Said("assistant", "")]))[-1]
    if not exchange.prompt.strip():
        raise LeftOut("the message to answer is empty", where=where)
    tools = tool_list(row.get(TOOLS), TOOLS, where)
    example = example_of_exchange(task, exchange, "", id=key, group="", tools=tools)
    return require_whole(replace(example, targets=()), where)
