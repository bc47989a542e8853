"""One reader for each file format. All stream: none holds more than a row (or a Parquet batch) in memory.

A reader yields the rows that are right, gathers the faults of the rest, and raises them together when the file ends or
when there are :data:`FAULT_LIMIT` of them, so that nobody mends a file one line at a time.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow
import pyarrow.parquet

from luthier.errors import DataError, LuthierError, raise_faults
from luthier.records import Row

FAULT_LIMIT = 20
"""Faults after which a file is given up."""
ROW_BYTES = 64 * 1024 * 1024
"""Longest row; longer means an unclosed quote or a file that is not rows."""
CHUNK_BYTES = 1 << 16
_GZIP_FAULTS = (EOFError, zlib.error, gzip.BadGzipFile)
_UTF8 = "Save the file as UTF-8."


class RowFaults:
    """Faults of one file, raised together.

    Args:
        name: The file, as the user would write it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._faults: list[LuthierError] = []

    def add(self, fault: LuthierError) -> None:
        """Keep a fault; raise them all when there are :data:`FAULT_LIMIT`."""
        self._faults.append(fault)
        if len(self._faults) >= FAULT_LIMIT:
            self.finish(more=" or more")

    def finish(self, more: str = "") -> None:
        """Raise what was gathered, if anything was.

        Raises:
            LuthierError: The only fault, or :class:`~luthier.errors.Faults`.
        """
        raise_faults(f"{len(self._faults)}{more} rows of {self.name} cannot be used", self._faults)


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
        opened = cast(BinaryIO, gzip.open(path) if head.startswith(b"\x1f\x8b") else path.open("rb"))  # noqa: SIM115
    except OSError as fault:
        raise DataError(f"cannot read the file ({fault.strerror})", where=where, fix="Check the path.") from None
    if not head:
        raise DataError("the file is empty", where=where, fix="Give a file that has rows.")
    for magic, name in ((b"PK\x03\x04", "zip"), (b"BZh", "bzip2"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\xfd7zXZ", "xz")):
        if head.startswith(magic):
            raise DataError(f"the file is {name}", where=where, fix="Unpack it, or compress it with gzip.")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError("not UTF-8: the file begins with a UTF-16 mark", where=where, fix=_UTF8)
    return opened


def peek(path: Path, size: int = 1 << 14) -> bytes:
    """Return the first bytes of a file, unpacked, without a byte-order mark."""
    with open_bytes(path) as handle:
        try:
            return handle.read(size).removeprefix(codecs.BOM_UTF8)
        except _GZIP_FAULTS as fault:
            raise _damaged(str(path), "the start", fault) from None


def _damaged(name: str, place: str, fault: Exception) -> DataError:
    what = f"the gzip stream is damaged or cut short ({str(fault) or type(fault).__name__})"
    return DataError(what, where=f"{name}, after {place}", fix="Copy or download the file again.")


def _byte_lines(handle: BinaryIO, name: str) -> Iterator[tuple[int, bytes]]:
    """Yield ``(line number from 1, bytes with the line end)``."""
    number = 0
    while True:
        try:
            line = handle.readline(ROW_BYTES + 1)
        except _GZIP_FAULTS as fault:
            raise _damaged(name, f"line {number}", fault) from None
        if not line:
            return
        number += 1
        if len(line) > ROW_BYTES:
            raise DataError(f"the line is longer than {ROW_BYTES >> 20} MiB", where=f"{name}, line {number}")
        yield number, line.removeprefix(codecs.BOM_UTF8) if number == 1 else line


def _decode(line: bytes, where: str) -> str:
    if b"\x00" in line:
        raise DataError(f"NUL byte at byte {line.index(0) + 1}", where=where, fix="Remove the NUL bytes.")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as fault:
        what = f"not UTF-8: byte 0x{line[fault.start]:02x} at byte {fault.start + 1} of the line"
        raise DataError(what, where=where, fix=_UTF8) from None


def read_jsonl(path: Path) -> Iterator[Row]:
    """Yield the object on each line; blank lines are passed over."""
    faults = RowFaults(str(path))
    with open_bytes(path) as handle:
        for number, line in _byte_lines(handle, str(path)):
            if not line.strip():
                continue
            try:
                yield _json_row(_decode(line, f"{path}, line {number}"), f"{path}, line {number}")
            except DataError as fault:
                faults.add(fault)
    faults.finish()


def _json_row(text: str, where: str) -> Row:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as fault:
        what = f"not JSON: {fault.msg} at column {fault.colno}"
        raise DataError(what, where=where, fix="Write one JSON object a line.") from None
    except (RecursionError, ValueError) as fault:
        raise DataError(f"JSON that cannot be held ({fault})", where=where) from None
    return _as_row(value, where)


def _as_row(value: object, where: str) -> Row:
    if not isinstance(value, dict):
        what = f"a row must be a JSON object, this is {_json_kind(value)}"
        raise DataError(what, where=where, fix='Write {"column": value, …}.')
    return value


def _json_kind(value: object) -> str:
    kinds = {list: "a list", str: "a string", bool: "a truth value", int: "a number", float: "a number"}
    return kinds.get(type(value), "null")


def read_json(path: Path, field: str | None = None) -> Iterator[Row]:
    """Yield the objects of a JSON array, or of the array under ``field`` of a JSON object.

    An array is parsed as it is read; an object with a ``field`` is read whole (at most 64 MiB).
    """
    if peek(path).lstrip()[:1] == b"[":
        yield from _read_array(path)
        return
    with open_bytes(path) as handle:
        data = handle.read(ROW_BYTES + 1)
    if len(data) > ROW_BYTES:
        raise DataError(f"one JSON object of more than {ROW_BYTES >> 20} MiB", where=str(path), fix="Write JSON lines.")
    row = _json_row(_decode(data, str(path)), str(path))
    lists = [key for key, value in row.items() if isinstance(value, list)]
    values = row.get(field) if field is not None else None
    if not isinstance(values, list):
        what = f"no list under '{field}'" if field is not None else "the file holds one JSON object, not rows"
        raise DataError(what, where=str(path), fix=f"Name the list with `field:`. Lists: {', '.join(lists) or 'none'}.")
    faults = RowFaults(str(path))
    for number, value in enumerate(values, 1):
        try:
            yield _as_row(value, f"{path}, row {number}")
        except DataError as fault:
            faults.add(fault)
    faults.finish()


class _TextWindow:
    """The part of a JSON text that is being parsed; grows on demand and forgets what was consumed."""

    def __init__(self, handle: BinaryIO, name: str) -> None:
        self._handle, self._name = handle, name
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self.text, self.line, self.ended = "", 1, False
        self._size = CHUNK_BYTES

    def grow(self) -> None:
        """Read more; twice as much each time in a row, so that one long row costs linear time."""
        try:
            data = self._handle.read(self._size)
            self.text += self._decoder.decode(data, final=not data)
        except _GZIP_FAULTS as fault:
            raise _damaged(self._name, f"line {self.line}", fault) from None
        except UnicodeDecodeError as fault:
            line = self.line + self.text.count("\n") + fault.object[: fault.start].count(b"\n")
            what = f"not UTF-8: byte 0x{fault.object[fault.start]:02x}"
            raise DataError(what, where=f"{self._name}, line {line}", fix=_UTF8) from None
        self.ended = not data
        self._size *= 2
        if len(self.text) > ROW_BYTES:
            what = f"one row is longer than {ROW_BYTES >> 20} MiB"
            raise DataError(what, where=f"{self._name}, line {self.line}", fix="Look for a quote that is not closed.")

    def consume(self, count: int) -> None:
        """Forget the first characters."""
        self.line += self.text.count("\n", 0, count)
        self.text = self.text[count:]
        self._size = CHUNK_BYTES

    def next_character(self) -> str:
        """Return the first character that is not blank, or "" at the end; blanks before it are consumed."""
        while True:
            blank = len(self.text) - len(self.text.lstrip(" \t\r\n"))
            if blank < len(self.text):
                if blank:
                    self.consume(blank)
                return self.text[0]
            self.consume(blank)
            if self.ended:
                return ""
            self.grow()


def _read_array(path: Path) -> Iterator[Row]:
    faults = RowFaults(str(path))
    with open_bytes(path) as handle:
        window = _TextWindow(handle, str(path))
        window.next_character()
        window.consume(1)
        number = 0
        while (character := window.next_character()) != "]":
            number += 1
            if number > 1:
                if character != ",":
                    what = "the array is not closed" if not character else f"',' or ']' expected, '{character}' found"
                    faults.add(DataError(what, where=f"{path}, line {window.line}", fix="Mend the JSON here."))
                    break
                window.consume(1)
                window.next_character()
            where = f"{path}, row {number}, line {window.line}"
            try:
                value = _next_value(window, where)
            except DataError as fault:
                faults.add(fault)
                break
            try:
                yield _as_row(value, where)
            except DataError as fault:
                faults.add(fault)
    faults.finish()


def _next_value(window: _TextWindow, where: str) -> object:
    decoder = json.JSONDecoder()
    while True:
        try:
            value, end = decoder.raw_decode(window.text)
        except json.JSONDecodeError as fault:
            # A value that merely is not read to its end fails at the end of the window, or inside a string.
            unfinished = fault.msg.startswith("Unterminated string") or fault.pos >= len(window.text) - 16
            if unfinished and not window.ended:
                window.grow()
                continue
            line = window.line + fault.lineno - 1
            what = f"not JSON: {fault.msg} (line {line}, column {fault.colno})"
            raise DataError(what, where=where, fix="Mend the JSON here; nothing after it can be read.") from None
        except (RecursionError, ValueError) as fault:
            raise DataError(f"JSON that cannot be held ({fault})", where=where) from None
        window.consume(end)
        return value


def read_delimited(path: Path, delimiter: str, quoted: bool, columns: Sequence[str] | None) -> Iterator[Row]:
    """Yield the rows of a CSV or TSV file; every value is a string.

    Args:
        path: The file.
        delimiter: One character.
        quoted: Whether ``"`` quotes fields (RFC 4180) or is an ordinary character.
        columns: Names of the columns where the file has no header.
    """
    csv.field_size_limit(ROW_BYTES)
    faults = RowFaults(str(path))
    with open_bytes(path) as handle:
        lines = (_decode(line, f"{path}, line {number}") for number, line in _byte_lines(handle, str(path)))
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
                    yield dict(zip(names, values, strict=True))
                elif values:
                    what = f"{len(values)} fields where there are {len(names)} columns"
                    fix = f"Give each row {', '.join(names)}; quote fields that hold {_shown(delimiter)}."
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
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise DataError(f"columns named twice: {', '.join(twice)}", where=where, fix="Give each column its own name.")
    other = next((mark for mark in ";\t|" if mark in columns[0]), None)
    if len(columns) == 1 and other is not None and other != delimiter:
        what = f"one column only, and its name holds {_shown(other)}"
        raise DataError(what, where=where, fix=f"Write `delimiter: {other!r}`.")
    return columns


def decoded_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file, each with its line end."""
    faults = RowFaults(str(path))
    with open_bytes(path) as handle:
        for number, line in _byte_lines(handle, str(path)):
            try:
                yield _decode(line, f"{path}, line {number}")
            except DataError as fault:
                faults.add(fault)
    faults.finish()


def read_text(path: Path) -> Iterator[Row]:
    """Yield ``{"text": line}`` for each line that is not blank."""
    for line in decoded_lines(path):
        if line.strip():
            yield {"text": line.rstrip("\r\n")}


def read_parquet(path: Path) -> Iterator[Row]:
    """Yield the rows of a Parquet file, a batch of a row group at a time."""
    with open_bytes(path) as handle:
        if isinstance(handle, io.BufferedReader):
            yield from _parquet_rows(path, str(path))
            return
        with tempfile.NamedTemporaryFile(suffix=".parquet") as unpacked:  # Parquet is read from its end
            try:
                while chunk := handle.read(1 << 20):
                    unpacked.write(chunk)
            except _GZIP_FAULTS as fault:
                raise _damaged(str(path), f"byte {unpacked.tell()}", fault) from None
            unpacked.flush()
            yield from _parquet_rows(Path(unpacked.name), str(path))


def _parquet_rows(path: Path, name: str) -> Iterator[Row]:
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024, use_threads=False):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as fault:
        what = f"not a Parquet file that can be read ({str(fault).splitlines()[0]})"
        raise DataError(what, where=name, fix="Write or download the file again.") from None
