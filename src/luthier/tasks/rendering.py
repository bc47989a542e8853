"""Rows to Examples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from luthier.config.advice import how_to_set
from luthier.errors import DataError, LuthierError, TaskError, did_you_mean
from luthier.files.value_text import answer_texts, from_json, value_text
from luthier.records import Example, Row
from luthier.tasks.row_keys import no_column
from luthier.tasks.rows.conversations import Exchange
from luthier.tasks.rows.left_out import LeftOut
from luthier.tasks.rows.messages import holds_messages, reasoning_of, tool_list
from luthier.tasks.rows.notes import RowNotes
from luthier.tasks.rows.preferences import as_bad, with_rejected
from luthier.tasks.rows.row_formats import (
    TOOLS,
    RowFormat,
    answer_is_wanted,
    exchanges,
    messages_of,
    refuse_pictures,
    system_of,
    turns_before,
    unread_columns,
)
from luthier.tasks.rows.splits import hash64
from luthier.tasks.rows.templates import Template, find_input
from luthier.tasks.schema import PromptTemplate, TargetSource, Task

MARKED = "answers are marked as not to be learned: they are left out, and stand as history alone"
UNASKED = "answers have no question before them: they are not learned, and stand as history alone"
REASONING_LEFT_OUT = "answers have reasoning apart from their text, which is left out as data.reasoning says"


def left_out_why(task: Task) -> str:
    """Return what the rows of a task that are left out have in common, as a message ends it."""
    if task.row_format is not None and task.row_format.rejected:
        return "hold no pair of a better and a worse answer to one prompt"
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
        listed = from_json(row.get(task.choices_column))
        return len(listed) if isinstance(listed, list | tuple) else 0
    if task.choices_lines is not None:
        return len(_lines(task.choices_lines, row))
    return len(task.choice_templates)


def render(
    task: Task, row: Row, *, key: str, group: str, split: str, evaluation: bool, where: str, notes: RowNotes
) -> Iterator[Example]:
    """Yield the examples of a row: one, or one for each answer of a conversation; none for an answer marked as bad.

    Args:
        task: Says how.
        row: The row.
        key: The row's id.
        group: Its group, or "".
        split: Its split; the targets may depend on it.
        evaluation: Whether to use the evaluation template instead of one drawn by the id.
        where: File and row, for messages.
        notes: Takes what the user must know of the row.

    Raises:
        LeftOut: When nothing can be learned from the row.
        LuthierError: When the row cannot be rendered.
    """
    if task.row_format is not None:
        notes.unread.update(unread_columns(row, task.row_format))
        refuse_pictures(row, where)
        wanted = answer_is_wanted(row, where)
        judged = task.bad_answers and task.row_format.judged and not wanted
        if not task.row_format.conversation and not wanted and not judged:
            notes.told[MARKED] += 1
            return
        for example in _of_row_format(task, row, wanted or judged, (key, group, split), evaluation, where, notes):
            if task.row_format.rejected:
                yield require_whole(with_rejected(example, row, task.row_format, where, notes), where)
            else:
                yield as_bad(example) if judged else example
        return
    template = task.evaluation_template if evaluation else _drawn(task, key)
    yield render_with(task, template, row, key=key, group=group, split=split, where=where)


def _of_row_format(
    task: Task,
    row: Row,
    wanted: bool,
    place: tuple[str, str, str],
    evaluation: bool,
    where: str,
    notes: RowNotes,
) -> Iterator[Example]:
    """Yield the examples of a row of a known format, without what was rejected; of its id, group and split."""
    assert task.row_format is not None
    key, group, split = place
    if task.row_format.conversation:
        yield from _conversation(task, row, wanted=wanted, key=key, group=group or key, where=where, notes=notes)
        return
    template = task.evaluation_template if evaluation else _drawn(task, key)
    example = render_with(task, template, row, key=key, group=group, split=split, where=where)
    yield _with_columns(task, task.row_format, example, row, where, notes)


def every_template(task: Task) -> Iterator[Template]:
    """Yield every template of a task."""
    for template in task.templates:
        yield from template.prompts or (template.prompt,)
        yield from (template.ending,) if template.ending else ()
        yield from template.targets.templates if template.targets else ()
    for source in (task.targets, *task.split_targets.values()):
        yield from source.templates
    yield from task.choice_templates
    others = (task.part, task.preamble, task.choices_lines, task.wrong_lines, task.group_template)
    yield from (one for one in others if one is not None)


def templates_of(task: Task, key: str, *, split: str, evaluation: bool) -> tuple[Template, ...]:
    """Return the templates that :func:`render` renders for a row that is made by templates; none for other rows."""
    if not task.templates:
        return ()
    template = task.evaluation_template if evaluation else _drawn(task, key)
    targets = (template.targets or task.split_targets.get(split, task.targets)).templates
    others = (task.part, task.preamble, task.choices_lines, task.wrong_lines)
    rest = [one for one in others if one is not None]
    choices = () if task.choices or task.choices_column is not None else task.choice_templates
    prompts = (template.prompt,) if template.ending is None else (*template.prompts, template.ending)
    return (*prompts, *targets, *choices, *rest)


def render_with(
    task: Task, template: PromptTemplate, row: Row, *, key: str, group: str, split: str, where: str
) -> Example:
    """Return the example that one template makes of a row; raises as :func:`render` does."""
    try:
        prompts = tuple(one.render(row) for one in template.prompts)
        ending = template.ending.render(row) if template.ending is not None else ""
        prompt = template.prompt.render(row)
        targets = _targets(task, template.targets or task.split_targets.get(split, task.targets), row)
        given = choices_of(task, row)
        span = find_input(prompt, row, input_column_of(task, row), template.prompt.render)
        part = task.part.render(row).strip() if task.part is not None else ""
        preamble = task.preamble.render(row) if task.preamble is not None else ""
        wrong = _lines(task.wrong_lines, row) if task.wrong_lines is not None else ()
    except LuthierError as fault:
        raise located(fault, where) from None
    if not prompt.strip() and not _scored_alone(task):
        raise LeftOut("the prompt is empty", where=where)
    if not targets:
        raise LeftOut("the target is empty", where=where)
    choices = given if task.joint is not None else _distinct(given, targets, where)
    if choices and (strays := [target for target in targets if target not in choices]):
        what = f"the target '{strays[0]}' is not among the choices"
        raise DataError(what, where=where, fix=did_you_mean(strays[0], choices))
    example = Example(
        id=key,
        task=task.name,
        template=template.name,
        prompt=prompts[choices.index(targets[0])] if prompts else prompt,
        targets=targets,
        choices=choices,
        input_span=None if prompts else span,
        group=group,
        part=part,
        preamble=preamble,
        choice_prompts=prompts,
        ending=ending,
        wrong=wrong,
    )
    return require_whole(example, where)


def _scored_alone(task: Task) -> bool:
    """Whether choices may have no prompt: whole sentences, each scored by itself."""
    return task.joint is not None and task.has_choices


def require_whole(example: Example, where: str) -> Example:
    """Return an example whose texts can be written: JSON can hold half of a character, files and tokenizers cannot."""
    texts = (
        example.id,
        example.group,
        example.preamble,
        example.system,
        example.prompt,
        *example.targets,
        *example.choices,
        *example.wrong,
        *example.rejected,
    )
    try:
        said = [*(message.content for message in example.messages), example.tools]
        "".join((*texts, *said, *(text for turn in example.turns for text in (turn.prompt, turn.reply)))).encode()
    except UnicodeEncodeError as fault:
        half = f"U+{ord(fault.object[fault.start]):04X}"
        raise DataError(f"the text holds half of a character ({half})", where=where, fix="Correct the text.") from None
    return example


def _drawn(task: Task, key: str) -> PromptTemplate:
    templates = task.training_templates
    return templates[hash64(key, "luthier words") % len(templates)]


def _targets(task: Task, source: TargetSource, row: Row) -> tuple[str, ...]:
    """Return the targets that are not empty, without blanks around them where the task does not join them as is."""
    if source.column is not None:
        if source.column not in row:
            raise no_column(source.column, row, "")
        listed = answer_texts(from_json(row[source.column]))
        if listed is None:
            raise DataError(f"column '{source.column}' is not a list of answers")
        texts = listed
    elif source.lines:
        texts = _lines(source.templates[0], row)
    else:
        texts = tuple(template.render(row) for template in source.templates)
    if task.joint is not None:
        return tuple(text for text in texts if text.strip())
    return tuple(stripped for text in texts if (stripped := text.strip()))


def choices_of(task: Task, row: Row) -> tuple[str, ...]:
    """Return the choices of a row, one that stands twice counted twice; none for free text.

    Raises:
        DataError: When they cannot be read, or are fewer than two.
    """
    if task.choices:
        return task.choices
    if task.choices_column is not None:
        if task.choices_column not in row:
            raise no_column(task.choices_column, row, "")
        listed = from_json(row[task.choices_column])
        if not isinstance(listed, list | tuple):
            raise DataError(f"column '{task.choices_column}' is not a list of choices")
        choices = tuple(map(value_text, listed))
    elif task.choices_lines is not None:
        choices = _lines(task.choices_lines, row)
    else:
        rendered = (template.render(row) for template in task.choice_templates)
        choices = tuple(text if task.joint is not None else text.strip() for text in rendered)
    if len(choices) == 1 or any(not choice for choice in choices):
        raise DataError("a row needs two choices or more, none of them empty")
    return choices


def _lines(template: Template, row: Row) -> tuple[str, ...]:
    """Return the lines of a text that are not empty."""
    return tuple(line for line in template.render(row).split("\n") if line.strip())


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


def input_column_of(task: Task, row: Row) -> str | None:
    """Return the column of the input text, if the row has it; raises TaskError where a task from YAML names another."""
    column = task.input_column
    if column is not None and column not in row and task.row_format is None:
        raise TaskError(f"the input column '{column}' does not exist", fix=did_you_mean(column, map(str, row)))
    return column if column in row else None


def _with_columns(
    task: Task, row_format: RowFormat, example: Example, row: Row, where: str, notes: RowNotes
) -> Example:
    """Return the example of a row of texts with what stands in columns beside its prompt and its answer."""
    for column in row_format.columns:
        if not isinstance(row.get(column), str) and holds_messages(row.get(column)):
            what = f"column '{column}' holds messages, and a text in the first row"
            raise DataError(what, where=where, fix="Write all rows alike.")
    if tool_list(row.get(TOOLS), TOOLS, where):
        raise LeftOut("tools are offered beside a prompt that is a text", where=where, fix="Write messages instead.")
    reply = _with_reasoning(task, example.targets[0], reasoning_of(row), where, notes)
    targets = (reply, *example.targets[1:])
    whole = replace(example, targets=targets, system=system_of(row), turns=turns_before(row, where))
    return require_whole(whole, where)


def _with_reasoning(task: Task, reply: str, reasoning: str, where: str, notes: RowNotes) -> str:
    """Return an answer with the reasoning that a row holds apart from it, or without, as ``data.reasoning`` says."""
    if not reasoning.strip():
        return reply
    if task.reasoning == "learn":
        return f"<think>\n{reasoning.strip()}\n</think>\n\n{reply}"
    if task.reasoning == "leave_out":
        notes.told[REASONING_LEFT_OUT] += 1
        return reply
    what = "an answer has reasoning apart from its text (reasoning_content)"
    learn, leave_out = (how_to_set("data.reasoning", word) for word in ("learn", "leave_out"))
    fix = f"Say what becomes of it: {learn} (before the answer, in <think>), or {leave_out}."
    raise DataError(what, where=where, fix=fix)


def _conversation(
    task: Task, row: Row, *, wanted: bool, key: str, group: str, where: str, notes: RowNotes
) -> Iterator[Example]:
    assert task.row_format is not None
    if task.row_format.conversation not in row:  # of published collections some rows have no conversation, but a column
        raise no_column(task.row_format.conversation, row, where)
    tools = tool_list(row.get(TOOLS), TOOLS, where)
    messages = messages_of(row, task.row_format, where)
    notes.unread.update({f"messages: {key}" for message in messages for key in message.unread})
    conversation = list(exchanges(messages, task.row_format, where))
    if not any(exchange.prompt for exchange in conversation):
        raise LeftOut("the assistant speaks first", where=where, fix="Let an answer follow a message of the user.")
    for number, exchange in enumerate(conversation):
        last = number == len(conversation) - 1
        if exchange.marked or (last and not wanted):
            notes.told[MARKED] += 1
        elif not exchange.learned:
            notes.told[UNASKED] += 1
        elif not exchange.prompt.strip() or not exchange.reply.strip():
            raise LeftOut(f"message {number + 1} is empty", where=where)
        else:
            reasoning = reasoning_of(row) if last and not exchange.reasoning else exchange.reasoning
            reply = _with_reasoning(task, exchange.reply.strip(), reasoning, where, notes)
            example = example_of_exchange(task, exchange, reply, id=f"{key}#{number}", group=group, tools=tools)
            yield require_whole(example, where)


def example_of_exchange(task: Task, exchange: Exchange, reply: str, *, id: str, group: str, tools: str) -> Example:
    """Return the example of one exchange of a conversation."""
    assert task.row_format is not None
    asked, answer = exchange.prompt, exchange.answer
    thought = reply.removesuffix(exchange.reply.strip())
    if answer is not None and thought:
        answer = replace(answer, content=thought + answer.content)
    begin = len(asked) - len(exchange.last or asked)
    start = begin + len(asked[begin:]) - len(asked[begin:].lstrip())
    return Example(
        id=id,
        task=task.name,
        template=task.row_format.name,
        prompt=asked,
        targets=(reply,),
        input_span=(start, max(start, len(asked.rstrip()))),
        turns=exchange.turns,
        system=exchange.system,
        group=group,
        messages=exchange.messages,
        answer=answer,
        tools=tools,
    )


def located(fault: LuthierError, where: str) -> LuthierError:
    """Return a template's fault with the row on which it happened."""
    return type(fault)(fault.what, where=f"{where} ({fault.where})" if fault.where else where, fix=fault.fix)
