"""Validation of settings: every fault names its key, where it stands, and the nearest key that exists.

One road for all: a YAML file, ``--set``, flags, and the classes of settings called in Python.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from luthier.arguments import shown
from luthier.config.verbs import VERBS, Verb, belongs, settings_class, verb_of
from luthier.config.yaml_file import KeyPath
from luthier.errors import ConfigError, Faults, LuthierError, did_you_mean

S = TypeVar("S", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Written:
    """Where settings were written, and in what way, for the messages about them.

    Attributes:
        source: A path, ``"--set"``, or the class that was called.
        lines: Line of each key path, from :func:`load_yaml`.
        in_python: As the arguments of a class; else as YAML.
    """

    source: str
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    in_python: bool = False

    def where(self, location: KeyPath) -> str:
        """Return the place of a key: its line, or in Python the class and the setting that holds the key."""
        if self.in_python:
            return _dotted((self.source, *_split(location)[0]))
        line = next((self.lines[location[:k]] for k in range(len(location), 0, -1) if location[:k] in self.lines), None)
        return f"{self.source}, line {line}" if line else self.source

    def key(self, location: KeyPath) -> str:
        """Return a key as it is written here."""
        return _dotted(_split(location)[1]) if self.in_python else ".".join(map(str, location))


def _split(location: KeyPath) -> tuple[KeyPath, KeyPath]:
    """Return the way to a key, and the key with its places in lists: ``("arms", 1)`` is one key in Python."""
    last = max((k for k, part in enumerate(location) if isinstance(part, str)), default=0)
    return location[:last], location[last:]


def _dotted(location: KeyPath) -> str:
    """Write a location as Python does: ``arms[1].training``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")


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
        return TypeAdapter(schema).validate_python(data)
    except ValidationError as invalid:
        raise fault_of(invalid, schema, Written(source, lines or {}), error) from None


def fault_of(
    invalid: ValidationError, schema: type[BaseModel], written: Written, error: type[LuthierError] = ConfigError
) -> LuthierError:
    """Return what is wrong with settings: the only fault, or all of them together."""
    faults = [_fault(schema, dict(item), written, error) for item in invalid.errors()]
    return faults[0] if len(faults) == 1 else Faults(f"{written.source} has {len(faults)} faults", faults)


def _fault(schema: type[BaseModel], item: dict[str, Any], written: Written, error: type[LuthierError]) -> LuthierError:
    location: KeyPath = tuple(part for part in item["loc"] if part not in ("preset", "spelled"))
    unknown = item["type"] in ("extra_forbidden", "invalid_key")  # a key that YAML reads as a number is unknown too
    if unknown:
        location = (*location[:-1], str(location[-1]))
    where, key = written.where(location), written.key(location)
    if not unknown:
        return _wrong_value(schema, item, location, written, error)
    new_name = _new_name(schema, location)
    if new_name:
        what = f"'{location[-1]}' is called '{new_name}' now"
        return error(what, where=where, fix=f"Write {written.key((*location[:-1], new_name))}.")
    verb = verb_of(schema)
    owners = _other_verbs(verb, location) if verb else []
    what = f"unknown key '{key}'"
    if verb and owners:
        what = belongs(key, [_name(owner, written) for owner in owners], _name(verb, written))
    known = did_you_mean(str(location[-1]), _keys(schema, location))
    if len(location) > 1 and location[-1] in schema.model_fields:
        known = f"It stands by itself, in no mapping: write {written.key(location[-1:])}."
    return error(what, where=where, fix=f"Leave it out. {known}" if owners else known)


def _name(verb: Verb, written: Written) -> str:
    """Return what has the settings of a verb: its class in Python, else the command."""
    return settings_class(verb).__name__ if written.in_python else f"`luthier {verb.name}`"


def _wrong_value(
    schema: type[BaseModel], item: dict[str, Any], location: KeyPath, written: Written, error: type[LuthierError]
) -> LuthierError:
    """Return the fault of a key that exists: its value is missing or cannot be used."""
    where, key, kind, given = written.where(location), written.key(location), item["type"], item.get("input")
    if kind == "missing":
        fix = (
            f"Give {location[-1]}=…: {_describe(schema, location)}" if written.in_python else f"Add `{location[-1]}:`."
        )
        return error(f"key '{key}' is missing", where=where, fix=fix)
    message = str(item["msg"]).removeprefix("Value error, ")
    if not location:
        if kind in ("model_type", "dict_type", "json_invalid"):
            why = message if kind == "json_invalid" else shown(given)
            return error(f"these are no settings ({why})", where=where, fix="Give a dictionary of keys and values.")
        return error(message, where=where, fix="Change the keys that are named here.")
    if kind == "string_type" and isinstance(given, bool) and not written.in_python:
        words = ("yes", "on", "true") if given else ("no", "off", "false")
        what = f"key '{key}': YAML reads an unquoted {', '.join(words)} as a truth value, and a text is wanted"
        return error(what, where=where, fix=f'Quote it, as in "{words[0]}".')
    if kind == "tuple_type" and isinstance(given, str):
        items = [part.strip() for part in given.split(",")]
        listed = str(items) if written.in_python else f"[{', '.join(items)}]"
        return error(f"key '{key}': a list is wanted, and one text was given", where=where, fix=f"Write {listed}.")
    given_as = f" (given: {shown(given)})" if not isinstance(given, dict | list) else ""
    return error(f"key '{key}': {message}{given_as}", where=where, fix=_describe(schema, location))


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
    names = [renamed_keys(owner).get(str(location[-1])) for owner in _schemas_at(schema, location)]
    return next((name for name in names if name is not None), None)


def renamed_keys(schema: type[BaseModel]) -> Mapping[str, str]:
    """Return the former names of keys of a class, each with the present one."""
    found: Mapping[str, str] = getattr(schema, "renamed", {})
    return found


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
    way, key = _split(location)  # an item of a list is what the key is
    for owner in _schemas_at(schema, (*way, key[0])):
        found = owner.model_fields.get(str(key[0]))
        if found is not None and found.description:
            return " ".join(found.description.split())
    return "See the documentation of this key."
