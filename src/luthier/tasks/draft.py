"""A first task YAML for a data file of no known format: made from its rows, to be corrected by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from luthier.errors import TaskError
from luthier.files.atomic import write_atomically
from luthier.records import Row
from luthier.tasks.columns import (
    ANSWERS,
    CHOICES,
    IDS,
    LABELS,
    READ,
    Column,
    label_column,
    named,
    read_columns,
    text_columns,
)
from luthier.tasks.from_row_format import task_name
from luthier.tasks.rows.messages import parsed
from luthier.tasks.rows.sources import Source, given_splits, pin, read_rows
from luthier.user_path import user_path

_SHOWN_WORDS = 50


def draft_task(source: Source, place: str) -> str | None:
    """Return the text of a task YAML for the rows of a source, or None where its columns say nothing.

    Args:
        source: Where the rows are.
        place: How the YAML names it.
    """
    parts = given_splits(pin(source)) or {"all": source}
    rows = chain.from_iterable(read_rows(part) for part in parts.values())
    first = next(rows)
    columns, count = read_columns(chain([first], rows))
    label = label_column(columns)
    options = next((column for column in named(columns, CHOICES) if column.lists == column.filled), None)
    if options is not None:
        body = _of_row_choices(columns, options, first)
    elif label is not None and len(columns) > 1:
        body = _of_labels(columns, label)
    elif len(columns) == 1:
        body = _of_text(next(iter(columns.values())))
    else:
        body = _of_answers(columns)
    if body is None:
        return None
    read = f"the first {count:,} rows" if count == READ else f"{count:,} rows"
    unique = next((item for item in named(columns, IDS) if len(item.values) == item.filled == count), None)
    head = [
        f"# A draft, made from {read}: read it, and put it into your words.",
        f"name: {_quoted(task_name(source.path))}",
        f"source: {_quoted(place)}",
        *([f"id: {_quoted(unique.name)}"] if unique is not None and count < READ else []),
    ]
    return "\n".join([*head, *body]) + "\n"


def write_draft(data: str, out: Path | None) -> Path:
    """Write a first task YAML for a data file, and return where it is: beside the data where ``out`` is not given.

    Raises:
        TaskError: When something is there already, or nothing can be drafted.
        LuthierError: When the rows cannot be read.
    """
    on_hub = data.startswith("hf:")
    path = user_path(data)
    folder = Path() if on_hub else path.parent
    written = out or folder / f"{task_name(data)}.yaml"
    if written.exists():
        raise TaskError("something is there already", where=str(written), fix="Choose another file with --out.")
    beside = not on_hub and written.parent.resolve() == path.parent.resolve()
    place = data if on_hub else path.name if beside else str(path.resolve())
    text = draft_task(Source(data if on_hub else str(path)), place)
    if text is None:
        what = "nothing in the columns says what is asked and what is answered"
        raise TaskError(what, where=data, fix="Write a task YAML by hand (docs/tasks.md).")
    written.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(written, text)
    return written


def _of_labels(columns: dict[str, Column], label: Column) -> list[str]:
    answers = sorted(label.values, key=lambda text: (len(text), text) if label.numbers else (0, text))
    numbered = label.numbers or all(answer.isdigit() for answer in answers)
    note = ["# The labels are numbers. A model knows words better: put them here, and under choices, in this order:"]
    note += [f"#   target: \"{{{{ ['…', '…'][{_expression(label.name)}|int] }}}}\""]
    asked = f"Which {_words(label.name)} fits: {', '.join(answers[:-1])} or {answers[-1]}?"
    return [
        *(note if numbered else []),
        f"target: {_quoted(_shown(label.name))}",
        f"choices: [{', '.join(map(_quoted, answers))}]",
        f"chance: {1 / len(answers):.4g}",
        "metrics: [accuracy]",
        *_templates(text_columns(columns, label.name), asked),
    ]


def _of_row_choices(columns: dict[str, Column], options: Column, first: Row) -> list[str] | None:
    label = next((column for column in named(columns, ("gold", *LABELS)) if column is not options), None)
    if label is None:
        return None
    value, held = first.get(label.name), first.get(options.name)
    choices = parsed(held) if isinstance(held, str) else held
    known = list(map(str, choices)) if isinstance(choices, list | tuple) else []
    gold, listed = _expression(label.name), _expression(options.name)
    if str(value) in known and not isinstance(value, int):
        target = _shown(label.name)
    elif str(value).isdigit():
        target = f"{{{{ {listed}[{gold}|int] }}}}"
    elif len(str(value)) == 1 and str(value).isalpha():
        target = f"{{{{ {listed}['ABCDEFGHIJ'.index({gold})] }}}}"
    else:
        return None
    return [
        f"target: {_quoted(target)}",
        f"choices_column: {_quoted(options.name)}",
        *([f"chance: {1 / len(known):.4g}"] if known else []),
        "metrics: [accuracy]",
        *_templates(text_columns(columns, label.name), "Answer:"),
    ]


def _of_text(column: Column) -> list[str]:
    words = f"{_expression(column.name)}.split()"
    begin, rest = (f"{{{{ {words}[{part}]|join(' ') }}}}" for part in (f":{_SHOWN_WORDS}", f"{_SHOWN_WORDS}:"))
    return [
        "# One column of texts has no question and no answer: a text is continued here after its first words.",
        f"target: {_quoted(rest)}",
        "metrics: [rouge]",
        "chat: false",
        "templates:",
        "  - name: continue",
        f"    prompt: {_quoted(begin)}",
    ]


def _of_answers(columns: dict[str, Column]) -> list[str] | None:
    texts = [column for column in columns.values() if column.filled and column.name.lower() not in IDS]
    answer = next(iter(named(columns, ANSWERS)), None) or (texts[-1] if len(texts) > 1 else None)
    if answer is None:
        return None
    several = answer.lists == answer.filled
    target = f"targets_column: {_quoted(answer.name)}" if several else f"target: {_quoted(_shown(answer.name))}"
    return [
        target,
        "metrics: [rouge, exact_match]",
        *_templates(text_columns(columns, answer.name), f"{_words(answer.name).capitalize()}:"),
    ]


def _templates(texts: Sequence[Column], asked: str) -> list[str]:
    alone = len(texts) == 1
    shown = [_shown(text.name) if alone else f"{_words(text.name).capitalize()}: {_shown(text.name)}" for text in texts]
    prompt = [f"      {line}" for line in [*shown, asked.replace("{", "(").replace("}", ")")]]
    return ["templates:", "  - name: plain", "    prompt: |-", *prompt]


def _expression(column: str) -> str:
    """Return the Jinja expression of a column."""
    return column if column.isidentifier() and column.isascii() else f"row[{_quoted(column)}]"


def _shown(column: str) -> str:
    return f"{{{{ {_expression(column)} }}}}"


def _words(column: str) -> str:
    return " ".join("".join(mark if mark.isalnum() else " " for mark in column).split()) or "answer"


def _quoted(text: str) -> str:
    """Return a text in double quotes, as YAML and Jinja read it alike."""
    return json.dumps(text, ensure_ascii=not text.isprintable())
