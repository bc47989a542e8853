"""The page of a learning curve."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from luthier.report import formatting
from luthier.report.charts.size_curves import size_curve
from luthier.report.environment import environment_rows
from luthier.report.figures import figure_of
from luthier.report.learning_curve import curve_tables, notes_of, quantities, verdicts
from luthier.report.plain import flattened
from luthier.report.static_page import StaticPage, write_static
from luthier.results.curve_records import CurveResults, read_curve
from luthier.results.records import RunCosts, read_costs


def write_curve_report(run: Path) -> Path:
    """Write the report of a learning curve into its folder, and return the path of its page; see :func:`write_static`.

    Raises:
        StoreError: When the results are missing or damaged, or the folder cannot be written.
    """
    return write_static(run, curve_page(read_curve(run), read_costs(run)))


def curve_page(results: CurveResults, costs: RunCosts) -> StaticPage:
    """Return what stands on the page of a learning curve."""
    drawn = [figure_of(own.key, "learning", size_curve(results, own), wide=True) for own in quantities(results)]
    environment = environment_rows(results, costs)
    return StaticPage(
        kind="learning curve",
        title=results.task.name,
        model=results.model.name,
        what="What more examples would give",
        summary=_summary(results, costs),
        verdicts=verdicts(results),
        figures=[figure for figure in drawn if figure is not None],
        tables=curve_tables(results),
        notes=notes_of(results),
        measured=[
            ("Task", list(flattened(asdict(results.task)))),
            ("Model", list(flattened(asdict(results.model)))),
            ("Data of the largest size", list(flattened(asdict(results.data)))),
            ("Environment", environment),
        ],
        config=results.config,
        run=results.run,
        version=results.luthier,
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
