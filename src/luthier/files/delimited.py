"""Rows of CSV and TSV files."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from luthier.errors import DataError, listed
from luthier.files import opening
from luthier.files.opening import byte_lines, decode_line, open_bytes
from luthier.files.row_faults import RowFaults
from luthier.files.size_limit import SizeLimit
from luthier.records import Row


def read_delimited(
    path: Path, delimiter: str, quoted: bool, columns: Sequence[str] | None, limit: SizeLimit | None = None
) -> Iterator[tuple[int, Row]]:
    """Yield the rows of a CSV or TSV file with the number of the line where each begins; every value is a string.

    Args:
        path: The file.
        delimiter: One character.
        quoted: Whether ``"`` quotes fields (RFC 4180) or is an ordinary character.
        columns: Names of the columns where the file has no header.
        limit: The most that is read.
    """
    csv.field_size_limit(opening.ROW_BYTES)
    faults = RowFaults(str(path))
    with open_bytes(path) as handle:
        numbered = byte_lines(handle, str(path), limit)
        lines = (decode_line(line, f"{path}, line {number}") for number, line in numbered)
        reader = (
            csv.reader(lines, delimiter=delimiter, strict=True)
            if quoted
            else csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
        )
        line = 0
        try:
            names = list(columns) if columns is not None else _header(next(reader, []), str(path), delimiter)
            line = reader.line_num
            for values in reader:
                first, line = line + 1, reader.line_num
                if len(values) == len(names):
                    yield first, dict(zip(names, values, strict=True))
                elif values:
                    what = f"{len(values)} fields where there are {len(names)} columns"
                    fix = f"Give each row {listed(names)}; quote fields that hold {_shown(delimiter)}."
                    faults.add(DataError(what, where=f"{path}, line {first}", fix=fix))
        except csv.Error as fault:
            faults.add(_csv_fault(fault, f"{path}, the row that begins on line {line + 1}"))
        except DataError as fault:  # bytes that are no text: nothing after them can be parsed
            faults.add(fault)
    faults.finish()


def _csv_fault(fault: csv.Error, where: str) -> DataError:
    if str(fault).startswith("new-line character"):
        what, fix = "a carriage return inside a field", "End lines with a line feed, and quote fields that hold others."
        return DataError(what, where=where, fix=fix)
    fix = "Close the quote, or write `quoting: none` where quotes are ordinary characters."
    return DataError(f"not CSV: {fault}", where=where, fix=fix)


def _shown(delimiter: str) -> str:
    return "a tab" if delimiter == "\t" else f"'{delimiter}'"


def _header(names: Sequence[str], name: str, delimiter: str) -> list[str]:
    columns = [column.strip() or f"column_{number}" for number, column in enumerate(names, 1)]
    where = f"{name}, line 1"
    if not columns:
        raise DataError("the file has no header", where=where, fix="Name the columns in the first line.")
    twice = sorted(column for column, count in Counter(columns).items() if count > 1)
    if twice:
        raise DataError(f"columns named twice: {listed(twice)}", where=where, fix="Give each column its own name.")
    other = next((mark for mark in ";\t|" if mark in columns[0]), None)
    if len(columns) == 1 and other is not None and other != delimiter:
        what = f"one column only, and its name holds {_shown(other)}"
        raise DataError(what, where=where, fix=f"Write `delimiter: {other!r}`.")
    return columns
