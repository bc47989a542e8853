"""JSON Lines: appending to a file that a kill may cut anywhere, and reading one that it has cut.

Lines end with a line feed only: JSON may hold other separators, such as U+2028, as they are.
"""

from __future__ import annotations

import errno
import gzip
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

from luthier.files.atomic import writing

T = TypeVar("T")


def append_lines(path: Path, lines: Iterable[str]) -> None:
    """Append lines, given without their ends, and hand them to the system.

    Where a kill has cut the last line in half, what is appended begins on a line of its own.

    Raises:
        StoreError: When the file cannot be written.
    """
    data = "".join(f"{line}\n" for line in lines).encode()
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            file.write(b"\n" + data if data and _is_torn(file) else data)


def _is_torn(file: BinaryIO) -> bool:
    """Return whether the last line of a file lacks its end."""
    if file.seek(0, os.SEEK_END) == 0:
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"


def read_lines(path: Path, *, torn: bool = False) -> Iterator[bytes]:
    """Yield the lines of a file with their ends; none where there is no file.

    Args:
        path: The file.
        torn: Whether a last line without its end is yielded, too, for readers that can tell what is whole.

    Raises:
        StoreError: When the file cannot be read.
    """
    if not path.exists():
        return
    with writing(path), path.open("rb") as file:
        for line in file:
            if torn or line.endswith(b"\n"):
                yield line


def read_until_torn(path: Path, parse: Callable[[bytes], T], *, truncate: bool = False) -> list[T]:
    """Parse the lines that a killed process finished; none where there is no file.

    Args:
        path: The file.
        parse: Makes a value of a line; raises ValueError where it cannot.
        truncate: Cut the file off after the last line that is returned, so that it can be appended to.

    Returns:
        The values of the lines before the first one that lacks its end or cannot be parsed.

    Raises:
        StoreError: When the file cannot be read or truncated.
    """
    values: list[T] = []
    kept = 0
    for line in read_lines(path):
        try:
            values.append(parse(line))
        except ValueError:
            break
        kept += len(line)
    if truncate and path.exists():
        with writing(path):
            os.truncate(path, kept)
    return values


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield every line that is not blank with its number from 1, for readers that refuse a damaged file.

    A file that was compressed with gzip is unpacked as it is read.

    Raises:
        OSError: When the file cannot be read, or its gzip stream is damaged.
    """
    with path.open("rb") as file:
        packed = file.peek(2).startswith(b"\x1f\x8b")
        try:
            for number, line in enumerate(gzip.GzipFile(fileobj=file) if packed else file, start=1):
                if line.strip():
                    yield number, line
        except (EOFError, zlib.error) as fault:
            raise OSError(errno.EIO, f"the gzip stream is damaged ({fault})", str(path)) from None
