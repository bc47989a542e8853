"""Validation of settings: every fault names its key, its line and the nearest key that exists."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from luthier.config.base import Settings
from luthier.config.verbs import VERBS, Verb, belongs, settings_class, verb_of
from luthier.config.yaml_file import KeyPath
from luthier.errors import ConfigError, LuthierError, did_you_mean, raise_faults

S = TypeVar("S", bound=BaseModel)


def validate(
    schema: type[S],
    data: Mapping[str, Any],
    *,
    source: str,
    lines: Mapping[KeyPath, int] | None = None,
    error: type[LuthierError] = ConfigError,
) -> S:
    """Turn plain data into a configuration.

    Args:
        schema: The pydantic class.
        data: Keys and values, nested.
        source: Where the data came from, for messages (a path, ``"--set"``).
        lines: Line of each key path, from :func:`load_yaml`.
        error: Class of the faults raised.

    Raises:
        LuthierError: One fault, or :class:`~luthier.errors.Faults` with all of them.
    """
    try:
        return schema.model_validate(data)
    except ValidationError as invalid:
        faults = [_fault(schema, dict(item), source, lines or {}, error) for item in invalid.errors()]
    raise_faults(f"{source} has {len(faults)} faults", faults)
    raise AssertionError("unreachable")


def _fault(
    schema: type[BaseModel],
    item: dict[str, Any],
    source: str,
    lines: Mapping[KeyPath, int],
    error: type[LuthierError],
) -> LuthierError:
    location: KeyPath = tuple(part for part in item["loc"] if part not in ("preset", "spelled"))
    unknown = item["type"] in ("extra_forbidden", "invalid_key")  # a key that YAML reads as a number is unknown too
    if unknown:
        location = (*location[:-1], str(location[-1]))
    line = next((lines[location[:k]] for k in range(len(location), 0, -1) if location[:k] in lines), None)
    where = f"{source}, line {line}" if line else source
    key = ".".join(str(part) for part in location)
    if not unknown:
        return _wrong_value(schema, item, location, where, error)
    new_name = _new_name(schema, location)
    if new_name:
        what = f"'{location[-1]}' is called '{new_name}' now"
        return error(what, where=where, fix=f"Write {'.'.join(map(str, (*location[:-1], new_name)))}.")
    verb = verb_of(schema)
    owners = _other_verbs(verb, location) if verb else []
    keys = _keys(schema, location)
    what = belongs(key, owners, verb) if verb and owners else f"unknown key '{key}'"
    known = did_you_mean(str(location[-1]), keys)
    return error(what, where=where, fix=f"Leave it out. {known}" if owners else known)


def _wrong_value(
    schema: type[BaseModel], item: dict[str, Any], location: KeyPath, where: str, error: type[LuthierError]
) -> LuthierError:
    """Return the fault of a key that exists: its value is missing or cannot be used."""
    key = ".".join(str(part) for part in location)
    if item["type"] == "missing":
        return error(f"key '{key}' is missing", where=where, fix=f"Add `{location[-1]}:`.")
    message = str(item["msg"]).removeprefix("Value error, ")
    if not location:
        return error(message, where=where, fix="Change the keys that are named here.")
    given = item.get("input")
    if item["type"] == "string_type" and isinstance(given, bool):
        words = ("yes", "on", "true") if given else ("no", "off", "false")
        what = f"key '{key}': YAML reads an unquoted {', '.join(words)} as a truth value, and a text is wanted"
        return error(what, where=where, fix=f'Quote it, as in "{words[0]}".')
    shown = f" (given: {given!r})" if not isinstance(given, dict | list) else ""
    return error(f"key '{key}': {message}{shown}", where=where, fix=_describe(schema, location))


def _schemas_at(schema: type[BaseModel], location: KeyPath) -> list[type[BaseModel]]:
    """Return the settings classes that own the last key of a location."""
    owners: list[type[BaseModel]] = [schema]
    for part in location[:-1]:
        nested: list[type[BaseModel]] = []
        for owner in owners:
            if isinstance(part, str) and part in owner.model_fields:
                nested += models_in(owner.model_fields[part].annotation)
        owners = nested or owners
    return owners


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the settings classes that a type names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in models_in(part)]


def _keys(schema: type[BaseModel], location: KeyPath) -> set[str]:
    return {
        field.alias or name for owner in _schemas_at(schema, location) for name, field in owner.model_fields.items()
    }


def _new_name(schema: type[BaseModel], location: KeyPath) -> str | None:
    """Return the present name of a key that was renamed; None for a key that never existed."""
    for owner in _schemas_at(schema, location):
        if issubclass(owner, Settings) and location[-1] in owner.renamed:
            return owner.renamed[str(location[-1])]
    return None


def _other_verbs(verb: Verb, location: KeyPath) -> list[Verb]:
    """Return the other verbs that have a setting at a location."""
    others = [other for other in VERBS if other.settings and other is not verb]
    return [other for other in others if has_key(settings_class(other), location)]


def has_key(schema: type[BaseModel], location: KeyPath) -> bool:
    """Whether a settings class has a setting at a location."""
    field = schema.model_fields.get(str(location[0]))
    if field is None or len(location) == 1:
        return field is not None
    return any(has_key(inner, location[1:]) for inner in models_in(field.annotation))


def _describe(schema: type[BaseModel], location: KeyPath) -> str:
    for owner in _schemas_at(schema, location):
        field = owner.model_fields.get(str(location[-1])) if location else None
        if field is not None and field.description:
            return field.description.split("\n")[0]
    return "See the documentation of this key."
