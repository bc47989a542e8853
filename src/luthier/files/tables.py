"""Files of rows: which format a file has, and its rows with their numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from luthier.errors import DataError
from luthier.files.delimited import read_delimited
from luthier.files.json_rows import read_json, read_jsonl
from luthier.files.opening import peek
from luthier.files.parquet import read_parquet
from luthier.files.size_limit import SizeLimit
from luthier.files.text_lines import read_text
from luthier.records import Row

FORMATS = ("jsonl", "json", "csv", "tsv", "parquet", "text")
SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".txt": "text",
}
"""Formats by the suffix of the file's name, in small letters and before a last ``.gz``."""
_PEEKED = 1 << 14


@dataclass(frozen=True, slots=True)
class TableFormat:
    """How the rows of a file are written.

    Attributes:
        name: One of :data:`FORMATS`.
        columns: Names of the columns of a CSV or TSV file without a header.
        delimiter: Of a CSV or TSV file; comma and tab when not given.
        quoting: Whether ``"`` quotes fields (``"standard"``) or is an ordinary character (``"none"``); standard for
            CSV and none for TSV when not given.
        field: Key of the list of rows in a file that holds one JSON object.
    """

    name: str
    columns: tuple[str, ...] | None = None
    delimiter: str | None = None
    quoting: str | None = None
    field: str | None = None

    @property
    def numbered(self) -> str:
        """What the numbers of the rows count: ``"line"``, or ``"row"`` where a row has no line of its own."""
        return "row" if self.name in ("json", "parquet") else "line"


def read_table(path: Path, table: TableFormat, limit: SizeLimit | None = None) -> Iterator[tuple[int, Row]]:
    """Yield the rows of a file with their numbers from 1, holding no more than a row or a batch of Parquet in memory.

    Args:
        path: The file.
        table: How its rows are written.
        limit: The most that is read; None for no bound but that of a row.

    Raises:
        DataError: The file cannot be read, or is longer than the limit; names it, and the line or row.
        Faults: Rows are malformed, all together (20 at most), at the end of the file.
    """
    stray = [key for key in ("columns", "delimiter", "quoting") if getattr(table, key) is not None]
    if stray and table.name not in ("csv", "tsv"):
        what = f"{' and '.join(stray)} given, but the file is {table.name}"
        raise DataError(what, where=str(path), fix="Leave it out; it is for CSV and TSV files.")
    if table.name == "parquet":
        return read_parquet(path, limit)
    if table.name == "jsonl":
        return read_jsonl(path, limit)
    if table.name == "json":
        return read_json(path, table.field, limit)
    if table.name == "text":
        return read_text(path, limit)
    delimiter = table.delimiter or {"csv": ",", "tsv": "\t"}[table.name]
    quoting = table.quoting or {"csv": "standard", "tsv": "none"}[table.name]
    return read_delimited(path, delimiter, quoting == "standard", table.columns, limit)


def stem_and_suffix(path: Path) -> tuple[str, str]:
    """Return the stem of a file's name, and its suffix in small letters, both without ``.gz``."""
    name = Path(path.name.removesuffix(".gz"))
    return name.stem, name.suffix.lower()


def recognise_format(path: Path) -> str:
    """Return the format of a file: by its first bytes where they tell, else by its suffix.

    Raises:
        DataError: When neither tells.
    """
    head = peek(path, _PEEKED)
    if head.startswith(b"PAR1"):
        return "parquet"
    kind = SUFFIXES.get(stem_and_suffix(path)[1])
    if kind in ("csv", "tsv", "text"):
        return kind
    first = head.lstrip()[:1]
    if first == b"[":
        return "json"
    if first == b"{":
        return "json" if kind == "json" and not _first_line_is_object(head) else "jsonl"
    if kind is not None:
        return kind
    what = f"cannot tell the format from '{path.name}'"
    fix = f"Write `format:` in the task, or give --format, with one of {', '.join(FORMATS)}."
    raise DataError(what, where=str(path), fix=fix)


def recognise_format_or_text(path: Path) -> str:
    """Return the format of a file that is text where nothing else is sure.

    A file whose suffix is not known is a table only if it is Parquet or its first line is a JSON object: a text may
    begin with a bracket.
    """
    if SUFFIXES.get(stem_and_suffix(path)[1]) is not None:
        return recognise_format(path)
    head = peek(path, _PEEKED)
    if head.startswith(b"PAR1"):
        return "parquet"
    return "jsonl" if head.startswith(b"{") and _first_line_is_object(head) else "text"


def _first_line_is_object(head: bytes) -> bool:
    line, newline, rest = head.lstrip().partition(b"\n")
    try:
        return isinstance(json.loads(line), dict) and bool(rest.strip() or not newline)
    except ValueError:
        # A first line longer than what was peeked at: rows of an object per line never begin with a bare "{".
        return not newline and line.strip() != b"{" and len(head) >= _PEEKED
