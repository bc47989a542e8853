"""Jinja templates that turn a row into text, safe to take from other people's files.

A template sees the row's columns, and the whole row as ``row``. It is sandboxed (Jinja's immutable sandbox) and bounded
beyond that, because a sandbox alone does not stop a template from filling the memory or never ending:

- source text: 64 KiB; macros, imports, includes and recursive loops are refused;
- loop steps in one rendering: 100,000; one ``range``: 10,000;
- any text, list or number made on the way, and the output: 8 Mi characters or elements, 4,096 bits;
- methods and filters: only those listed here, all of them deterministic and without attributes of Python's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, time
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from luthier.errors import LuthierError, TaskError, did_you_mean, listed
from luthier.files.value_text import json_text, value_text
from luthier.records import Row

SOURCE_LIMIT = 64 * 1024
STEP_LIMIT = 100_000
RANGE_LIMIT = 10_000
SIZE_LIMIT = 8 * 1024 * 1024
BIT_LIMIT = 4096
_BUDGET = "_luthier_budget"

_METHODS: dict[type, frozenset[str]] = {
    str: frozenset(
        [
            "capitalize",
            "casefold",
            "count",
            "endswith",
            "find",
            "index",
            "isalnum",
            "isalpha",
            "isascii",
            "isdecimal",
            "isdigit",
            "islower",
            "isnumeric",
            "isspace",
            "istitle",
            "isupper",
            "join",
            "lower",
            "lstrip",
            "partition",
            "removeprefix",
            "removesuffix",
            "replace",
            "rfind",
            "rindex",
            "rpartition",
            "rsplit",
            "rstrip",
            "split",
            "splitlines",
            "startswith",
            "strip",
            "swapcase",
            "title",
            "upper",
        ]
    ),
    dict: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
    int: frozenset(),
    float: frozenset({"is_integer"}),
    bytes: frozenset(),
}
_FILTERS = [
    "abs",
    "capitalize",
    "count",
    "d",
    "default",
    "dictsort",
    "first",
    "float",
    "int",
    "items",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "reverse",
    "round",
    "select",
    "selectattr",
    "sort",
    "string",
    "sum",
    "title",
    "trim",
    "truncate",
    "unique",
    "upper",
    "wordcount",
]


class _Budget:
    def __init__(self) -> None:
        self.left = STEP_LIMIT


def _bounded(size: int) -> None:
    if size > SIZE_LIMIT:
        raise SecurityError(f"a template may make at most {SIZE_LIMIT} characters or elements")


def _concat(parts: Iterable[str]) -> str:
    """Join what a template puts out, and stop where it is too much."""
    kept: list[str] = []
    size = 0
    for part in parts:
        size += len(part)
        _bounded(size)
        kept.append(part)
    return "".join(kept)


@pass_context
def _steps(context: Context, items: Iterable[Any]) -> Iterator[Any]:
    """Iterate for a loop, at the cost of the rendering's budget."""
    budget: _Budget = context[_BUDGET]
    for item in items:
        budget.left -= 1
        if budget.left < 0:
            raise SecurityError(f"a template may take at most {STEP_LIMIT} loop steps")
        yield item


def _join_all(parts: Iterable[Any]) -> str:
    return _concat(map(value_text, parts))


def _join(items: Iterable[Any], d: str = "", attribute: str | None = None) -> str:
    if attribute is not None:
        items = [item[attribute] for item in items]
    texts = [value_text(item) for item in items]
    _bounded(sum(map(len, texts)) + len(d) * len(texts))
    return d.join(texts)


def _replace(text: object, old: str, new: str, count: int | None = None) -> str:
    whole = value_text(text)
    _bounded(len(whole) + whole.count(old) * len(new))
    return whole.replace(old, new, -1 if count is None else count)


def _range(*bounds: int) -> range:
    steps = range(*bounds)
    if len(steps) > RANGE_LIMIT:
        raise SecurityError(f"range() may have at most {RANGE_LIMIT} steps")
    return steps


class _BoundConcat(NodeTransformer):
    """Send ``a ~ b`` and the iterables of loops through the bounds; refuse what has none."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return nodes.Filter(nodes.List(node.nodes), "_join_all", [], [], None, None, lineno=node.lineno)

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        if node.recursive:
            raise jinja2.TemplateSyntaxError("recursive loops are refused", node.lineno)
        self.generic_visit(node)
        node.iter = nodes.Filter(node.iter, "_steps", [], [], None, None, lineno=node.lineno)
        return node

    def _refuse(self, node: nodes.Node) -> nodes.Node:
        raise jinja2.TemplateSyntaxError(f"{type(node).__name__.lower()} is refused in a template", node.lineno)

    visit_Macro = visit_CallBlock = visit_Include = visit_Import = visit_FromImport = visit_Extends = _refuse  # noqa: N815
    visit_Block = visit_Continue = visit_Break = _refuse  # noqa: N815


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "*", "**", "%"})
    concat = staticmethod(_concat)

    def __init__(self) -> None:
        super().__init__(undefined=jinja2.StrictUndefined, autoescape=False, finalize=_text)
        self.filters = {name: self.filters[name] for name in _FILTERS} | {
            "join": _join,
            "replace": _replace,
            "string": value_text,
            "tojson": json_text,
            "_steps": _steps,
            "_join_all": _join_all,
        }
        self.globals = {"range": _range, "dict": dict, "namespace": self.globals["namespace"]}

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        return super()._generate(_BoundConcat().visit(source), *args, **kwargs)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if not super().is_safe_attribute(obj, attr, value):
            return False
        for kind, allowed in _METHODS.items():
            if isinstance(obj, kind):
                return attr in allowed
        return not callable(value) or isinstance(obj, date | time) or type(obj).__module__.startswith("jinja2.")

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        # The sandbox lets a bounded form of str.format through, but not one bounded in width.
        if getattr(value, "__name__", "") in ("format", "format_map") and isinstance(
            getattr(value, "__self__", None), str
        ):
            raise SecurityError("str.format is refused in a template; write {{ … }}")
        return None

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        _bound_operation(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        text = getattr(__obj, "__self__", None)
        method = getattr(__obj, "__name__", "")
        if isinstance(text, str) and method == "replace":
            return _replace(text, *args, **kwargs)
        if isinstance(text, str) and method == "join":
            return _join(args[0] if args else (), text)
        return super().call(__context, __obj, *args, **kwargs)


def _text(value: object) -> str:
    """Return what an expression puts out; an undefined name raises here."""
    return value_text(value)


def _bound_operation(operator: str, left: object, right: object) -> None:
    sized = (str, bytes, list, tuple)
    if operator == "+" and isinstance(left, sized) and isinstance(right, sized):
        _bounded(len(left) + len(right))
    elif operator == "*":
        for items, times in ((left, right), (right, left)):
            if isinstance(items, sized) and isinstance(times, int):
                _bounded(len(items) * times)
        if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > BIT_LIMIT:
            raise SecurityError("a number in a template became too large")
    elif operator == "**" and not (isinstance(left, int | float) and isinstance(right, int) and abs(right) <= 64):
        raise SecurityError("powers in a template go up to 64")
    elif operator == "**" and isinstance(left, int) and left.bit_length() * 64 > BIT_LIMIT:
        raise SecurityError("a number in a template became too large")
    elif operator == "%" and isinstance(left, str | bytes):
        raise SecurityError("formatting with % is refused in a template; write {{ … }}")


@lru_cache(maxsize=4096)
def _compile(source: str) -> jinja2.Template:
    if len(source) > SOURCE_LIMIT:
        raise jinja2.TemplateSyntaxError(f"a template may have at most {SOURCE_LIMIT} characters", 1)
    return _environment().from_string(source)


@lru_cache(maxsize=1)
def _environment() -> _Environment:
    return _Environment()


@dataclass(frozen=True, slots=True)
class Template:
    """One Jinja text.

    Attributes:
        source: The Jinja text; one newline at its end is not part of the output.
        where: File, line and key, for messages.
    """

    source: str
    where: str = ""

    def check(self) -> None:
        """Compile the template.

        Raises:
            TaskError: When it is not Jinja, or uses what is refused.
        """
        try:
            _compile(self.source)
        except jinja2.TemplateSyntaxError as fault:
            what = f"not a Jinja template: {fault.message} (line {fault.lineno} of the template)"
            raise TaskError(
                what, where=self.where, fix="Correct the template; columns are written {{ column }}."
            ) from None
        except (RecursionError, jinja2.TemplateError, SecurityError, MemoryError, OverflowError, SyntaxError) as fault:
            raise TaskError(f"a template that cannot be compiled ({fault})", where=self.where) from None

    def render(self, row: Row) -> str:
        """Return the text for a row.

        Raises:
            TaskError: When the row lacks a column that the template needs, or the template fails on this row.
        """
        self.check()
        try:
            return _compile(self.source).render({"row": row, **row, _BUDGET: _Budget()})
        except jinja2.UndefinedError as fault:
            raise self._undefined(str(fault.message), row) from None
        except SecurityError as fault:
            raise TaskError(f"the template was stopped: {fault}", where=self.where, fix="Make it simpler.") from None
        except LuthierError:
            raise
        except Exception as fault:  # a template can raise anything that its expressions can
            raise TaskError(f"the template failed: {type(fault).__name__}: {fault}", where=self.where) from None

    def _undefined(self, message: str, row: Row) -> TaskError:
        name = re.fullmatch(r"'(\w+)' is undefined", message)
        if name is None:
            return TaskError(f"the template failed: {message}", where=self.where, fix=f"Columns: {listed(row)}.")
        what = f"column '{name[1]}' does not exist"
        return TaskError(what, where=self.where, fix=did_you_mean(name[1], map(str, row)))


def find_input(prompt: str, row: Row, column: str | None, render: Callable[[Row], str]) -> tuple[int, int] | None:
    """Find the input text in a rendered prompt.

    Args:
        prompt: The rendered prompt.
        row: The row that it was rendered from.
        column: The column that holds the input text; the longest text that stands in the prompt when not given.
        render: Renders a prompt from a row; called again only where the text stands in the prompt more than once.

    Returns:
        Characters ``[start, end)`` of the prompt, or None when no column stands in it as it is.
    """
    names = [column] if column is not None else [name for name, value in row.items() if isinstance(value, str)]
    texts = [(value_text(row[name]).strip(), name) for name in names if row.get(name) is not None]
    for text, name in sorted(texts, key=lambda pair: len(pair[0]), reverse=True):
        start = prompt.find(text) if text else -1
        if start < 0:
            continue
        if prompt.find(text, start + 1) >= 0:
            start = _place(text, name, row, render, start)
        return start, start + len(text)
    return None


def _place(text: str, name: str, row: Row, render: Callable[[Row], str], first: int) -> int:
    """Return where the template itself puts a text that occurs several times in the prompt."""
    mark = "\ue000\ue001\ue000"
    try:
        place = render({**row, name: mark}).find(mark)
    except LuthierError:
        return first
    return place if place >= 0 else first
