"""Fill in the tables of ``docs/configuration.md`` from the classes that own the settings.

    python -m docs.configuration

A table stands between ``<!-- settings: module.Class -->`` and ``<!-- end -->``; the name ``methods`` stands for the
settings of every method, ``objectives`` for those of every preference objective, and ``flags`` for the flags of every
verb. The rest of the page is written by hand.
"""

from __future__ import annotations

import importlib
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from luthier.config.base import Settings
from luthier.config.verbs import VERBS
from luthier.methods.registry import METHODS
from luthier.objectives.registry import OBJECTIVES

PAGE = Path(__file__).with_name("configuration.md")
_TABLE = re.compile(r"<!-- settings: (?P<name>[\w.]+) -->\n.*?<!-- end -->", re.DOTALL)
_WORDS = {int: "whole number", float: "number", str: "text", bool: "true or false", Path: "path"}
_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def fill(page: str) -> str:
    """Return the page with every table written anew."""
    return _TABLE.sub(
        lambda found: f"<!-- settings: {found['name']} -->\n\n{_content(found['name'])}\n<!-- end -->", page
    )


def classes(page: str) -> set[str]:
    """Return the names that the page has tables for."""
    return {found["name"] for found in _TABLE.finditer(page)}


def _content(name: str) -> str:
    if name == "methods":
        return "\n".join(_method(name) for name in sorted(METHODS))
    if name == "objectives":
        with_settings = [name for name in sorted(OBJECTIVES) if OBJECTIVES[name].settings_class.model_fields]
        return "\n".join(map(_objective, with_settings))
    if name == "flags":
        return _flags()
    module, _, class_name = name.rpartition(".")
    return table(getattr(importlib.import_module(module), class_name))


def _method(name: str) -> str:
    method = METHODS[name]
    head = f"**`{name}`**, peak learning rate {method.learning_rate:g} when none is given"
    if not method.settings_class.model_fields:
        return f"{head}; it has no settings of its own.\n"
    return f"{head}:\n\n{table(method.settings_class)}"


def _objective(name: str) -> str:
    objective = OBJECTIVES[name]
    head = f"**`{name}`**, peak learning rate of the method × {objective.rate_factor:g} when none is given"
    return f"{head}:\n\n{table(objective.settings_class)}"


def _flags() -> str:
    rows = ["| verb | flag | setting |", "|---|---|---|"]
    for verb in VERBS:
        for flag in verb.flags:
            short = f"`-{flag.short}`, " if flag.short else ""
            given = f"the argument `{flag.key}`" if flag.position else f"{short}`{flag.option}`"
            rows.append(f"| `{verb.name}` | {given} | `{flag.key}` |")
    return "\n".join(rows) + "\n"


def table(settings: type[Settings]) -> str:
    """Return the Markdown table of one class: key, kind of value, default, meaning."""
    rows = [_row(field.alias or name, field) for name, field in settings.model_fields.items()]
    return "\n".join(["| key | value | default | meaning |", "|---|---|---|---|", *rows]) + "\n"


def _row(name: str, field: FieldInfo) -> str:
    meaning = " ".join((field.description or "").replace("``", "`").split())
    cells = (f"`{name}`", _kind(field), _default(field), meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _kind(field: FieldInfo) -> str:
    return _bounded(_spelled(field.annotation), field.metadata)


def _bounded(words: str, metadata: Sequence[Any]) -> str:
    bounds = [
        f"{sign} {getattr(item, key)}"
        for item in metadata
        for key, sign in _BOUNDS.items()
        if getattr(item, key, None) is not None
    ]
    return " ".join([words, ", ".join(bounds)]).strip()


def _spelled(annotation: Any) -> str:
    """Say in words what values a type has; ``None`` is left to the column of defaults."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _bounded(_spelled(parts[0]), [item for part in parts[1:] for item in getattr(part, "metadata", [part])])
    if origin is typing.Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_spelled(part) for part in parts if part is not types.NoneType)
    if origin is tuple:
        inner = _spelled(parts[0])
        return f"list of {inner}" if parts[-1] is Ellipsis else f"list of {len(parts)} {inner}s"
    if origin in (dict, Mapping) or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return "mapping"
    return _WORDS[annotation]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "below"
    return f"`{_yaml(value)}`"


def _yaml(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_yaml, value))}]"
    return '""' if value == "" else str(value)


def main() -> None:
    """Write the page anew."""
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
