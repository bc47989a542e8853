"""Rows with further columns, written in the format that they came in or that a file's suffix says."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from luthier.errors import ConfigError
from luthier.files.atomic import write_atomically
from luthier.files.tables import SUFFIXES
from luthier.files.value_text import value_text

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


def table_bytes(rows: Sequence[Mapping[str, object]], name: str) -> bytes:
    """Return rows as a file holds them.

    Args:
        rows: All with the same columns in the same order, or some without a column that others have.
        name: One of :data:`WRITTEN`. Lists and objects are JSON in CSV and TSV, and missing values are empty.
    """
    if name == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False, default=value_text) + "\n" for row in rows).encode()
    if name == "json":
        return (json.dumps(list(rows), ensure_ascii=False, default=value_text, indent=1) + "\n").encode()
    if name == "parquet":
        return _parquet(rows)
    return _delimited(rows, {"csv": ",", "tsv": "\t"}[name])


def write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows into a file whole or not at all.

    Raises:
        ConfigError: When its suffix is of no format.
        StoreError: When it cannot be written.
    """
    write_atomically(path, table_bytes(rows, written_format(path)))


def _columns(rows: Sequence[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _delimited(rows: Sequence[Mapping[str, object]], delimiter: str) -> bytes:
    columns, text = _columns(rows), io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([value_text(row.get(name)) for name in columns] for row in rows)
    return text.getvalue().encode()


def _parquet(rows: Sequence[Mapping[str, object]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: [row.get(name) for row in rows] for name in _columns(rows)}
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()
