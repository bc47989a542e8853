"""What is shown of a run that has just ended, or that is looked at again: its report is written, and summed up."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import RenderableType

from luthier.display import Displayed
from luthier.report.displays import parts
from luthier.report.page import write_report
from luthier.report.terminal import run_view
from luthier.results.curve_records import read_curve
from luthier.results.kinds import CURVE, SEQUENCE, kind_of_run
from luthier.results.next_commands import next_commands
from luthier.results.records import read_costs, read_results
from luthier.results.sequence_records import read_sequence


def finished_run(run: Path) -> tuple[Iterable[RenderableType], list[str]]:
    """Write the report of a run; return what a terminal shows of it, and the lines below.

    Raises:
        StoreError: When the results are missing or damaged, or the folder cannot be written.
    """
    kind = kind_of_run(run)
    if kind in (CURVE, SEQUENCE):
        other: Displayed = read_curve(run) if kind == CURVE else read_sequence(run)
        return parts(other), [f"Report: {write_report(run)}"]
    results, costs = read_results(run), read_costs(run)
    page = write_report(run)
    commands = [f"To {command.purpose}:\n  {command.line}" for command in next_commands(results, run)]
    return run_view(results, costs), [results.recommendation.sentence, *commands, f"Report: {page}"]
