"""Compressed JSONL whose bytes are the same each time it is written."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

from recipes.tasks.splits import Row


def as_text(rows: Sequence[Row]) -> str:
    """The rows as JSONL."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as JSONL, compressed without a file name or a time stamp."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(as_text(rows).encode(), compresslevel=9, mtime=0))


def read_text(path: Path) -> str:
    """The JSONL of a compressed file."""
    return gzip.decompress(path.read_bytes()).decode()


def read_rows(path: Path) -> list[Row]:
    """The rows of a compressed file."""
    return [json.loads(line) for line in read_text(path).splitlines()]
