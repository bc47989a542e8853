"""What ``luthier merge`` prints: what was compared before and after."""

from __future__ import annotations

from typing import Protocol

from luthier.report import formatting
from luthier.report.formatting import ABSENT
from luthier.report.tables import Cell, Column, Table


class ProvedMerge(Protocol):
    """A merge, and what was measured before and after it: see :class:`luthier.methods.merging.Merged`."""

    greatest_difference: float
    tolerance: float
    metric: str
    metric_before: float | None
    metric_after: float | None
    examples: int


def merged_table(merged: ProvedMerge) -> Table:
    """Return the table of a proved merge."""
    before, after, examples = merged.metric_before, merged.metric_after, merged.examples
    digits = formatting.digits_for((before, after))
    moved = None if before is None or after is None else after - before
    logits = ("logits", ABSENT, ABSENT, f"{merged.greatest_difference:.2g}", f"{merged.tolerance:.2g}")
    scores = (merged.metric, formatting.decimal(before, digits), formatting.decimal(after, digits))
    rows = (logits, (*scores, formatting.signed(moved, digits), ABSENT))
    titles = ("Unmerged", "Merged", "Difference", "Allowed")
    columns = (Column("Compared", number=False), *(Column(title) for title in titles))
    note = f"On {examples:,} example{'' if examples == 1 else 's'}; of logits the greatest difference of any."
    cells = tuple(tuple(Cell(text) for text in row) for row in rows)
    return Table("merged", "Merge", columns, cells, note)
