"""The one reader of YAML: plain values, in bounded time and memory; whatever is wrong is a YAMLError with its place.

Mappings, lists, texts, numbers, truth values and null are read, and anchors with their aliases where they stay small.
A date is a text: nothing here has use for another. Tags of other types, values that contain themselves, nesting beyond
:data:`DEPTH`, numbers that no setting can hold, and texts with half of a surrogate pair are refused.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.resolver import Resolver

SIZE = 2**20
"""Characters of a text."""
DEPTH = 60
"""Mappings and lists inside one another."""
NODES = 200_000
"""Keys and values, those behind an alias counted each time that it stands for them."""
_HALF = re.compile("[\ud800-\udfff]")
_LARGEST = 2**63
_DIGITS = 400
_PREFIX = "tag:yaml.org,2002:"
_KNOWN = frozenset(_PREFIX + kind for kind in ("bool", "float", "int", "map", "merge", "null", "seq", "str"))


_RESOLVERS = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in _KNOWN]
    for first, resolvers in Resolver.yaml_implicit_resolvers.items()
}


class _Loader(yaml.SafeLoader):
    """Refuses what is out of bounds while it reads."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.yaml_implicit_resolvers = _RESOLVERS
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        if self._depth > DEPTH + 1:
            raise _fault(f"more than {DEPTH} mappings and lists inside one another", self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if node.tag not in _KNOWN:
            raise _fault(f"the tag {node.tag.replace(_PREFIX, '!!')} is not read", node.start_mark)
        if node.tag in (_PREFIX + "int", _PREFIX + "float") and len(node.value) > _DIGITS:
            raise _fault(f"a number of more than {_DIGITS} characters (quote it if a text is meant)", node.start_mark)
        try:
            value = super().construct_object(node, deep=True)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            kind = node.tag.rpartition(":")[2]
            raise _fault(f"the value cannot be read as {kind}", node.start_mark) from None
        if isinstance(value, str) and _HALF.search(value):
            value = _joined(value, node.start_mark)
        if isinstance(value, int) and abs(value) >= _LARGEST:
            raise _fault("a whole number beyond 64 bits (quote it if a text is meant)", node.start_mark)
        return value


def _joined(text: str, mark: yaml.Mark) -> str:
    """Join the halves of characters that JSON writes as ``\\ud83d\\ude00``; a half that stands alone is in no file."""
    try:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        raise _fault(f"a text holds half of a character (U+{ord(_HALF.search(text)[0]):04X})", mark) from None  # type: ignore[index]


def read_yaml(text: str) -> tuple[yaml.Node | None, Any]:
    """Return the nodes of a YAML text, and its value.

    Raises:
        yaml.YAMLError: When it is not YAML, or out of the bounds of this module.
    """
    if len(text) > SIZE:
        raise _fault(f"more than {SIZE:,} characters")
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, None
        _count(node, {}, ())
        return node, _value(text)
    except RecursionError:
        raise _fault("nested too deeply") from None
    finally:
        loader.dispose()


def _value(text: str) -> Any:
    """Return the value; reading anew leaves the nodes as they are, because merging keys changes them."""
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _count(node: yaml.Node, known: dict[int, int], above: tuple[int, ...]) -> int:
    """Count the nodes that a node stands for; refuse those that contain themselves."""
    if id(node) in above:
        raise _fault("a value that contains itself", node.start_mark)
    if id(node) not in known:
        inside: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            inside = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            inside = node.value
        known[id(node)] = 1 + sum(_count(part, known, (*above, id(node))) for part in inside)
        if known[id(node)] > NODES:
            raise _fault(f"aliases stand for more than {NODES:,} values", node.start_mark)
    return known[id(node)]


def _fault(problem: str, mark: yaml.Mark | None = None) -> ConstructorError:
    return ConstructorError(None, None, problem, mark)
