"""Hostile values, texts, bytes and JSON, drawn by a seeded generator."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from random import Random
from typing import Any

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 10**7, 2**31, 2**63, 10**30, -(2**63), 0.5, -0.0, 1e308, 1e-308),
    *(
        math.nan,
        math.inf,
        -math.inf,
        "",
        " ",
        "x",
        "2",
        "-1",
        "nan",
        "null",
        "true",
        "é",
        "e\u0301",
        "\u202e",
        "\x1b]0;t\x07",
    ),
    *("\x00", "a\nb", "\u2028", "../..", "/etc/passwd", "~nosuchuser", "{{ x }}", "[" * 2000, "9" * 5000, "中文", "🙂"),
    *([], {}, [None], [[]], {"a": 1}, {"": None}, ["x", 1, None], "\ud800"),
)
WORDS = ("a red cat sat", "the dog", "owl", "", "1", "yes", "no", "line one\nline two", "tab\there", '"quoted"', "a,b")


def deep(draw: Random, levels: int) -> Any:
    """Lists and objects in one another."""
    value: Any = copy.deepcopy(draw.choice(VALUES))
    for _ in range(levels):
        value = [value] if draw.random() < 0.5 else {"a": value}
    return value


def value(draw: Random) -> Any:
    """Any value that JSON can hold, now and then a deep one."""
    if draw.random() < 0.05:
        return deep(draw, draw.choice((5, 50, 300)))
    return copy.deepcopy(draw.choice(VALUES))


def changed(draw: Random, whole: Any, times: int) -> Any:
    """A copy of a JSON value in which some parts are replaced, removed, renamed or added."""
    made = json.loads(json.dumps(whole))
    for _ in range(times):
        parents = list(_containers(made))
        if not parents:
            return value(draw)
        parent = draw.choice(parents)
        keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
        action = draw.random()
        if not keys or action < 0.1:
            if isinstance(parent, dict):
                parent[str(draw.choice(VALUES))] = value(draw)
            else:
                parent.append(value(draw))
            continue
        key = draw.choice(keys)
        if action < 0.2:
            del parent[key]
        else:
            parent[key] = value(draw)
    return made


def _containers(whole: Any) -> Iterator[Any]:
    if isinstance(whole, dict | list):
        yield whole
        for inner in whole.values() if isinstance(whole, dict) else whole:
            yield from _containers(inner)


def broken(draw: Random, content: bytes, times: int) -> bytes:
    """A copy in which some bytes are changed, cut out, doubled or cut off."""
    data = bytearray(content)
    for _ in range(times):
        if not data:
            return bytes(data)
        at = draw.randrange(len(data))
        action = draw.random()
        if action < 0.4:
            data[at] = draw.randrange(256)
        elif action < 0.6:
            del data[at : at + draw.randrange(1, 20)]
        elif action < 0.8:
            data[at:at] = data[at : at + draw.randrange(1, 40)]
        elif action < 0.9:
            data[at:at] = draw.choice(
                (b"\xff\xfe", b"\x00", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\n", b"\r", b'"', b"{", b"[")
            )
        else:
            del data[at:]
    return bytes(data)


def row(draw: Random, columns: tuple[str, ...]) -> dict[str, Any]:
    """A row of mostly ordinary columns."""
    made: dict[str, Any] = {name: draw.choice(WORDS) for name in columns}
    for name in columns:
        if draw.random() < 0.15:
            made[name] = value(draw)
        elif draw.random() < 0.05:
            del made[name]
    return made


def as_lines(rows: list[dict[str, Any]]) -> bytes:
    """Rows as JSON lines, lone surrogates and NaN as JSON writes them."""
    return "".join(json.dumps(one) + "\n" for one in rows).encode()
