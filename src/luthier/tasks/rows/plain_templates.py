"""Plain templates: what they take grows with the row alone, as their text shows before they are rendered.

A plain template puts columns into a text: names, their parts, constants, conditions, and filters and methods whose
result is about as long as what they are given. It may loop, but not inside a loop, and name a value, but not one that
grows from step to step: then its work is at most the square of the row's size, and it is plain for rows that are not
large. What is not plain may be harmless as well; it is rendered under hard limits all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from jinja2 import nodes

from luthier.tasks.rows.sandbox import RANGE_LIMIT, environment

_SOURCE_LIMIT = 8 * 1024
"""Characters: each filter may walk over the whole row once."""
_WORK_LIMIT = 1_000_000_000
"""Characters that the loops of a template may walk over: about a second."""
_GROWING_LIMIT = 3
"""Uses of what can make a value several times as large: one after another they would multiply."""
_JOINED_LIMIT = 8
"""Texts joined by ``~`` or ``+``: they are held together, and a named one can be joined again."""
_TEXT_LIMIT = 1024
"""Characters of a constant that is an argument."""

_PARTS = (nodes.Template, nodes.Output, nodes.TemplateData, nodes.Const, nodes.Getattr, nodes.Getitem, nodes.Slice)
_CHOOSES = (nodes.If, nodes.CondExpr, nodes.And, nodes.Or, nodes.Not, nodes.Compare, nodes.Operand)
_OTHERS = (nodes.Concat, nodes.Add, nodes.Sub, nodes.Mod, nodes.Neg, nodes.Pair, nodes.Keyword)
_FILTERS = frozenset(
    {
        *("abs", "capitalize", "count", "d", "default", "first", "float", "int", "last", "length", "lower", "string"),
        *("title", "trim", "upper"),
    }
)
_GROWING = frozenset({"join", "replace", "tojson"})
_LISTS = frozenset({"dictsort", "items", "list", "reverse", "sort", "unique", "wordcount"})
_METHODS = frozenset(
    {
        *("capitalize", "casefold", "count", "endswith", "find", "get", "is_integer", "isalnum", "isalpha", "isascii"),
        *("isdecimal", "isdigit", "islower", "isnumeric", "isspace", "istitle", "isupper", "lower", "lstrip"),
        *("removeprefix", "removesuffix", "rfind", "rstrip", "startswith", "strip", "swapcase", "title", "upper"),
    }
)
_LIST_METHODS = frozenset({"items", "keys", "split", "splitlines", "values"})


@dataclass(frozen=True, slots=True)
class Shape:
    """What the text of a template shows.

    Attributes:
        plain: Whether it is plain for rows that are not large.
        loops: Whether it loops or makes lists, so that the row's size matters.
        least: Steps that a loop may take however small the row is.
        size: How many expressions and texts it has.
    """

    plain: bool
    loops: bool
    least: int
    size: int

    def holds(self, row: Mapping[str, object]) -> bool:
        """Say whether the template is plain for a row."""
        if not self.plain or not self.loops:
            return self.plain
        try:
            size = size_of(row)
        except RecursionError:
            return False
        return size * max(size, self.least) * self.size <= _WORK_LIMIT


@lru_cache(maxsize=4096)
def shape_of(source: str) -> Shape:
    """Read the shape of a template; it must compile."""
    tree = environment().parse(source)
    every = [tree, *tree.find_all(nodes.Node)]
    loops = [node for node in every if isinstance(node, nodes.For)]
    lists = [node for node in every if _name(node) in _LISTS | _LIST_METHODS]
    growing = [node for node in every if _name(node) in _GROWING | _LISTS | _LIST_METHODS]
    joined = sum(len(node.nodes) if isinstance(node, nodes.Concat) else 2 for node in every if _joins(node))
    nested = any(inner is not loop for loop in loops for inner in loop.find_all(nodes.For))
    plain = (
        len(source) <= _SOURCE_LIMIT
        and len(growing) <= _GROWING_LIMIT
        and joined <= _JOINED_LIMIT
        and not nested
        and all(map(_is_plain, every))
    )
    least = RANGE_LIMIT if any(map(_is_range, every)) else 0
    return Shape(plain, bool(loops or lists), least, len(every))


def size_of(value: object) -> int:
    """Return about how many characters a value has as text, its parts included."""
    if isinstance(value, str | bytes):
        return 1 + len(value)
    if isinstance(value, Mapping):
        return 1 + sum(size_of(key) + size_of(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return 1 + sum(map(size_of, value))
    return 1 + value.bit_length() if isinstance(value, int) else 24


def _name(node: nodes.Node) -> str:
    """Return the name of a filter or a method; "" for anything else."""
    if isinstance(node, nodes.Filter):
        return node.name
    return node.node.attr if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr) else ""


def _joins(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Concat | nodes.Add)


def _is_range(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name) and node.node.name == "range"


def _is_plain(node: nodes.Node) -> bool:
    match node:
        case nodes.Name():
            return node.ctx in ("load", "store")
        case nodes.Filter():
            return node.name in _FILTERS | _GROWING | _LISTS and _has_constants(node)
        case nodes.Test():
            return _has_constants(node)
        case nodes.Call():
            known = _name(node) in _METHODS | _LIST_METHODS
            return (known and _has_constants(node)) or (_is_range(node) and not node.kwargs)
        case nodes.Tuple() if node.ctx == "store":
            return all(isinstance(item, nodes.Name) for item in node.items)
        case nodes.List() | nodes.Tuple():
            return all(isinstance(item, nodes.Const) for item in node.items)
        case nodes.Dict():
            return all(isinstance(pair.value, nodes.Const) for pair in node.items)
        case nodes.For():
            return not node.recursive
        case nodes.Assign():
            return isinstance(node.target, nodes.Name)
        case _:
            return isinstance(node, _PARTS + _CHOOSES + _OTHERS)


def _has_constants(node: nodes.Filter | nodes.Test | nodes.Call) -> bool:
    """Say whether the arguments of a filter, a test or a method are short constants."""
    given = [*node.args, *(pair.value for pair in node.kwargs)]
    constants = [item for item in given if isinstance(item, nodes.Const)]
    short = all(len(item.value) <= _TEXT_LIMIT for item in constants if isinstance(item.value, str))
    return short and len(constants) == len(given) and node.dyn_args is None and node.dyn_kwargs is None
