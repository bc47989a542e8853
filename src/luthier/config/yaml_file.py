"""YAML files, with the line on which each key stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import yaml

from luthier.config.safe_yaml import SIZE, read_yaml
from luthier.errors import ConfigError, LuthierError, raise_faults

KeyPath: TypeAlias = tuple[str | int, ...]


def load_yaml(path: Path, error: type[LuthierError] = ConfigError) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """Read a YAML mapping and the line on which each of its keys stands (from 1).

    Raises:
        LuthierError: Of the given class, when the file is missing, is not UTF-8, is not YAML, repeats a key, or is not
            a mapping.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise OSError(0, "it is not a file")  # a pipe would be waited for
        if path.stat().st_size > 4 * SIZE:
            raise OSError(0, f"it has more than {4 * SIZE:,} bytes")
        node, data = read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        if isinstance(fault, UnicodeDecodeError):
            raise error(f"not UTF-8 (byte {fault.start})", where=str(path), fix="Save it as UTF-8.") from None
        reason = fault.strerror if isinstance(fault, OSError) else fault
        raise error(f"cannot read the file ({reason})", where=str(path), fix="Check the path.") from None
    except yaml.YAMLError as fault:
        mark = getattr(fault, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(fault, "problem", None) or str(fault).splitlines()[0]
        raise error(f"not YAML: {problem}", where=f"{path}{line}", fix="Correct the YAML at this line.") from None
    if not isinstance(data, dict):
        raise error("not a mapping of keys to values", where=str(path), fix="Write `key: value` lines.")
    lines: dict[KeyPath, int] = {}
    repeated: list[LuthierError] = []
    _record_lines(node, (), lines, repeated, path, error)
    raise_faults(f"{path} repeats keys", repeated)
    return data, lines


def _record_lines(
    node: yaml.Node | None,
    at: KeyPath,
    lines: dict[KeyPath, int],
    repeated: list[LuthierError],
    path: Path,
    error: type[LuthierError],
) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*at, str(key.value))
            line = key.start_mark.line + 1
            if here in lines:
                where = f"{path}, line {line}"
                what = f"key '{key.value}' was given on line {lines[here]} too"
                repeated.append(error(what, where=where, fix="Keep one of them."))
            lines[here] = line
            _record_lines(value, here, lines, repeated, path, error)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*at, index)] = value.start_mark.line + 1
            _record_lines(value, (*at, index), lines, repeated, path, error)
