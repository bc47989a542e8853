"""Rows of JSON: one object a line, or an array of objects that is parsed as it is read."""

from __future__ import annotations

import codecs
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from luthier.errors import DataError, listed
from luthier.files import opening
from luthier.files.opening import GZIP_FAULTS, SAVE_AS_UTF8, byte_lines, damaged_gzip, decode_line, open_bytes, peek
from luthier.files.row_faults import RowFaults
from luthier.files.size_limit import SizeLimit
from luthier.records import Row

CHUNK_BYTES = 1 << 16
"""Bytes of an array that are read at a time."""
MOST_LEVELS = 200
"""Levels of lists and objects within one another; more is no row, and exhausts what works through it."""
_BLANKS = re.compile(r"[ \t\r\n]*")
_CONSTANTS = {"NaN": None, "Infinity": math.inf, "-Infinity": -math.inf}


def _object(pairs: list[tuple[str, object]]) -> Row:
    """Return an object of JSON; a key that stands twice has two values, of which Python would keep the last."""
    row = dict(pairs)
    if len(row) < len(pairs):
        twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        raise DataError(f"keys that stand twice in one object: {listed(twice)}", fix="Keep one of each.")
    return row


# What Python writes for a value that is missing is no JSON; it is read as null.
_DECODER = json.JSONDecoder(parse_constant=_CONSTANTS.__getitem__, object_pairs_hook=_object)


def read_jsonl(path: Path, limit: SizeLimit | None = None) -> Iterator[tuple[int, Row]]:
    """Yield the object on each line with the line's number; blank lines are passed over."""
    faults = RowFaults(str(path))
    with open_bytes(path) as handle:
        for number, line in byte_lines(handle, str(path), limit):
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
        _check_levels(text, 0, len(text), value)
    except json.JSONDecodeError as fault:
        what = f"not JSON: {fault.msg} at column {fault.colno}"
        raise DataError(what, where=where, fix="Write one JSON object a line.") from None
    except (RecursionError, ValueError, DataError) as fault:
        raise _unheld(fault, where) from None
    return _as_row(value, where)


def _check_levels(text: str, start: int, end: int, value: object) -> None:
    if text.count("[", start, end) + text.count("{", start, end) <= MOST_LEVELS:
        return
    level = [value]
    for _ in range(MOST_LEVELS):
        inner = (item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list))
        level = [item for items in inner for item in items if isinstance(item, dict | list)]
        if not level:
            return
    raise RecursionError


def _unheld(fault: RecursionError | ValueError | DataError, where: str) -> DataError:
    """Return the fault of JSON that is well formed and that no row can hold."""
    if isinstance(fault, DataError):
        return DataError(fault.what, where=where, fix=fault.fix)
    deep = isinstance(fault, RecursionError)
    what = f"more than {MOST_LEVELS} levels of lists and objects" if deep else "a number of thousands of digits"
    return DataError(f"JSON that cannot be held ({what})", where=where, fix="Write the value as a text.")


def _as_row(value: object, where: str) -> Row:
    if not isinstance(value, dict):
        what = f"a row must be a JSON object, this is {_json_kind(value)}"
        raise DataError(what, where=where, fix='Write {"column": value, …}.')
    return value


def _json_kind(value: object) -> str:
    kinds = {list: "a list", str: "a string", bool: "a truth value", int: "a number", float: "a number"}
    return kinds.get(type(value), "null")


def read_json(path: Path, field: str | None = None, limit: SizeLimit | None = None) -> Iterator[tuple[int, Row]]:
    """Yield the objects of a JSON array, or of the array under ``field`` of a JSON object, numbered from 1.

    An array is parsed as it is read; an object with a ``field`` is read whole (at most 64 MiB).
    """
    if peek(path).lstrip()[:1] == b"[":
        yield from _read_array(path, limit)
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
    """The part of a JSON text that is being parsed: what stands from ``at`` on; grows on demand."""

    def __init__(self, handle: BinaryIO, name: str, limit: SizeLimit | None) -> None:
        self._handle, self._name, self._limit = handle, name, limit
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self.text, self.at, self.line, self.ended = "", 0, 1, False
        self._size = CHUNK_BYTES

    def grow(self) -> None:
        """Forget what was consumed and read more; twice as much each time in a row, so that a long row costs linear
        time."""
        self.text, self.at = self.text[self.at :], 0
        try:
            data = self._handle.read(self._size)
            if self._limit is not None:
                self._limit.count(len(data), 0, self._name)
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
        """Pass over the next characters."""
        self.line += self.text.count("\n", self.at, self.at + count)
        self.at += count
        self._size = CHUNK_BYTES

    def next_character(self) -> str:
        """Return the first character that is not blank, or "" at the end; blanks before it are consumed."""
        while True:
            blank = _BLANKS.match(self.text, self.at)
            assert blank is not None
            self.consume(blank.end() - self.at)
            if self.at < len(self.text):
                return self.text[self.at]
            if self.ended:
                return ""
            self.grow()


def _read_array(path: Path, limit: SizeLimit | None) -> Iterator[tuple[int, Row]]:
    faults = RowFaults(str(path))
    with open_bytes(path) as handle:
        window = _TextWindow(handle, str(path), limit)
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
            if limit is not None:
                limit.count(0, 1, str(path))
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
            value, end = _DECODER.raw_decode(window.text, window.at)
            _check_levels(window.text, window.at, end, value)
        except json.JSONDecodeError as fault:
            # A value that merely is not read to its end fails at the end of the window, or inside a string.
            unfinished = fault.msg.startswith("Unterminated string") or fault.pos >= len(window.text) - 16
            if unfinished and not window.ended:
                window.grow()
                continue
            line = window.line + window.text.count("\n", window.at, fault.pos)
            column = fault.pos - max(window.text.rfind("\n", window.at, fault.pos), window.at - 1)
            what = f"not JSON: {fault.msg} (line {line}, column {column})"
            raise DataError(what, where=where, fix="Correct the JSON here; nothing after it can be read.") from None
        except (RecursionError, ValueError, DataError) as fault:
            raise _unheld(fault, where) from None
        window.consume(end - window.at)
        return value
