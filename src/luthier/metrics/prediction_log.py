"""The log of predictions: JSON lines, one prediction a line, from which every score can be computed again.

Floats come back to the last bit. JSON has no NaN or infinity, so those are written as the strings ``"NaN"``,
``"Infinity"`` and ``"-Infinity"``.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from pathlib import Path

from luthier.errors import DataError, LuthierError, did_you_mean, raise_faults
from luthier.files.atomic import open_atomically
from luthier.files.jsonl import numbered_lines
from luthier.records import Prediction

_DEFAULTS = {f.name: f.default for f in dataclasses.fields(Prediction)}
_REQUIRED = tuple(name for name, default in _DEFAULTS.items() if default is dataclasses.MISSING)
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def write_predictions(path: Path | str, predictions: Iterable[Prediction]) -> None:
    """Write predictions as JSON lines; the file appears whole or not at all.

    Fields that hold their default are left out.

    Raises:
        DataError: The file cannot be written.
    """
    path = Path(path)
    try:
        with open_atomically(path) as file:
            for prediction in predictions:
                file.write(_line(prediction))
    except OSError as error:
        raise DataError(
            f"The predictions cannot be written: {error.strerror}.", where=str(path), fix="Choose a place with room."
        ) from error


def read_predictions(path: Path | str) -> list[Prediction]:
    """Read what `write_predictions` wrote.

    Raises:
        DataError: The file cannot be read, or a line of it is damaged; the message names file and line.
        Faults: Several lines are damaged.
    """
    path = Path(path)
    predictions: list[Prediction] = []
    faults: list[LuthierError] = []
    try:
        for number, line in numbered_lines(path):
            try:
                predictions.append(_prediction(line, f"{path}, line {number}"))
            except DataError as fault:
                faults.append(fault)
    except OSError as error:
        raise DataError(
            f"The predictions cannot be read: {error.strerror or error}.", where=str(path), fix="Check the path."
        ) from error
    raise_faults(f"{len(faults)} lines of {path} cannot be used", faults)
    return predictions


def _line(prediction: Prediction) -> bytes:
    row = {
        name: _to_json(value)
        for name, default in _DEFAULTS.items()
        if (value := getattr(prediction, name)) != default or default is dataclasses.MISSING
    }
    try:
        return (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")
    except UnicodeEncodeError:  # A lone surrogate has no UTF-8; JSON's own escape keeps it.
        return (json.dumps(row, allow_nan=False) + "\n").encode("ascii")


def _to_json(value: object) -> object:
    if isinstance(value, tuple):
        return [_to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _prediction(line: bytes, where: str) -> Prediction:
    fix = "The file was cut off or changed by hand: take the line out, or evaluate again."
    try:
        row = json.loads(line)
    except UnicodeDecodeError as error:
        raise DataError(f"Byte {error.start + 1} of the line is not UTF-8.", where=where, fix=fix) from None
    except json.JSONDecodeError as error:
        raise DataError(
            f"The line is not JSON: {error.msg} at character {error.pos + 1}.", where=where, fix=fix
        ) from None
    except (RecursionError, ValueError):
        raise DataError(
            "The line is nested too deeply, or holds a number of thousands of digits.", where=where, fix=fix
        ) from None
    if not isinstance(row, dict):
        raise DataError(f"The line is not a prediction but a {type(row).__name__}.", where=where, fix=fix)
    missing = [name for name in _REQUIRED if name not in row]
    if missing:
        raise DataError(f"The prediction lacks {', '.join(missing)}.", where=where, fix=fix)
    for name in row:
        if name not in _DEFAULTS:
            raise DataError(f"Unknown field '{name}'.", where=where, fix=did_you_mean(name, _DEFAULTS))
    try:
        return _checked(row)
    except (TypeError, ValueError) as error:
        raise DataError(str(error), where=where, fix=fix) from None


def _checked(row: dict[str, object]) -> Prediction:
    return Prediction(
        id=_string(row, "id"),
        task=_string(row, "task"),
        text=_string(row, "text"),
        targets=_strings(row, "targets"),
        choices=_strings(row, "choices"),
        choice_logprobs=tuple(_float(value, "choice_logprobs") for value in _list(row, "choice_logprobs")),
        choice_tokens=tuple(_int(value, "choice_tokens") for value in _list(row, "choice_tokens")),
        prompt_tokens=_int(row.get("prompt_tokens", 0), "prompt_tokens"),
        generated_tokens=_int(row.get("generated_tokens", 0), "generated_tokens"),
        seconds=_float(row.get("seconds", 0.0), "seconds"),
        finish=_string(row, "finish"),
        group=_string(row, "group"),
        generated=None if row.get("generated") is None else _string(row, "generated"),
        unparsed=_truth(row, "unparsed"),
        choice_greedy=_truths(row, "choice_greedy"),
        wrong=_strings(row, "wrong"),
        choice_priors=tuple(_float(value, "choice_priors") for value in _list(row, "choice_priors")),
    )


def _string(row: dict[str, object], name: str) -> str:
    value = row.get(name, _DEFAULTS[name])
    if not isinstance(value, str):
        raise TypeError(f"'{name}' must be a string, not {value!r}.")
    return value


def _truth(row: dict[str, object], name: str) -> bool:
    value = row.get(name, _DEFAULTS[name])
    if not isinstance(value, bool):
        raise TypeError(f"'{name}' must be true or false, not {value!r}.")
    return value


def _truths(row: dict[str, object], name: str) -> tuple[bool, ...]:
    values = _list(row, name)
    if not all(isinstance(value, bool) for value in values):
        raise TypeError(f"'{name}' must hold true or false, not {values!r}.")
    return tuple(value is True for value in values)


def _list(row: dict[str, object], name: str) -> list[object]:
    value = row.get(name, [])
    if not isinstance(value, list):
        raise TypeError(f"'{name}' must be a list, not {value!r}.")
    return value


def _strings(row: dict[str, object], name: str) -> tuple[str, ...]:
    values = _list(row, name)
    for value in values:
        if not isinstance(value, str):
            raise TypeError(f"'{name}' must hold strings, not {value!r}.")
    return tuple(str(value) for value in values)


def _int(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"'{name}' must hold whole numbers, not {value!r}.")
    return value


def _float(value: object, name: str) -> float:
    if isinstance(value, str) and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"'{name}' must hold numbers, not {value!r}.")
    return float(value)
