"""What a row says of answers that were judged: which were rejected, by what margin, and which prompt it is about.

rejected        one answer, or a list of several; each is another pair with the chosen one
margin          by how much the chosen answer is better: a number, or a list with one for each rejected answer
label           of a single answer: whether it is good (also kto_tag, desirable)
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b

from luthier.errors import DataError, LuthierError
from luthier.files.value_text import is_missing, value_text
from luthier.records import Example, Row
from luthier.tasks.rows.conversations import Exchange, exchanges_of
from luthier.tasks.rows.left_out import LeftOut
from luthier.tasks.rows.messages import holds_messages
from luthier.tasks.rows.notes import RowNotes
from luthier.tasks.rows.row_formats import (
    ANSWER_COLUMNS,
    HISTORY,
    MARGIN,
    SYSTEM,
    TOOLS,
    RowFormat,
    messages_of,
)

SAME = "the chosen and the rejected answer are the same"
SAME_AMONG_SEVERAL = "rejected answers are the chosen one: they are left out"
_BESIDE = (*SYSTEM, HISTORY, TOOLS)


def prompt_key(row: Row, row_format: RowFormat, where: str) -> str:
    """Return a digest of what a row asks, so that all its answers stand in one split; "" where it cannot be read."""
    try:
        if row_format.conversation:
            said = messages_of(row, row_format, where)
            asked = [(one.role, one.content.strip()) for one in said]
            while asked and asked[-1][0] == "assistant":
                asked.pop()
            texts = [text for one in asked for text in one]
        else:
            columns = [name for name in row_format.columns if name not in ANSWER_COLUMNS]
            texts = [value_text(row.get(name)).strip() for name in (*columns, *_BESIDE)]
    except LuthierError:
        return ""  # what is wrong is said where the row is put into words
    return blake2b(json.dumps(texts).encode(), digest_size=8).hexdigest()


def with_rejected(example: Example, row: Row, row_format: RowFormat, where: str, notes: RowNotes) -> Example:
    """Return the example of a row of preferences with its rejected answers and their margins.

    Raises:
        LeftOut: There is none, it is empty, it is the chosen answer, or it answers another prompt.
        DataError: A margin is no number, or there is not one for each rejected answer.
    """
    values = _several(row.get(row_format.rejected))
    texts = [_text(example, {**row, row_format.rejected: value}, row_format, where) for value in values]
    margins = _margins(row.get(MARGIN), len(texts), where)
    kept = [place for place, text in enumerate(texts) if text != example.targets[0]]
    if not kept:
        raise LeftOut(SAME, where=where, fix="Give two answers of which one is better, or leave the row out.")
    if len(kept) < len(texts):
        notes.told[SAME_AMONG_SEVERAL] += len(texts) - len(kept)
    return replace(
        example,
        rejected=tuple(texts[place] for place in kept),
        margins=tuple(margins[place] for place in kept) if margins else (),
    )


def as_bad(example: Example) -> Example:
    """Return the example of an answer that was found bad: no target, and the answer among the rejected ones."""
    return replace(example, targets=(), rejected=example.targets[:1], answer=None)


def _several(value: object) -> Sequence[object]:
    """Return the rejected answers of a row, as it holds them: texts, or messages."""
    if isinstance(value, list | tuple) and value and not holds_messages(value):
        return value
    return [value]


def _text(example: Example, row: Row, row_format: RowFormat, where: str) -> str:
    """Return one rejected answer."""
    value = row[row_format.rejected]
    if is_missing(value):
        raise LeftOut("there is no rejected answer", where=where, fix="A pair needs both sides: chosen and rejected.")
    if not row_format.conversation:
        if holds_messages(value):
            what = f"column '{row_format.rejected}' holds messages, and the chosen answer is a text"
            raise DataError(what, where=where, fix="Write both answers alike.")
        text = value_text(value).strip()
    else:
        text = _last_reply(example, row, row_format, where)
    if not text:
        raise LeftOut("the rejected answer is empty", where=where)
    return text


def _last_reply(example: Example, row: Row, row_format: RowFormat, where: str) -> str:
    """Return the last answer of the rejected conversation, which must answer what the chosen one does."""
    other = (
        replace(row_format, answer=row_format.rejected)
        if row_format.answer
        else replace(row_format, conversation=row_format.rejected)
    )
    found = list(exchanges_of(messages_of(row, other, where)))
    if not found:
        raise LeftOut("the rejected conversation has no answer of the assistant", where=where)
    last = found[-1]
    if last.answer is not None:
        raise LeftOut("the rejected answer calls tools, which only a chosen one can", where=where)
    if not _same_prompt(example, last):
        fix = "Both conversations of a pair must be the same up to their last answer."
        raise LeftOut("the chosen and the rejected answer stand after other messages", where=where, fix=fix)
    return last.reply.strip()


def _same_prompt(example: Example, other: Exchange) -> bool:
    own = (example.prompt, example.turns, example.system, example.messages)
    return own == (other.prompt, other.turns, other.system, other.messages)


def _margins(value: object, count: int, where: str) -> list[float]:
    """Return the margin of each rejected answer; none where the row has none."""
    if value is None or value == "":
        return []
    values = list(value) if isinstance(value, list | tuple) else [value] * count
    if len(values) != count:
        what = f"{len(values)} margins stand beside {count} rejected answers"
        raise DataError(what, where=where, fix="Give one for each, or one for all of them.")
    return [_margin(one, where) for one in values]


def _margin(value: object, where: str) -> float:
    try:
        found = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        what = f"the margin is {value_text(value) or 'NaN'}, which is no number"
        raise DataError(what, where=where, fix="Write a finite number, or leave the column out.")
    return found
