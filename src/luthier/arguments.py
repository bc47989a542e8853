"""Arguments of the functions that users call in Python: one of another kind is a message that names the argument.

What a function has no argument for is a ``TypeError`` of Python itself, as everywhere.
"""

from __future__ import annotations

import operator
import os
import reprlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import SupportsIndex

from luthier.errors import ConfigError, DataError, LuthierError, raise_faults
from luthier.user_path import user_path

_SHOWN = 80
"""Characters of a wrong text that are shown."""


def shown(value: object) -> str:
    """Return a value as Python writes it, shortened, however large it is."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = _SHOWN
    return short.repr(value)


def require_kind(value: object, kind: type, *, where: str, fix: str) -> None:
    """Check that a value is of a class.

    Args:
        value: What was given.
        kind: The class.
        where: The function and the argument, as in ``compare(config)``.
        fix: What to write instead.

    Raises:
        ConfigError: It is of another class.
    """
    if not isinstance(value, kind):
        raise ConfigError(f"this is no {kind.__name__}: {shown(value)}", where=where, fix=fix)


def require_settings(config: object, kind: type, function: str) -> None:
    """Check that these are the settings of a verb.

    Raises:
        ConfigError: They are a name, a dictionary, or the settings of another verb.
    """
    inside = "**settings" if isinstance(config, Mapping) else "…"
    fix = f"Write {function}({kind.__name__}({inside}))."
    require_kind(config, kind, where=f"{function}(config)", fix=fix)


def as_whole(value: object, *, least: int, where: str) -> int:
    """Return a whole number of ``least`` or more, also one of numpy.

    Raises:
        ConfigError: It is another number, or none.
    """
    found = operator.index(value) if isinstance(value, SupportsIndex) and not isinstance(value, bool) else None
    if found is None or found < least:
        what = f"this is no whole number of {least} or more: {shown(value)}"
        raise ConfigError(what, where=where, fix=f"Give one, such as {max(least, 8)}.")
    return found


def as_name(value: object, *, where: str) -> str:
    """Return a name, which may be a path too.

    Raises:
        ConfigError: It is neither a text nor a path, or it is empty.
    """
    name = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(name, str) or not name.strip() or "\x00" in name:
        raise ConfigError(f"this is no name and no path: {shown(value)}", where=where, fix="Give a text or a Path.")
    return name


def as_path(value: object, *, where: str) -> Path:
    """Return a path, in which ``~`` is the home folder.

    Raises:
        ConfigError: It is neither a text nor a path, or it is empty.
    """
    return user_path(as_name(value, where=where))


def as_texts(values: object, *, where: str, some: str) -> list[str]:
    """Return a list of texts: a list, a tuple, a column of a table.

    Args:
        values: What was given.
        where: The function and the argument.
        some: What stands in the list, in the plural, for the messages.

    Raises:
        DataError: It is one text, or no list, or something in it is no text; of several all are named.
    """
    if isinstance(values, str):
        raise DataError(f"one text was given where a list of {some} belongs", where=where, fix="Write [text].")
    if not isinstance(values, Iterable) or isinstance(values, Mapping):
        raise DataError(f"this is no list of {some}: {shown(values)}", where=where, fix="Give a list of texts.")
    found: list[str] = []
    faults: list[LuthierError] = []
    for number, value in enumerate(values):
        if isinstance(value, str):
            found.append(value)
        else:
            faults.append(DataError(f"this is no text: {shown(value)}", where=f"{where}[{number}]", fix="Give a text."))
    raise_faults(f"{len(faults)} of the {some} are no texts", faults)
    return found
