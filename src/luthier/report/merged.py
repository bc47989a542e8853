"""What ``luthier merge`` prints: what was compared before and after."""

from __future__ import annotations

from luthier.report import formatting
from luthier.report.formatting import ABSENT
from luthier.report.tables import Cell, Column, Table
from luthier.report.terminal import DrawnTable, draw


def merged_table(
    *, difference: float, allowed: float, metric: str, before: float | None, after: float | None, examples: int
) -> DrawnTable:
    """Draw a proved merge.

    Args:
        difference: Greatest difference of any logit.
        allowed: Greatest that was allowed.
        metric: Name of the metric.
        before: Its value, unmerged.
        after: Its value, merged.
        examples: On how many examples all of this was measured.
    """
    digits = formatting.digits_for((before, after))
    moved = None if before is None or after is None else after - before
    logits = ("logits", ABSENT, ABSENT, f"{difference:.2g}", f"{allowed:.2g}")
    scores = (metric, formatting.decimal(before, digits), formatting.decimal(after, digits))
    rows = (logits, (*scores, formatting.signed(moved, digits), ABSENT))
    titles = ("Unmerged", "Merged", "Difference", "Allowed")
    columns = (Column("Compared", number=False), *(Column(title) for title in titles))
    note = f"On {examples:,} example{'' if examples == 1 else 's'}; of logits the greatest difference of any."
    cells = tuple(tuple(Cell(text) for text in row) for row in rows)
    return draw(Table("merged", "Merge", columns, cells, note))
