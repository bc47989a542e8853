"""A page without a script, one offline file, and ``report.md`` beside it: for runs that are no comparison."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import vl_convert
import yaml
from markupsafe import Markup

from luthier.files.atomic import write_atomically
from luthier.report.exports import write_exports
from luthier.report.figures import VEGA_LITE, Figure, png
from luthier.report.html import resource, template
from luthier.report.markdown import literal, table_lines
from luthier.report.palette import theme
from luthier.report.plain import plain
from luthier.report.tables import Table

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


@dataclass(frozen=True, slots=True)
class StaticPage:
    """What stands on the page.

    Attributes:
        kind: Of the run, above the title: ``learning curve``.
        title: What it is of.
        model: On which model.
        what: The question that it answers.
        summary: A few words each, below the title.
        verdicts: Sentences that answer it.
        figures: Charts, one below the other.
        tables: All of them.
        notes: What a reader must know.
        measured: Titles, and rows of names and values.
        config: As it was read.
        run: Name of the run's folder.
        version: Of Luthier.
    """

    kind: str
    title: str
    model: str
    what: str
    summary: Sequence[str]
    verdicts: Sequence[str]
    figures: Sequence[Figure]
    tables: Sequence[Table]
    notes: Sequence[str]
    measured: Sequence[tuple[str, Sequence[tuple[str, str]]]]
    config: Mapping[str, Any]
    run: str
    version: str


def write_static(folder: Path, page: StaticPage) -> Path:
    """Write ``report.html``, ``report.md``, ``charts/*.png`` and ``tables/*``; the same page gives the same bytes.

    Args:
        folder: Of the run.
        page: What stands on it.

    Returns:
        The path of ``report.html``.

    Raises:
        StoreError: The folder cannot be written.
    """
    for figure in page.figures:
        write_atomically(folder / "charts" / f"{figure.key}.png", png(figure))
    write_exports(folder / "tables", page.tables)
    for name, text in (("report.md", as_markdown(page)), ("report.html", as_html(page))):
        # A model can emit half of a surrogate pair, which has no UTF-8; its JSON escape stands for it.
        write_atomically(folder / name, text.encode("utf-8", "backslashreplace"))
    return folder / "report.html"


def as_html(page: StaticPage) -> str:
    """Return the page's HTML."""
    return template("static.html.j2").render(
        page=page,
        policy=_POLICY,
        style=Markup(resource("page.css")),  # our own file
        pictures=[(figure, _picture(figure), _picture(figure, dark=True)) for figure in page.figures],
        config=yaml.safe_dump(plain(page.config), sort_keys=True, allow_unicode=True),
    )


def as_markdown(page: StaticPage) -> str:
    """Write the same as Markdown; charts are linked as ``charts/<key>.png``."""
    parts = [f"# {literal(page.what)}: {literal(page.title)} on {literal(page.model)}"]
    parts += [f"**{literal(verdict)}**" for verdict in page.verdicts]
    parts += [f"![{literal(figure.title)}](charts/{figure.key}.png)" for figure in page.figures]
    for table in page.tables:
        parts += [f"## {literal(table.title)}", table_lines(table), literal(table.note)]
    parts += ["## Notes", "\n".join(f"- {literal(note)}" for note in page.notes)] if page.notes else []
    parts.append(f"Run `{literal(page.run)}`, Luthier {literal(page.version)}.")
    return "\n\n".join(part for part in parts if part) + "\n"


def _picture(figure: Figure, *, dark: bool = False) -> str:
    """Return a chart as an SVG inside a link; the page has its title as a heading."""
    spec = {key: value for key, value in figure.spec.items() if key != "title"}
    svg = vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE, config=theme(dark=dark, font="sans-serif"))
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
