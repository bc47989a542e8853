"""``--set key=value`` assignments, dotted keys, and the overlay of nested mappings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from luthier.config.safe_yaml import read_yaml
from luthier.errors import ConfigError, first_line

_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Turn ``["training.epochs=2", "data.train=400"]`` into nested keys; values are read as YAML.

    Raises:
        ConfigError: When an item is not ``key=value``.
    """
    values: dict[str, Any] = {}
    for item in assignments:
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"'{item}' is not key=value", where="--set", fix="Write --set training.epochs=2.")
        try:
            values[key.strip()] = _number(read_yaml(value)[1])
        except yaml.YAMLError as fault:
            problem = getattr(fault, "problem", None) or first_line(fault)
            shown = value if len(value) <= 80 else f"{value[:80]}…"
            what = f"the value of '{key}' is not YAML: {shown} ({problem})"
            raise ConfigError(what, where="--set", fix="Write a number, a word, or a list such as [a, b].") from None
    return nested(values)


def nested(dotted: Mapping[str, Any]) -> dict[str, Any]:
    """Turn ``{"data.train": 400}`` into ``{"data": {"train": 400}}``.

    Raises:
        ConfigError: When a key lies below another that has a value.
    """
    tree: dict[str, Any] = {}
    for key, value in dotted.items():
        place = tree
        *parents, last = key.split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                what = f"'{key}' lies below a key that already has a value"
                raise ConfigError(what, where="--set", fix="Set one or the other.")
        if isinstance(place.get(last), dict):
            raise ConfigError(f"'{key}' lies above a key that already has a value", where="--set", fix="Set one.")
        place[last] = value
    return tree


def _number(value: object) -> object:
    """YAML 1.1 reads ``1e-4`` as text; people mean a number."""
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value


def overlay(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with the keys of ``over`` in place of its own; nested mappings are combined key by key."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = overlay(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged
