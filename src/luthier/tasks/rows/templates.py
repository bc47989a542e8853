"""Jinja templates that turn a row into text, safe to take from other people's files.

A template sees the row's columns, and the whole row as ``row``. The sandbox of :mod:`luthier.tasks.rows.sandbox` says
what it may use. A sandbox alone does not stop a template from filling the memory or never ending, so that a template is
rendered in this process only if it comes with Luthier, or is plain: see :mod:`luthier.tasks.rows.plain_templates`.
Every other one is rendered by :mod:`luthier.files.limited_worker`, under limits that no expression can reach.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import jinja2
from jinja2.exceptions import SecurityError

from luthier.errors import LuthierError, TaskError, did_you_mean
from luthier.files.limited_worker import Stopped, shared_worker
from luthier.files.value_text import value_text
from luthier.records import Row
from luthier.tasks.rows.plain_templates import shape_of
from luthier.tasks.rows.sandbox import compiled, render_bounded


@dataclass(frozen=True, slots=True)
class Template:
    """One Jinja text.

    Attributes:
        source: The Jinja text; one newline at its end is not part of the output.
        where: File, line and key, for messages.
        trusted: It comes with Luthier, and is rendered in this process whatever it does.
    """

    source: str
    where: str = ""
    trusted: bool = False

    def check(self) -> None:
        """Compile the template.

        Raises:
            TaskError: When it is not Jinja, or uses what is refused.
        """
        try:
            compiled(self.source)
        except jinja2.TemplateSyntaxError as fault:
            what = f"not a Jinja template: {fault.message} (line {fault.lineno} of the template)"
            raise TaskError(
                what, where=self.where, fix="Correct the template; columns are written {{ column }}."
            ) from None
        except (RecursionError, jinja2.TemplateError, SecurityError, MemoryError, ArithmeticError) as fault:
            raise TaskError(f"a template that cannot be compiled ({fault})", where=self.where) from None
        except (ValueError, SyntaxError) as fault:  # a number of thousands of digits; too deeply nested for Python
            raise TaskError(f"a template that cannot be compiled ({fault})", where=self.where) from None

    @property
    def is_limited(self) -> bool:
        """Whether it is rendered by the worker, however small the row is."""
        if self.trusted:
            return False
        try:
            self.check()
        except TaskError:
            return False
        return not shape_of(self.source).plain

    def render(self, row: Row) -> str:
        """Return the text for a row.

        Raises:
            TaskError: When the row lacks a column that the template needs, the template fails on this row, or it takes
                too long or too much memory.
        """
        self.check()
        if self.trusted or shape_of(self.source).holds(row):
            return render_row((self.source, self.where, row))
        try:
            return shared_worker().ask(f"{__name__}:{render_row.__name__}", (self.source, self.where, row))
        except Stopped as fault:
            raise TaskError(f"the template was stopped: {fault}", where=self.where, fix="Make it simpler.") from None
        except RecursionError:
            raise TaskError("the row is nested too deeply for a template", where=self.where) from None


def expect_rendering(asked: Iterable[tuple[Template, Row]]) -> None:
    """Announce what will be rendered next: what goes to the worker goes there together, under the limits of each."""
    items = [(template.source, template.where, row) for template, row in asked if template.is_limited]
    if items:
        shared_worker().expect(f"{__name__}:{render_row.__name__}", items)


def render_row(asked: tuple[str, str, Row]) -> str:
    """Render a template, given with the place where it stands, for a row; see :meth:`Template.render`."""
    source, where, row = asked
    try:
        return render_bounded(source, {"row": row, **row})
    except jinja2.UndefinedError as fault:
        raise _undefined(str(fault.message), row, where) from None
    except SecurityError as fault:
        raise TaskError(f"the template was stopped: {fault}", where=where, fix="Make it simpler.") from None
    except (LuthierError, MemoryError):
        raise
    except Exception as fault:  # a template can raise anything that its expressions can
        raise TaskError(f"the template failed: {type(fault).__name__}: {fault}", where=where) from None


def _undefined(message: str, row: Row, where: str) -> TaskError:
    name = re.fullmatch(r"'(\w+)' is undefined", message)
    if name is None:
        return TaskError(f"the template failed: {message}", where=where, fix=f"Columns: {', '.join(row)}.")
    return TaskError(f"column '{name[1]}' does not exist", where=where, fix=did_you_mean(name[1], map(str, row)))


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
