"""The table of single training runs, for arms that were trained with several seeds."""

from __future__ import annotations

from luthier.report import derived, formatting, tables
from luthier.report.formatting import ABSENT
from luthier.report.tables import Cell, Column, Table
from luthier.results.records import RunResults


def runs_table(results: RunResults) -> Table | None:
    """One row for each training run of arms with several; ``None`` when there is no such arm."""
    runs = [(arm, run) for arm in results.arms if len(arm.per_seed) > 1 for run in arm.per_seed]
    if not runs:
        return None
    scores = formatting.digits_for(derived.score_of_run(results, run) for _, run in runs)
    validation = formatting.digits_for(derived.validation_of_run(results, run) for _, run in runs)
    rows = tuple(
        (
            Cell(arm.name),
            Cell(str(run.seed)),
            Cell(formatting.decimal(derived.score_of_run(results, run), scores)),
            Cell(formatting.signed(derived.mean_points(run.retained), 1)),
            Cell(formatting.signed(run.token_loss.change.value, derived.LOSS_DIGITS) if run.token_loss else ABSENT),
            Cell(formatting.decimal(derived.validation_of_run(results, run), validation)),
            Cell(f"{run.steps:,}", f"best at {run.best_step:,}" if run.best_step is not None else ""),
        )
        for arm, run in runs
    )
    titles = (derived.primary_name(results), "Other tasks (points)", tables.LOSS_TITLE, "Validation", "Steps")
    columns = (Column("Arm", number=False), Column("Seed"), *(Column(title) for title in titles))
    note = "Every training run by itself; the other tables have the means over an arm's runs."
    return Table("runs", "Every training run", columns, rows, note)
