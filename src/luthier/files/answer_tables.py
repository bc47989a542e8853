"""Rows with further columns, written in the format that they came in or that a file's suffix says."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from luthier.errors import ConfigError, DataError, first_line
from luthier.files.atomic import write_atomically
from luthier.files.tables import SUFFIXES
from luthier.files.value_text import json_text, value_text
from luthier.records import Row

_OTHERWISE = "Write CSV or JSONL; what was answered is kept, and need not be answered again."
WRITTEN = ("jsonl", "json", "csv", "tsv", "parquet")


def written_format(path: Path) -> str:
    """Return the format in which a file of this name is written.

    Raises:
        ConfigError: When its suffix is of none.
    """
    found = SUFFIXES.get(path.suffix.lower(), "")
    if found in WRITTEN:
        return found
    raise ConfigError(
        f"cannot tell the format of '{path.name}' from its suffix",
        where="out",
        fix="End it with .csv, .tsv, .jsonl, .json or .parquet.",
    )


def table_bytes(rows: Sequence[Row], name: str) -> bytes:
    """Return rows as a file holds them.

    Args:
        rows: All with the same columns in the same order, or some without a column that others have.
        name: One of :data:`WRITTEN`. Lists and objects are JSON in CSV and TSV, and missing values are empty.

    Raises:
        DataError: When the format cannot hold a value; names the row or the column.
    """
    if name == "parquet":
        return _parquet(rows)
    if name == "jsonl":
        text = "".join(f"{json_text(row)}\n" for row in rows)
    elif name == "json":
        text = "[\n" + ",\n".join(json_text(row) for row in rows) + "\n]\n"
    else:
        text = _csv(rows) if name == "csv" else _tsv(rows)
    try:
        return text.encode()
    except UnicodeEncodeError:
        where = next((place for number, row in enumerate(rows, 1) if (place := _half(row, number))), "")
        raise DataError("a text holds half of a character", where=where, fix="Correct the text.") from None


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write rows into a file whole or not at all.

    Raises:
        ConfigError: When its suffix is of no format.
        StoreError: When it cannot be written.
    """
    write_atomically(path, table_bytes(rows, written_format(path)))


def _columns(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _half(row: Row, number: int) -> str:
    """Return the place of a text in a row that no file can hold, as JSON and models can write it; "" for none."""
    for name, value in row.items():
        try:
            f"{name}{value_text(value)}".encode()
        except UnicodeEncodeError:
            return f"row {number}, column {name!r}"
    return ""


def _csv(rows: Sequence[Row]) -> str:
    columns, text = _columns(rows), io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([value_text(row.get(name)) for name in columns] for row in rows)
    return text.getvalue()


def _tsv(rows: Sequence[Row]) -> str:
    """Write fields without quotes, as TSV is read here: what a field cannot hold is refused."""
    columns = _columns(rows)
    lines = [columns, *([value_text(row.get(name)) for name in columns] for row in rows)]
    for number, values in enumerate(lines):
        for name, value in zip(columns, values, strict=True):
            if any(mark in value for mark in "\t\r\n"):
                where = f"row {number}, column '{name}'"
                raise DataError("a tab or the end of a line, which TSV cannot hold", where=where, fix=_OTHERWISE)
    return "".join("\t".join(values) + "\n" for values in lines)


def _parquet(rows: Sequence[Row]) -> bytes:
    import pyarrow  # heavy: only whoever writes Parquet waits for it
    import pyarrow.parquet

    columns = {}
    for name in _columns(rows):
        try:
            columns[name] = pyarrow.array([row.get(name) for row in rows])
        except (pyarrow.ArrowException, UnicodeEncodeError, OverflowError, TypeError) as fault:
            what = f"values that a column of Parquet cannot hold together ({first_line(fault)})"
            raise DataError(what, where=f"column '{name}'", fix=_OTHERWISE) from None
    buffer = io.BytesIO()
    try:
        pyarrow.parquet.write_table(pyarrow.table(columns), buffer)
    except pyarrow.ArrowException as fault:
        raise DataError(f"Parquet cannot hold these rows ({first_line(fault)})", fix=_OTHERWISE) from None
    return buffer.getvalue()
