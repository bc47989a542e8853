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


class Combination(Protocol):
    """Several adapters made one: see :class:`luthier.methods.combining.Combined`."""

    adapters: tuple[str, ...]
    how: str
    made: str
    metric: str
    base: float
    each: tuple[float, ...]
    after: float
    examples: int
    shares: tuple[float, ...]


def combined_table(combined: Combination) -> Table:
    """Return what the base, each adapter and what was made of them score on the same examples."""
    digits = formatting.digits_for((combined.base, *combined.each, combined.after))
    scores = [("base", "", combined.base)]
    weights = (f"weight {share:.3g}" for share in combined.shares)
    scores += list(zip(combined.adapters, weights, combined.each, strict=True))
    scores.append((f"{combined.how} of {len(combined.adapters)}", f"one {combined.made}", combined.after))
    rows = tuple((Cell(name, below), Cell(formatting.decimal(score, digits))) for name, below, score in scores)
    columns = (Column("Model", number=False), Column(combined.metric))
    note = f"On {combined.examples:,} example{'' if combined.examples == 1 else 's'}, too few to compare by."
    return Table("combined", "Merge", columns, rows, note)


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
