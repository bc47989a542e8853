"""Opening a file of rows, through gzip where its content says so, and reading its lines within bounded memory."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from luthier.errors import DataError
from luthier.files.size_limit import SizeLimit

ROW_BYTES = 64 * 1024 * 1024
"""Longest row; longer means an unclosed quote or a file that is not rows."""
GZIP_FAULTS = (EOFError, zlib.error, gzip.BadGzipFile)
"""What reading a damaged gzip stream raises."""
SAVE_AS_UTF8 = "Save the file as UTF-8."


def open_bytes(path: Path) -> BinaryIO:
    """Open a file, through gzip when its first bytes say so.

    Raises:
        DataError: When it is missing, unreadable, empty, UTF-16, or compressed in a way that is not read.
    """
    where = str(path)
    if path.exists() and not path.is_file():
        raise DataError("not a file that can be read twice", where=where, fix="Write the rows to a file first.")
    try:
        with path.open("rb") as handle:
            head = handle.read(8)
    except OSError as fault:
        raise DataError(f"cannot read the file ({fault.strerror})", where=where, fix="Check the path.") from None
    if not head:
        raise DataError("the file is empty", where=where, fix="Give a file that has rows.")
    for magic, name in ((b"PK\x03\x04", "zip"), (b"BZh", "bzip2"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\xfd7zXZ", "xz")):
        if head.startswith(magic):
            raise DataError(f"the file is {name}", where=where, fix="Unpack it, or compress it with gzip.")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError("not UTF-8: the file begins with a UTF-16 mark", where=where, fix=SAVE_AS_UTF8)
    return cast(BinaryIO, gzip.open(path) if head.startswith(b"\x1f\x8b") else path.open("rb"))


def peek(path: Path, size: int = 1 << 14) -> bytes:
    """Return the first bytes of a file, unpacked, without a byte-order mark."""
    with open_bytes(path) as handle:
        try:
            return handle.read(size).removeprefix(codecs.BOM_UTF8)
        except GZIP_FAULTS as fault:
            raise damaged_gzip(str(path), "the start", fault) from None


def damaged_gzip(name: str, place: str, fault: Exception) -> DataError:
    """Return the fault of a file whose gzip stream breaks off after a place, such as ``line 7``."""
    what = f"the gzip stream is damaged or cut short ({str(fault) or type(fault).__name__})"
    return DataError(what, where=f"{name}, after {place}", fix="Copy or download the file again.")


def has_byte_order_mark(path: Path) -> bool:
    """Whether a file begins with UTF-8's byte-order mark, which no reader here takes for a part of its text."""
    with open_bytes(path) as handle:
        try:
            return handle.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8
        except GZIP_FAULTS as fault:
            raise damaged_gzip(str(path), "the start", fault) from None


def byte_lines(handle: BinaryIO, name: str, limit: SizeLimit | None = None) -> Iterator[tuple[int, bytes]]:
    """Yield ``(line number from 1, bytes with the line end)``, without a byte-order mark.

    Raises:
        DataError: A line is longer than :data:`ROW_BYTES`, all lines are longer than the limit, or the gzip stream is
            damaged.
    """
    number = 0
    while True:
        try:
            line = handle.readline(ROW_BYTES + 1)
        except GZIP_FAULTS as fault:
            raise damaged_gzip(name, f"line {number}", fault) from None
        if not line:
            return
        number += 1
        if limit is not None:
            limit.count(len(line), 1, name)
        if len(line) > ROW_BYTES:
            raise DataError(f"the line is longer than {ROW_BYTES >> 20} MiB", where=f"{name}, line {number}")
        yield number, line.removeprefix(codecs.BOM_UTF8) if number == 1 else line


def decode_line(line: bytes, where: str) -> str:
    """Return a line as text.

    Raises:
        DataError: It is not UTF-8, or holds a NUL byte.
    """
    if b"\x00" in line:
        raise DataError(f"NUL byte at byte {line.index(0) + 1}", where=where, fix="Remove the NUL bytes.")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as fault:
        what = f"not UTF-8: byte 0x{line[fault.start]:02x} at byte {fault.start + 1} of the line"
        raise DataError(what, where=where, fix=SAVE_AS_UTF8) from None
