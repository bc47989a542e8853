"""The Jinja environment of a task's templates: what they may use, and the first bounds on what they may make.

The bounds stop most of what would fill the memory or never end, with a message that says what. They are not what a
stranger's template is held by: see :mod:`luthier.tasks.rows.templates`. Nothing is computed when a template is
compiled.

- source text: 64 KiB; macros, imports, includes and recursive loops are refused;
- loop steps in one rendering: 100,000; one ``range``: 10,000;
- any text, list or number made on the way, and the output: 8 Mi characters or elements, 4,096 bits;
- methods and filters: only those listed here, all of them deterministic and without attributes of Python's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from datetime import date, time
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from luthier.files.value_text import json_text, value_text

SOURCE_LIMIT = 64 * 1024
STEP_LIMIT = 100_000
RANGE_LIMIT = 10_000
SIZE_LIMIT = 8 * 1024 * 1024
BIT_LIMIT = 4096
_steps_left: ContextVar[int] = ContextVar("steps_left")
"""Of the rendering that is going on: no name of a template stands for it."""

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


def _steps(items: Iterable[Any]) -> Iterator[Any]:
    """Iterate for a loop, at the cost of the rendering's budget."""
    for item in items:
        left = _steps_left.get() - 1
        if left < 0:
            raise SecurityError(f"a template may take at most {STEP_LIMIT} loop steps")
        _steps_left.set(left)
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
        super().__init__(undefined=jinja2.StrictUndefined, autoescape=False, finalize=_text, optimized=False)
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


@pass_context
def _text(_: Context, value: object) -> str:
    """Return what an expression puts out; an undefined name raises here.

    Because it asks for the context, Jinja does not compute constant expressions when it compiles a template.
    """
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


@lru_cache(maxsize=1)
def environment() -> _Environment:
    """Return the one environment."""
    return _Environment()


@lru_cache(maxsize=4096)
def compiled(source: str) -> jinja2.Template:
    """Compile a template.

    Raises:
        jinja2.TemplateSyntaxError: When it is not Jinja, too long, or uses what is refused.
        Exception: Of several classes, when it is nested too deeply, or holds a number of thousands of digits.
    """
    if len(source) > SOURCE_LIMIT:
        raise jinja2.TemplateSyntaxError(f"a template may have at most {SOURCE_LIMIT} characters", 1)
    template = environment().from_string(source)
    # Jinja copies the globals at every rendering, and copies a plain mapping in a quarter of the time.
    template.globals = dict(template.globals)
    return template


@lru_cache(maxsize=4096)
def substitutions(source: str) -> tuple[tuple[bool, str], ...] | None:
    """Return the texts of a template that only puts values where their names stand, and these names; else None.

    Most templates do no more, and a rendering of one takes a tenth of the time without Jinja.
    """
    body = environment().parse(source).body
    if not all(type(node) is nodes.Output for node in body):
        return None
    parts = [part for node in body for part in node.nodes]  # type: ignore[attr-defined]
    found: list[tuple[bool, str]] = []
    for part in parts:
        if type(part) is nodes.TemplateData:
            found.append((False, part.data))
        elif type(part) is nodes.Name and part.ctx == "load":
            found.append((True, part.name))
        else:
            return None
    return tuple(found)


def render_bounded(source: str, values: dict[str, object]) -> str:
    """Render a template in this process, within the bounds of this module.

    Raises:
        Exception: Whatever its expressions raise; ``SecurityError`` for what breaks a bound.
    """
    parts = substitutions(source)
    if parts is not None and all(text in values for is_name, text in parts if is_name):
        return _concat(value_text(values[text]) if is_name else text for is_name, text in parts)
    token = _steps_left.set(STEP_LIMIT)
    try:
        return compiled(source).render(values)
    finally:
        _steps_left.reset(token)
