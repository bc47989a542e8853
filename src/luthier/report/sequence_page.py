"""The page of a sequence."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from luthier.report import formatting
from luthier.report.charts.sequence_maps import sequence_map
from luthier.report.environment import environment_rows
from luthier.report.figures import figure_of
from luthier.report.plain import flattened
from luthier.report.sequence_tables import sequence_tables, sequence_verdicts
from luthier.report.static_page import StaticPage, write_static
from luthier.results.records import RunCosts, read_costs
from luthier.results.sequence_records import SequenceResults, read_sequence


def write_sequence_report(run: Path) -> Path:
    """Write the report of a sequence into its folder, and return the path of its page; see :func:`write_static`.

    Raises:
        StoreError: When the results are missing or damaged, or the folder cannot be written.
    """
    return write_static(run, sequence_page(read_sequence(run), read_costs(run)))


def sequence_page(results: SequenceResults, costs: RunCosts) -> StaticPage:
    """Return what stands on the page of a sequence."""
    drawn = [figure_of(f"matrix-{arm.name}", "retention", sequence_map(results, arm)) for arm in results.arms]
    environment = environment_rows(results, costs)
    tasks = [(task.name, list(flattened(asdict(task)))) for task in results.tasks]
    return StaticPage(
        kind="sequence",
        title=" → ".join(task.name for task in results.tasks),
        model=results.model.name,
        what="What learning one task after another left",
        summary=_summary(results, costs),
        verdicts=sequence_verdicts(results),
        figures=[figure for figure in drawn if figure is not None],
        tables=sequence_tables(results),
        notes=[f"{arm.name} failed at {arm.failed}" for arm in results.arms if arm.failed],
        measured=[*tasks, ("Model", list(flattened(asdict(results.model)))), ("Environment", environment)],
        config=results.config,
        run=results.run,
        version=results.luthier,
    )


def _summary(results: SequenceResults, costs: RunCosts) -> list[str]:
    seeds = max(len(arm.seeds) for arm in results.arms)
    parameters = results.model.parameters
    return [
        f"{len(results.tasks)} stages",
        f"{len(results.arms)} arm{'' if len(results.arms) == 1 else 's'}",
        f"{seeds} training run{'' if seeds == 1 else 's'}",
        *([f"{formatting.count(parameters)} parameters"] if parameters else []),
        costs.device,
    ]
