"""The terminal view of a run: two tables that stay readable at 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from rich import box
from rich.console import RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from luthier.report import answer_tables, tables
from luthier.report.cost_tables import cost_table
from luthier.report.tables import MARKS, Cell, Table, Tone
from luthier.results.records import RunCosts, RunResults

_STYLES: dict[Tone, str] = {"good": "bold green", "bad": "bold red", "muted": "dim", "": ""}

_WIDEST = 18
"""Columns; a cell of numbers is never wider, so beyond it there are names in it."""


def summary_table(results: RunResults, costs: RunCosts) -> RichTable:
    """Draw the arms: quality above, cost below.

    Returns:
        A grid of two tables, to be printed with ``rich.console.Console.print``. What was not measured is "–".
    """
    grid = RichTable.grid(expand=False)
    grid.add_row(draw(tables.quality_table(results)))
    grid.add_row(draw(cost_table(results, costs)))
    return grid


def run_view(results: RunResults, costs: RunCosts) -> Iterator[RenderableType]:
    """Yield what ``luthier compare`` prints of a run: its tables and its notes."""
    yield summary_table(results, costs)
    for table in (tables.retention_table(results), answer_tables.answers_table(results)):
        if table is not None:
            yield draw(table)
    for note in notes(results):
        yield Text(note, style="yellow")


def notes(results: RunResults) -> list[str]:
    """Return what a reader must know of the arms; what holds for several is said once, with their names."""
    arms_of: dict[str, list[str]] = {}
    for arm in results.arms:
        for note in arm.notes:
            arms_of.setdefault(note, []).append(arm.name)
    return [f"{', '.join(names)}: {note}" for note, names in arms_of.items()]


def retention_table(results: RunResults) -> RichTable | None:
    """Draw every retained task before against after; ``None`` when none was measured."""
    table = tables.retention_table(results)
    return draw(table) if table else None


def draw(table: Table) -> RichTable:
    """Draw any table; names and texts are taken literally, never as markup."""
    drawn = RichTable(
        title=Text(table.title, style="bold"),
        caption=Text(table.note, style="dim") if table.note else None,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for index, column in enumerate(table.columns):
        width = _width(table, index)
        drawn.add_column(
            Text("\n".join(textwrap.wrap(column.title, width, break_long_words=False))),
            justify="right" if column.number else "left",
            overflow="fold",
            # A name may be folded where there is little room; a number must stay whole.
            no_wrap=column.number and width <= _WIDEST,
        )
    for row in table.rows:
        drawn.add_row(*(_text(cell) for cell in row))
    return drawn


def _width(table: Table, index: int) -> int:
    """Return the width of a column's longest line, or of the longest word of its heading."""
    lines = [line for row in table.rows for line in _text(row[index]).plain.splitlines()]
    return max(len(part) for part in [*lines, *table.columns[index].title.split()])


def _text(cell: Cell) -> Text:
    mark = MARKS[cell.tone]
    text = Text(f"{cell.main} {mark}" if mark else cell.main, style=_STYLES[cell.tone])
    if cell.below:
        text.append(f"\n{cell.below}", style="not bold default dim")
    return text
