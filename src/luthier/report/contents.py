"""Which tables a run has, on the page, in the exports and in a notebook."""

from __future__ import annotations

from luthier.report import answer_tables, tables
from luthier.report.change_table import change_table
from luthier.report.choice_table import choice_table
from luthier.report.cost_tables import cost_table, storage_table
from luthier.report.preference_tables import preference_pairs_table, preference_table
from luthier.report.run_tables import runs_table
from luthier.report.tables import Table
from luthier.report.training_tables import share_tables, trained_on_table
from luthier.results.records import RunCosts, RunResults


def all_tables(results: RunResults, costs: RunCosts | None) -> list[Table]:
    """Return every table of a run in order; that of the costs where they are known."""
    made = [
        tables.quality_table(results),
        cost_table(results, costs) if costs is not None else None,
        storage_table(results),
        tables.scores_table(results),
        preference_table(results),
        preference_pairs_table(results),
        tables.retention_table(results),
        choice_table(results),
        tables.pairs_table(results),
        runs_table(results),
        change_table(results),
        trained_on_table(results),
        *share_tables(results),
        answer_tables.answers_table(results),
        answer_tables.classes_table(results),
        *answer_tables.confusion_tables(results),
    ]
    return [table for table in made if table is not None]
