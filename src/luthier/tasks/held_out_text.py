"""Held-out plain text, on which token loss is measured."""

from __future__ import annotations

from pathlib import Path

from luthier.errors import DataError
from luthier.files.text_lines import text_lines
from luthier.tasks.names import LIBRARY
from luthier.tasks.rows import sources
from luthier.tasks.rows.sources import Source, read_rows
from luthier.user_path import user_path


def load_texts(name_or_path: str) -> list[str]:
    """Read held-out documents, on which token loss is measured.

    Args:
        name_or_path: ``plain_text`` (built in), a ``.txt`` file whose documents are separated by blank lines, or any
            file of rows with a ``text`` column.

    Raises:
        DataError: When it cannot be read or has no text.
    """
    built_in = LIBRARY / name_or_path / "heldout.jsonl.gz"
    path = built_in if built_in.is_file() else user_path(name_or_path)
    source = Source(name_or_path if name_or_path.startswith("hf:") else str(path))
    if path.suffix == ".txt":
        return _documents(path)
    texts: list[str] = []
    for number, row in enumerate(read_rows(sources.pin(source)), 1):
        text = row.get("text")
        if not isinstance(text, str):
            fix = f"Columns: {', '.join(map(str, row))}."
            raise DataError("there is no text in column 'text'", where=f"{source}, row {number}", fix=fix)
        if text.strip():
            texts.append(text)
    if not texts:
        raise DataError("the rows have no text", where=str(source), fix="Give a file with documents.")
    return texts


def _documents(path: Path) -> list[str]:
    documents: list[list[str]] = [[]]
    for _, line in text_lines(path):
        if line.strip():
            documents[-1].append(line)
        elif documents[-1]:
            documents.append([])
    texts = ["".join(lines).strip() for lines in documents if lines]
    if not texts:
        raise DataError("the file has no text", where=str(path), fix="Give a file with documents.")
    return texts
