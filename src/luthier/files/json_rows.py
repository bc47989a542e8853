"""Rows of JSON: one object a line, or an array of objects that is parsed as it is read."""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from luthier.errors import DataError
from luthier.files import opening
from luthier.files.opening import GZIP_FAULTS, SAVE_AS_UTF8, byte_lines, damaged_gzip, decode_line, open_bytes, peek
from luthier.files.row_faults import RowFaults
from luthier.records import Row

CHUNK_BYTES = 1 << 16
"""Bytes of an array that are read at a time."""
_CONSTANTS = {"NaN": None, "Infinity": math.inf, "-Infinity": -math.inf}
# What Python writes for a value that is missing is no JSON; it is read as null.
_DECODER = json.JSONDecoder(parse_constant=_CONSTANTS.__getitem__)


def read_jsonl(path: Path) -> Iterator[tuple[int, Row]]:
    """Yield the object on each line with the line's number; blank lines are passed over."""
    faults = RowFaults(str(path))
    with open_bytes(path) as handle:
        for number, line in byte_lines(handle, str(path)):
            if not line.strip():
                continue
            try:
                yield number, _json_row(decode_line(line, f"{path}, line {number}"), f"{path}, line {number}")
            except DataError as fault:
                faults.add(fault)
    faults.finish()


def _json_row(text: str, where: str) -> Row:
    try:
        value = _DECODER.decode(text)
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


def read_json(path: Path, field: str | None = None) -> Iterator[tuple[int, Row]]:
    """Yield the objects of a JSON array, or of the array under ``field`` of a JSON object, numbered from 1.

    An array is parsed as it is read; an object with a ``field`` is read whole (at most 64 MiB).
    """
    if peek(path).lstrip()[:1] == b"[":
        yield from _read_array(path)
        return
    with open_bytes(path) as handle:
        data = handle.read(opening.ROW_BYTES + 1)
    if len(data) > opening.ROW_BYTES:
        raise DataError(
            f"one JSON object of more than {opening.ROW_BYTES >> 20} MiB", where=str(path), fix="Write JSON lines."
        )
    row = _json_row(decode_line(data, str(path)), str(path))
    lists = [key for key, value in row.items() if isinstance(value, list)]
    values = row.get(field) if field is not None else None
    if not isinstance(values, list):
        what = f"no list under '{field}'" if field is not None else "the file holds one JSON object, not rows"
        raise DataError(what, where=str(path), fix=f"Name the list with `field:`. Lists: {', '.join(lists) or 'none'}.")
    faults = RowFaults(str(path))
    for number, value in enumerate(values, 1):
        try:
            yield number, _as_row(value, f"{path}, row {number}")
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
        except GZIP_FAULTS as fault:
            raise damaged_gzip(self._name, f"line {self.line}", fault) from None
        except UnicodeDecodeError as fault:
            line = self.line + self.text.count("\n") + fault.object[: fault.start].count(b"\n")
            what = f"not UTF-8: byte 0x{fault.object[fault.start]:02x}"
            raise DataError(what, where=f"{self._name}, line {line}", fix=SAVE_AS_UTF8) from None
        self.ended = not data
        self._size *= 2
        if len(self.text) > opening.ROW_BYTES:
            what = f"one row is longer than {opening.ROW_BYTES >> 20} MiB"
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


def _read_array(path: Path) -> Iterator[tuple[int, Row]]:
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
                    faults.add(DataError(what, where=f"{path}, line {window.line}", fix="Correct the JSON here."))
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
                yield number, _as_row(value, where)
            except DataError as fault:
                faults.add(fault)
    faults.finish()


def _next_value(window: _TextWindow, where: str) -> object:
    while True:
        try:
            value, end = _DECODER.raw_decode(window.text)
        except json.JSONDecodeError as fault:
            # A value that merely is not read to its end fails at the end of the window, or inside a string.
            unfinished = fault.msg.startswith("Unterminated string") or fault.pos >= len(window.text) - 16
            if unfinished and not window.ended:
                window.grow()
                continue
            line = window.line + fault.lineno - 1
            what = f"not JSON: {fault.msg} (line {line}, column {fault.colno})"
            raise DataError(what, where=where, fix="Correct the JSON here; nothing after it can be read.") from None
        except (RecursionError, ValueError) as fault:
            raise DataError(f"JSON that cannot be held ({fault})", where=where) from None
        window.consume(end)
        return value
