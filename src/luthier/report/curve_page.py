"""The page of a learning curve, one offline file without a script, and ``report.md`` beside it."""

from __future__ import annotations

import base64
from dataclasses import asdict
from pathlib import Path

import vl_convert
import yaml
from markupsafe import Markup

from luthier.files.atomic import write_atomically
from luthier.report import formatting
from luthier.report.charts.size_curves import size_curve
from luthier.report.exports import write_exports
from luthier.report.figures import VEGA_LITE, Figure, figure_of, png
from luthier.report.html import resource, template
from luthier.report.learning_curve import curve_tables, quantities, verdicts
from luthier.report.markdown import literal, table_lines
from luthier.report.palette import theme
from luthier.report.plain import flattened, plain
from luthier.results.curve_records import CurveResults, read_curve
from luthier.results.records import RunCosts, read_costs

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def write_curve_report(run: Path) -> Path:
    """Write ``report.html``, ``report.md``, ``charts/*.png`` and ``tables/*`` into the folder of a learning curve.

    Needs no model. The same inputs give the same bytes.

    Args:
        run: The run's folder.

    Returns:
        The path of ``report.html``.

    Raises:
        StoreError: When the results are missing or damaged, or the folder cannot be written.
    """
    results, costs = read_curve(run), read_costs(run)
    drawn = [figure_of(own.key, "learning", size_curve(results, own), wide=True) for own in quantities(results)]
    figures = [figure for figure in drawn if figure is not None]
    for figure in figures:
        write_atomically(run / "charts" / f"{figure.key}.png", png(figure))
    write_exports(run / "tables", curve_tables(results))
    for name, text in (("report.md", _markdown(results, figures)), ("report.html", render(results, costs, figures))):
        # A model can emit half of a surrogate pair, which has no UTF-8; its JSON escape stands for it.
        write_atomically(run / name, text.encode("utf-8", "backslashreplace"))
    return run / "report.html"


def render(results: CurveResults, costs: RunCosts, figures: list[Figure]) -> str:
    """Return the page's HTML."""
    return template("curve.html.j2").render(
        results=results,
        policy=_POLICY,
        style=Markup(resource("page.css")),  # our own file
        summary=_summary(results, costs),
        verdicts=verdicts(results),
        pictures=[(figure, _picture(figure), _picture(figure, dark=True)) for figure in figures],
        tables=curve_tables(results),
        task_rows=list(flattened(asdict(results.task))),
        model_rows=list(flattened(asdict(results.model))),
        data_rows=list(flattened(asdict(results.data))),
        environment_rows=_environment_rows(results, costs),
        config=yaml.safe_dump(plain(results.config), sort_keys=True, allow_unicode=True),
    )


def _summary(results: CurveResults, costs: RunCosts) -> list[str]:
    seeds = max(len(arm.seeds) for arm in results.arms)
    parameters = results.model.parameters
    return [
        f"{len(results.sizes)} sizes, {results.sizes[0]:,} to {results.sizes[-1]:,} examples",
        f"{len(results.arms)} arm{'' if len(results.arms) == 1 else 's'}",
        f"{seeds} training run{'' if seeds == 1 else 's'} at each",
        *([f"{formatting.count(parameters)} parameters"] if parameters else []),
        costs.device,
    ]


def _picture(figure: Figure, *, dark: bool = False) -> str:
    """Return a chart as an SVG inside a link; the page has its title as a heading."""
    spec = {key: value for key, value in figure.spec.items() if key != "title"}
    svg = vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE, config=theme(dark=dark, font="sans-serif"))
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def _environment_rows(results: CurveResults, costs: RunCosts) -> list[tuple[str, str]]:
    computing = {
        "threads": results.threads,
        "precision": results.precision or None,
        "kernels": ", ".join(results.kernels) or None,
        "measured": costs.kernels or None,
    }
    done = asdict(costs.execution) if costs.execution else {}
    return list(flattened({"Luthier": results.luthier, **asdict(results.environment), **computing, **done}))


def _markdown(results: CurveResults, figures: list[Figure]) -> str:
    """Write the report; charts are linked as ``charts/<key>.png``."""
    parts = [f"# How much data: {literal(results.task.name)} on {literal(results.model.name)}"]
    parts += [f"**{literal(verdict)}**" for verdict in verdicts(results)]
    parts += [f"![{literal(figure.title)}](charts/{figure.key}.png)" for figure in figures]
    for table in curve_tables(results):
        parts += [f"## {literal(table.title)}", table_lines(table), literal(table.note)]
    notes = [f"- {literal(arm.name)}: {literal(note)}" for arm in results.arms for note in arm.notes]
    parts += ["## Notes", "\n".join(notes)] if notes else []
    parts.append(f"Run `{literal(results.run)}`, Luthier {literal(results.luthier)}.")
    return "\n\n".join(part for part in parts if part) + "\n"
