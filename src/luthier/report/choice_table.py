"""What was chosen from, where an arm was chosen by what it keeps of other tasks."""

from __future__ import annotations

from luthier.report import derived, formatting
from luthier.report.tables import Cell, Column, Table
from luthier.results.choice import Candidate, Choice
from luthier.results.records import RunResults

_DIGITS = 3


def choice_table(results: RunResults) -> Table | None:
    """One row for each candidate, on the validation splits; ``None`` where nothing was to be chosen."""
    choice = results.choice
    if choice is None or not choice.candidates:
        return None
    digits = formatting.digits_for(one.score for one in choice.candidates)
    rows = tuple(_row(choice, one, digits) for one in choice.candidates)
    arrow = "↑" if results.task.higher_is_better else "↓"
    titles = (f"{derived.primary_name(results)} {arrow}", "Kept (R)", "At least")
    columns = (Column("Candidate", number=False), *(Column(title) for title in titles))
    note = (
        f"On the validation splits of {results.task.name} and of the retained tasks, on which the candidate is chosen: "
        f"the best score of those that keep at least {choice.level:g}, else the one that comes nearest. Kept (R): mean "
        "over the tasks that the base can do of (after − chance) / (before − chance); at least: its one-sided 95 % "
        "lower bound. The chosen one alone is judged on the test splits, once."
    )
    return Table("choice", f"Who keeps {choice.level:g}", columns, rows, note)


def _row(choice: Choice, one: Candidate, digits: int) -> tuple[Cell, ...]:
    chosen = one.name == choice.name
    return (
        Cell(one.name, "chosen" if chosen else ""),
        Cell(formatting.decimal(one.score, digits)),
        Cell(formatting.decimal(one.kept, _DIGITS)),
        Cell(formatting.decimal(one.low, _DIGITS), "enough" if one.low >= choice.level else ""),
    )
