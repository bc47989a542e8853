"""HTML of the report, on the page and in notebooks: every text is escaped, and what cannot be seen is written out."""

from __future__ import annotations

import functools
import re
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from luthier.report.tables import MARKS
from luthier.visible import visible


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("luthier.report", ""),
        autoescape=True,
        # Whatever the template writes; what is markup already is our own.
        finalize=lambda value: visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(marks=MARKS, breakable=breakable)
    return environment


def template(name: str) -> Template:
    """Return one of the report's templates."""
    return _environment().get_template(name)


def resource(name: str) -> str:
    """Return one of the report's own files."""
    return resources.files("luthier.report").joinpath(name).read_text(encoding="utf-8")


def breakable(name: str) -> Markup:
    """Let a long name be broken after its underscores and dashes."""
    return Markup(re.sub(r"([_/-])", r"\1<wbr>", str(escape(visible(name)))))
