"""What ``luthier store`` prints: the entries of the run store, and how much room each kind takes."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.files.store_contents import Stored
from luthier.report import formatting
from luthier.report.formatting import ABSENT
from luthier.report.tables import Cell, Column, Table
from luthier.report.terminal import DrawnTable, draw

_TIME = "%Y-%m-%d %H:%M"


def entries_table(entries: Sequence[Stored]) -> DrawnTable:
    """Draw the entries, one a row; times are local."""
    words = ("Kind", "Task", "Arm", "Run", "Made", "Last used")
    columns = (*(Column(word, number=False) for word in words), Column("Size"), Column("Entry", number=False))
    cells = tuple(tuple(Cell(text) for text in _row(item)) for item in entries)
    note = f"{len(entries):,} entries, {formatting.size(sum(item.size for item in entries))} in all."
    return draw(Table("store", "Store", columns, cells, note))


def _row(item: Stored) -> tuple[str, ...]:
    made = item.made.astimezone().strftime(_TIME) if item.made else ABSENT
    if item.state == "unfinished":
        made = "unfinished"
    about = (item.about.task or ABSENT, item.about.arm or ABSENT, item.about.run or ABSENT)
    used = item.used.astimezone().strftime(_TIME)
    return (item.kind, *about, made, used, formatting.size(item.size), item.path.name[:8])


def sizes_table(entries: Sequence[Stored]) -> DrawnTable:
    """Draw how many entries of each kind there are, and how large they are."""
    kinds = sorted({(item.kind, item.state) for item in entries})
    rows = []
    for kind, state in kinds:
        own = [item for item in entries if (item.kind, item.state) == (kind, state)]
        name = kind if state == "finished" else f"{kind}, unfinished"
        rows.append((name, f"{len(own):,}", formatting.size(sum(item.size for item in own))))
    rows.append(("all", f"{len(entries):,}", formatting.size(sum(item.size for item in entries))))
    columns = (Column("Kind", number=False), Column("Entries"), Column("Size"))
    cells = tuple(tuple(Cell(text) for text in row) for row in rows)
    return draw(Table("store", "Store", columns, cells, ""))
