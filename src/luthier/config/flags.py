"""Flags of the command line, derived from the typed settings that they stand for."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from luthier.config.validation import renamed_keys
from luthier.config.verbs import VERBS, Flag, Verb, belongs, settings_class
from luthier.errors import ConfigError

Kind: TypeAlias = Literal["text", "whole", "number", "path", "switch", "words", "seeds"]


@dataclass(frozen=True)
class Option:
    """A flag with what its setting says of it.

    Attributes:
        flag: What the verb says of it.
        kind: What its values are: text, a whole number, a number, a path, a switch without a value, words with commas
            between them, or a number or several with commas between them.
        help: The sentence that documents the setting.
        default: The default as the user would write it; "" where there is none to show.
        required: Whether there is no default.
        turns_off: Whether the switch is for a setting that is on by default.
        nullable: Whether the word ``none`` stands for no value.
    """

    flag: Flag
    kind: Kind
    help: str
    default: str
    required: bool
    turns_off: bool
    nullable: bool

    def value(self, given: Any) -> Any:
        """Turn what the command line holds into what the setting takes."""
        if self.kind == "switch":
            return not self.turns_off
        if self.flag.repeated:
            return [word for item in given for word in (_words(item) if self.kind == "words" else [item])]
        if self.kind == "words":
            return [] if given == "none" else _words(given)
        if self.kind == "seeds":
            return _words(given) if "," in given else given
        return None if self.nullable and given == "none" else given


def options_of(verb: Verb) -> list[Option]:
    """Return the flags of a verb that has settings."""
    schema = settings_class(verb)
    return [option_of(schema, flag) for flag in verb.flags]


def option_of(schema: type[BaseModel], flag: Flag) -> Option:
    """Return a flag with the type, help and default of its setting."""
    field = _field(schema, flag.key.split("."))
    kind = _kind(field.annotation)
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    text = " ".join((field.description or "").replace("``", "").split())
    turns_off = kind == "switch" and default is True
    return Option(
        flag=flag,
        kind=kind,
        help=f"Switch this off: {text[0].lower()}{text[1:]}" if turns_off else text,
        default="" if kind == "switch" else _shown(default),
        required=field.is_required(),
        turns_off=turns_off,
        nullable=default is not None and types.NoneType in typing.get_args(field.annotation),
    )


def refuse_option(verb: Verb, name: str) -> None:
    """Say what became of an option that a verb does not have, if it ever did, or whose it is.

    Raises:
        ConfigError: The option was renamed, or belongs to other verbs; nothing is raised for any other option.
    """
    renamed = renamed_keys(settings_class(verb)) if verb.settings else {}
    new_key = renamed.get(name.lstrip("-").replace("-", "_"))
    for flag in verb.flags:
        if flag.key == new_key or name == f"-{flag.former_short}":
            what = f"'{name}' is called '{flag.option}' now"
            raise ConfigError(what, where="the command line", fix=f"Write {flag.option}.")
    owners = [f"`luthier {other.name}`" for other in VERBS if name in [flag.option for flag in other.flags]]
    if owners:
        fix = f"Leave it out; see `luthier {verb.name} --help`."
        raise ConfigError(belongs(name, owners, f"`luthier {verb.name}`"), where="the command line", fix=fix)


def _field(schema: type[BaseModel], path: Sequence[str]) -> FieldInfo:
    field = schema.model_fields[path[0]]
    if len(path) == 1:
        return field
    assert isinstance(field.annotation, type)
    assert issubclass(field.annotation, BaseModel)
    return _field(field.annotation, path[1:])


def _kind(annotation: Any) -> Kind:
    parts = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Annotated:
        return _kind(parts[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        kinds = {_kind(part) for part in parts if part is not types.NoneType}
        return kinds.pop() if len(kinds) == 1 else "seeds" if kinds == {"whole", "words"} else "text"
    if typing.get_origin(annotation) is tuple:
        return "path" if _kind(parts[0]) == "path" else "words"
    kinds_of: dict[Any, Kind] = {bool: "switch", int: "whole", float: "number", Path: "path"}
    return kinds_of.get(annotation, "text")


def _shown(default: object) -> str:
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return "" if default is None else str(default)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
