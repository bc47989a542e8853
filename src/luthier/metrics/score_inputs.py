"""Predictions and references from anybody's files: text, any table that training reads, or the log of a run.

Text has one item a line. Tables are recognised by the names of their columns. Every fault names the file and the line,
or the row where rows have no lines.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from luthier.errors import DataError, LuthierError, did_you_mean, raise_faults
from luthier.files.tables import TableFormat, read_table, recognise_format_or_text
from luthier.files.text_lines import text_lines
from luthier.files.value_text import answer_texts, is_missing, value_text
from luthier.metrics.prediction_log import read_predictions
from luthier.records import Prediction, Row

PREDICTION_COLUMNS = ("prediction", "predicted", "pred", "hypothesis", "output", "generated", "text")
REFERENCE_COLUMNS = ("references", "reference", "targets", "target", "gold", "label", "answer", "summary")
ID_COLUMNS = ("id", "example_id", "idx")
_LOG_FIELDS = {"id", "task", "text", "targets"}
_LOG_NAME = "predictions.jsonl"


@dataclass(frozen=True)
class System:
    """What one system answered.

    Attributes:
        name: How it is called in tables: the file's name.
        predictions: Its answers, in the order of the file.
        columns: Further columns of the file, as text, for `--by`.
    """

    name: str
    predictions: list[Prediction]
    columns: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Columns:
    """Names of the columns to use; "" to recognise them."""

    prediction: str = ""
    reference: str = ""
    identity: str = ""


@dataclass(frozen=True)
class ScoreInputs:
    """Which files to score.

    Attributes:
        predictions: One file for each system: text with one answer a line, a table, a log of a run, or its folder.
        references: Files with the right answers; several are several references for each example. None where the
            prediction files hold them.
        columns: Columns of tables.
        allow_empty: Score empty lines as empty answers instead of refusing them.
    """

    predictions: tuple[Path, ...]
    references: tuple[Path, ...] = ()
    columns: Columns = Columns()
    allow_empty: bool = False


def load_systems(inputs: ScoreInputs) -> list[System]:
    """Read what several systems answered to the same examples.

    Raises:
        DataError: A file cannot be read, or does not fit the others; the file and the line are named.
        Faults: Several such faults.
    """
    truths = [_load_references(path, inputs.columns.reference) for path in inputs.references]
    names = _names(inputs.predictions)
    return [
        _load_system(path, name, truths, inputs.columns, allow_empty=inputs.allow_empty)
        for path, name in zip(inputs.predictions, names, strict=True)
    ]


@dataclass(frozen=True)
class _Column:
    """One column of texts.

    Attributes:
        path: Of the file.
        texts: For each row its texts.
        numbers: For each row its number in the file.
        numbered: What the numbers count: ``"line"`` or ``"row"``.
    """

    path: Path
    texts: list[tuple[str, ...]]
    numbers: list[int]
    numbered: str = "line"

    def where(self, place: int) -> str:
        """Name the place of a row in the file."""
        return f"{self.path}, {self.numbered} {self.numbers[place]}"


@dataclass(frozen=True)
class _Table:
    """The rows of a file, each with its number.

    Attributes:
        path: Of the file.
        rows: As the file has them.
        numbers: Of the rows.
        numbered: What the numbers count.
    """

    path: Path
    rows: list[Row]
    numbers: list[int]
    numbered: str

    def where(self, place: int) -> str:
        """Name the place of a row in the file."""
        return f"{self.path}, {self.numbered} {self.numbers[place]}"


def _load_system(path: Path, name: str, truths: Sequence[_Column], columns: Columns, *, allow_empty: bool) -> System:
    path = path / _LOG_NAME if path.is_dir() else path
    kind = recognise_format_or_text(path)
    if kind == "text":
        if not truths:
            raise DataError(
                "There is nothing to compare these lines with.",
                where=str(path),
                fix="Give the right answers with --references.",
            )
        given, ids, more = _text_column(path), None, {}
    else:
        table = _read_table(path, kind)
        if not truths and not columns.prediction and set(table.rows[0]) >= _LOG_FIELDS:
            return _from_log(path, name)
        given = _column_of(table, columns.prediction, PREDICTION_COLUMNS, "prediction")
        ids = _ids(table, columns.identity)
        more = {key: [value_text(row.get(key)) for row in table.rows] for key in table.rows[0]}
        if not truths:
            truths = [_column_of(table, columns.reference, REFERENCE_COLUMNS, "reference")]
    for truth in truths:
        _check_rows(given, truth)
    _check_filled([given, *truths], allow_empty=allow_empty)
    targets = [tuple(text for truth in truths for text in truth.texts[i]) for i in range(len(given.texts))]
    ids = ids or [str(i + 1) for i in range(len(targets))]
    groups = more.get("group", [""] * len(targets))
    predictions = [
        Prediction(id=ids[i], task="score", text=given.texts[i][0], targets=targets[i], group=groups[i])
        for i in range(len(targets))
    ]
    return System(name, predictions, more)


def _from_log(path: Path, name: str) -> System:
    predictions = read_predictions(path)
    columns = {key: [str(getattr(p, key)) for p in predictions] for key in ("task", "finish", "group")}
    return System(name, predictions, columns)


def _load_references(path: Path, column: str) -> _Column:
    kind = recognise_format_or_text(path)
    if kind == "text":
        return _text_column(path)
    return _column_of(_read_table(path, kind), column, REFERENCE_COLUMNS, "reference")


def _check_rows(given: _Column, truth: _Column) -> None:
    got, wanted = len(given.texts), len(truth.texts)
    if got == wanted:
        return
    shorter, longer = (given, truth) if got < wanted else (truth, given)
    raise DataError(
        f"{given.path} has {got:,} rows and {truth.path} has {wanted:,}.",
        where=longer.where(len(shorter.texts)),
        fix=f"That {longer.numbered} has no counterpart: complete {shorter.path}, or check that no text holds a line "
        "break.",
    )


def _check_filled(columns: Sequence[_Column], *, allow_empty: bool) -> None:
    if allow_empty:
        return
    faults: list[LuthierError] = [
        DataError(
            "The text is empty.",
            where=column.where(place),
            fix="Fill it, or score it as an empty answer with --allow-empty.",
        )
        for column in columns
        for place, texts in enumerate(column.texts)
        if not texts or not all(text.strip() for text in texts)
    ]
    raise_faults(f"{len(faults)} texts are empty", faults)


def _text_column(path: Path) -> _Column:
    texts: list[tuple[str, ...]] = []
    numbers: list[int] = []
    for number, line in text_lines(path):
        texts.append((line.removesuffix("\n").removesuffix("\r"),))
        numbers.append(number)
    return _Column(path, texts, numbers)


def _read_table(path: Path, kind: str) -> _Table:
    table = TableFormat(kind)
    numbers: list[int] = []
    rows: list[Row] = []
    for number, row in read_table(path, table):
        numbers.append(number)
        rows.append(row)
    if not rows:
        raise DataError("The table has no rows.", where=str(path), fix="Check the path and the header.")
    return _Table(path, rows, numbers, table.numbered)


def _column_of(table: _Table, column: str, known: Sequence[str], what: str) -> _Column:
    first = table.rows[0]
    name = column or next((name for name in known if name in first), "")
    if name not in first:
        asked = f"has no column '{name}'" if name else f"has no column that looks like a {what}"
        raise DataError(f"The table {asked}.", where=str(table.path), fix=did_you_mean(name or what, first))
    faults: list[LuthierError] = []
    texts: list[tuple[str, ...]] = []
    for place, row in enumerate(table.rows):
        try:
            texts.append(_texts(row, name, what))
        except DataError as fault:
            faults.append(DataError(fault.what, where=table.where(place), fix=fault.fix))
    raise_faults(f"{len(faults)} rows of {table.path} have no usable {what}", faults)
    return _Column(table.path, texts, table.numbers, table.numbered)


def _texts(row: Row, name: str, what: str) -> tuple[str, ...]:
    """Return the one prediction, or the references, of a row.

    A prediction that is null is an empty answer. A reference that is null is none at all: no answer equals it.
    """
    fix = f"Give one {what} in every row."
    if name not in row:
        raise DataError(f"'{name}' is missing.", fix=fix)
    value = row[name]
    if what == "prediction":
        items = tuple(map(value_text, value)) if isinstance(value, list) else (value_text(value),)
        if len(items) != 1:
            raise DataError(f"'{name}' is a list of {len(items)}.", fix=fix)
        return items
    answers = answer_texts(_squad_from_text(value))
    if is_missing(value) or answers == ():
        raise DataError(f"'{name}' is missing.", fix=fix)
    return (value_text(value),) if answers is None else answers


def _squad_from_text(value: object) -> object:
    """Return SQuAD's answers as they stand in a CSV file; any other value as it is."""
    if isinstance(value, str) and value.startswith("{") and '"answer_start"' in value:
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _ids(table: _Table, column: str) -> list[str] | None:
    name = column or next((name for name in ID_COLUMNS if name in table.rows[0]), "")
    if not name:
        return None
    first: dict[str, int] = {}
    for place, row in enumerate(table.rows):
        value = value_text(row.get(name))
        if value in first:
            raise DataError(
                f"The {name} '{value}' stands in {table.numbered}s {first[value]} and {table.numbers[place]}.",
                where=table.where(place),
                fix="Give every row its own id, or name another column with --id-column.",
            )
        first[value] = table.numbers[place]
    return list(first)


def _names(paths: Sequence[Path]) -> list[str]:
    """Return short names that tell the files apart."""
    short = [path.name if path.suffix else path.stem for path in paths]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]


def values_of(system: System, column: str) -> Iterator[tuple[str, list[Prediction]]]:
    """Yield the predictions by the values of a column, in the order of their first appearance.

    Raises:
        DataError: There is no such column.
    """
    if column not in system.columns:
        known = did_you_mean(column, system.columns) if system.columns else "Text files have no columns: use a table."
        raise DataError(f"There is no column '{column}'.", where=system.name, fix=known)
    parts: dict[str, list[Prediction]] = {}
    for value, prediction in zip(system.columns[column], system.predictions, strict=True):
        parts.setdefault(value, []).append(prediction)
    yield from parts.items()
