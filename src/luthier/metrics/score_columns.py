"""The columns of a file that is scored: its answers, its references, and its ids.

Text has one item a line. Tables are recognised by the names of their columns. Every fault names the file and the line,
or the row where rows have no lines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from luthier.errors import DataError, LuthierError, did_you_mean, raise_faults
from luthier.files.size_limit import SizeLimit
from luthier.files.tables import TableFormat, read_table
from luthier.files.text_lines import text_lines
from luthier.files.value_text import answer_texts, from_json, is_missing, value_text
from luthier.records import Row

PREDICTION_COLUMNS = ("prediction", "predicted", "pred", "hypothesis", "output", "generated", "text")
REFERENCE_COLUMNS = ("references", "reference", "targets", "target", "gold", "label", "answer", "summary")
ID_COLUMNS = ("id", "example_id", "idx")


@dataclass(frozen=True)
class Column:
    """One column of texts.

    Attributes:
        path: Of the file.
        texts: For each row its texts.
        numbers: For each row its number in the file.
        numbered: What the numbers count: ``"line"`` or ``"row"``.
        ids: For each row its id; None where the file has none.
    """

    path: Path
    texts: list[tuple[str, ...]]
    numbers: list[int]
    numbered: str = "line"
    ids: list[str] | None = None

    def where(self, place: int) -> str:
        """Name the place of a row in the file."""
        return f"{self.path}, {self.numbered} {self.numbers[place]}"


@dataclass(frozen=True)
class Table:
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


def text_column(path: Path, limit: SizeLimit) -> Column:
    """Read a text file, one item a line.

    Raises:
        DataError: It cannot be read, or is longer than the limit.
    """
    texts: list[tuple[str, ...]] = []
    numbers: list[int] = []
    for number, line in text_lines(path, limit):
        texts.append((line.removesuffix("\n").removesuffix("\r"),))
        numbers.append(number)
    return Column(path, texts, numbers)


def table_of(path: Path, kind: str, limit: SizeLimit) -> Table:
    """Read a table of the given format.

    Raises:
        DataError: It cannot be read, is longer than the limit, or has no rows.
        Faults: Several rows are malformed.
    """
    table = TableFormat(kind)
    numbers: list[int] = []
    rows: list[Row] = []
    for number, row in read_table(path, table, limit):
        numbers.append(number)
        rows.append(row)
    if not rows:
        raise DataError("The table has no rows.", where=str(path), fix="Check the path and the header.")
    return Table(path, rows, numbers, table.numbered)


def prediction_column(table: Table, name: str) -> Column:
    """Return the answers of a table: one text in each row, empty where it is null.

    Args:
        table: The table.
        name: The column; "" to recognise it.

    Raises:
        DataError: There is no such column, or a row has no one answer.
        Faults: Several rows have none.
    """
    return _column(table, _name(table, name, PREDICTION_COLUMNS, "prediction"), "prediction", _prediction)


def reference_column(table: Table, name: str) -> Column:
    """Return the references of a table: one text or several in each row.

    Raises:
        DataError: There is no such column, or a row has no reference: no answer equals a reference that is null.
        Faults: Several rows have none.
    """
    return _column(table, _name(table, name, REFERENCE_COLUMNS, "reference"), "reference", _references)


def _name(table: Table, column: str, known: Sequence[str], what: str) -> str:
    first = table.rows[0]
    name = column or next((name for name in known if name in first), "")
    if name not in first:
        asked = f"has no column '{name}'" if name else f"has no column that looks like a {what}"
        raise DataError(f"The table {asked}.", where=str(table.path), fix=did_you_mean(name or what, first))
    return name


def _column(table: Table, name: str, what: str, texts_of: Callable[[object], tuple[str, ...]]) -> Column:
    faults: list[LuthierError] = []
    texts: list[tuple[str, ...]] = []
    for place, row in enumerate(table.rows):
        try:
            if name not in row:
                raise DataError("missing")
            texts.append(texts_of(row[name]))
        except DataError as fault:
            fix = fault.fix or f"Give one {what} in every row."
            faults.append(DataError(f"'{name}' is {fault.what}.", where=table.where(place), fix=fix))
    raise_faults(f"{len(faults)} rows of {table.path} have no usable {what}", faults)
    return Column(table.path, texts, table.numbers, table.numbered)


def _prediction(value: object) -> tuple[str, ...]:
    items = tuple(map(value_text, value)) if isinstance(value, list) else (value_text(value),)
    if len(items) != 1:
        raise DataError(f"a list of {len(items)}")
    return items


def _references(value: object) -> tuple[str, ...]:
    answers = answer_texts(_squad_from_text(value))
    if is_missing(value) or answers == ():
        raise DataError("missing")
    return (value_text(value),) if answers is None else answers


def _squad_from_text(value: object) -> object:
    """Return SQuAD's answers as they stand in a CSV file; any other value as it is."""
    written = isinstance(value, str) and value.startswith("{") and '"answer_start"' in value
    return from_json(value) if written else value


def with_ids(column: Column, table: Table, name: str) -> Column:
    """Return a column with the ids of its rows; as it is where the table has none and none were asked for.

    Args:
        column: A column of the table.
        table: The table.
        name: The column of the ids; "" to recognise it.

    Raises:
        DataError: There is no such column, or an id is empty or stands twice.
        Faults: Several are.
    """
    first = table.rows[0]
    if name and name not in first:
        fix = f"Pair the rows by their order with another --id-column, or add the ids. {did_you_mean(name, first)}"
        raise DataError(f"The table has no column '{name}'.", where=str(table.path), fix=fix)
    name = name or next((known for known in ID_COLUMNS if known in first), "")
    if not name:
        return column
    places: dict[str, int] = {}
    faults: list[LuthierError] = []
    for place, row in enumerate(table.rows):
        value = value_text(row.get(name))
        fix = "Give every row its own id, or name another column with --id-column."
        if not value:
            faults.append(DataError(f"The {name} is empty.", where=table.where(place), fix=fix))
        elif value in places:
            what = f"The {name} '{value}' stands in {table.numbered}s {table.numbers[places[value]]} and "
            faults.append(DataError(f"{what}{table.numbers[place]}.", where=table.where(place), fix=fix))
        places.setdefault(value, place)
    raise_faults(f"{len(faults)} rows of {table.path} have no id of their own", faults)
    return replace(column, ids=list(places))


def aligned(truth: Column, given: Column) -> Column:
    """Return references in the order of the answers: by their ids where both have them, else row by row.

    Raises:
        DataError: An id stands on one side only, or the files differ in length.
        Faults: Several ids do.
    """
    if given.ids is None or truth.ids is None:
        _check_rows(given, truth)
        return truth
    place_of = {identity: place for place, identity in enumerate(truth.ids)}
    known = set(given.ids)
    faults: list[LuthierError] = [
        DataError(
            f"The id '{identity}' has no {what} in {other.path}.",
            where=side.where(place),
            fix="Give both files the same ids, or name another column with --id-column.",
        )
        for side, other, ids, what in (
            (given, truth, place_of.keys(), "reference"),
            (truth, given, known, "prediction"),
        )
        for place, identity in enumerate(side.ids or ())
        if identity not in ids
    ]
    raise_faults(f"{len(faults)} ids stand in only one of {given.path} and {truth.path}", faults)
    order = [place_of[identity] for identity in given.ids]
    return replace(
        truth,
        texts=[truth.texts[place] for place in order],
        numbers=[truth.numbers[place] for place in order],
        ids=given.ids,
    )


def _check_rows(given: Column, truth: Column) -> None:
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


def check_filled(columns: Sequence[Column]) -> None:
    """Refuse texts that are empty.

    Raises:
        DataError: One is.
        Faults: Several are.
    """
    faults: list[LuthierError] = [
        DataError(
            "The text is empty.",
            where=column.where(place),
            fix="Fill it, or score it as an empty answer with --allow-empty.",
        )
        for column in columns
        for place, texts in enumerate(column.texts)
        if not all(text.strip() for text in texts)
    ]
    raise_faults(f"{len(faults)} texts are empty", faults)
