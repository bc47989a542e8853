"""Paths in a configuration file are relative to it, as those in a task are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier.errors import ConfigError
from luthier.user_path import user_path

_READ = ("model", "task", "tasks", "retain", "retention_text", "adapter", "start")
_NAMES = ("task", "tasks", "retain")
"""Settings that may hold the name of a built-in task, which needs no file."""
_HARNESS = "lm_eval:"
"""How a task of lm-eval is named, or a YAML or a folder of such tasks."""
_WRITTEN = ("runs", "save", "answers")
_DATA = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".tab", ".parquet", ".pq", ".txt", ".gz")


def refuse_other_files(file: Path, data: Mapping[str, Any] | None, verb: str) -> None:
    """Refuse a task or a data file that is given where a configuration is expected.

    Args:
        file: What was given.
        data: What it says; None before it is read.
        verb: The verb that it was given to.

    Raises:
        ConfigError: It is one of them.
    """
    fix = f"Write `luthier {verb} --{'tasks' if verb == 'eval' else 'task'} {file}`."
    if data is None and file.suffix.lower() in _DATA:
        raise ConfigError("this is a data file, and a configuration is expected here", where=str(file), fix=fix)
    if data is not None and "templates" in data and "source" in data:
        raise ConfigError("this is a task, and a configuration is expected here", where=str(file), fix=fix)
    if data is not None and "tasks" in data and verb != "eval" and "arms" not in data and "task" not in data:
        raise ConfigError("this is a mixture, and a configuration is expected here", where=str(file), fix=fix)


def relative_to(file: Path, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of a file with its relative paths as they are seen from the working directory.

    What is read and does not lie beside the file stays as it is: the id of a model, the name of a task, or a path from
    the working directory.
    """
    folder = file.parent
    if folder == Path():
        return dict(data)
    found = dict(data)
    for key in _READ:
        value = found.get(key)
        if isinstance(value, str):
            found[key] = _beside(folder, value, named=key in _NAMES)
        elif isinstance(value, list):
            found[key] = [_beside(folder, item, named=True) if isinstance(item, str) else item for item in value]
    if isinstance(found.get("arms"), list):
        found["arms"] = [_arm_beside(folder, item) if isinstance(item, Mapping) else item for item in found["arms"]]
    for key in _WRITTEN:
        if isinstance(found.get(key), str) and not user_path(found[key]).is_absolute():
            found[key] = str(folder / found[key])
    return found


def _arm_beside(folder: Path, arm: Mapping[str, Any]) -> dict[str, Any]:
    """Return an arm that is spelled out, with the files that it is trained on."""
    found = dict(arm)
    if isinstance(found.get("mixture"), str):
        found["mixture"] = _beside(folder, found["mixture"], named=False)
    if isinstance(found.get("start"), str):
        found["start"] = _beside(folder, found["start"], named=False)
    replay = found.get("replay")
    if isinstance(replay, Mapping) and isinstance(replay.get("from"), str):
        found["replay"] = {**replay, "from": _beside(folder, replay["from"], named=True)}
    return found


def _beside(folder: Path, value: str, *, named: bool) -> str:
    if value.startswith(_HARNESS):
        return _HARNESS + _beside(folder, value.removeprefix(_HARNESS), named=named)
    path = user_path(value)
    if not value or path.is_absolute() or value.startswith("hf:") or value == "mini":
        return value
    if named and len(path.parts) == 1 and not path.suffix:
        return value
    try:
        return str(folder / path) if (folder / path).exists() else value
    except (OSError, ValueError):  # a name that no file can have
        return value
