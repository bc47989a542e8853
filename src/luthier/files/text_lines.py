"""Lines of text files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from luthier.errors import DataError
from luthier.files.opening import byte_lines, decode_line, open_bytes
from luthier.files.row_faults import RowFaults
from luthier.files.size_limit import SizeLimit
from luthier.records import Row


def text_lines(path: Path, limit: SizeLimit | None = None) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text file, blank ones too, each with its number from 1 and its line end.

    Lines end with a line feed only: other line separators of Unicode are part of the text.

    Raises:
        DataError: The file cannot be read or is longer than the limit, or a line is not UTF-8.
        Faults: Several lines are not, all together, at the end of the file.
    """
    faults = RowFaults(str(path))
    with open_bytes(path) as handle:
        for number, line in byte_lines(handle, str(path), limit):
            try:
                text = decode_line(line, f"{path}, line {number}")
            except DataError as fault:
                faults.add(fault)
            else:
                yield number, text
    faults.finish()


def read_text(path: Path, limit: SizeLimit | None = None) -> Iterator[tuple[int, Row]]:
    """Yield ``{"text": line}`` for each line that is not blank, with the line's number."""
    for number, line in text_lines(path, limit):
        if line.strip():
            yield number, {"text": line.rstrip("\r\n")}
