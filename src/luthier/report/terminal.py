"""The terminal view of a run: two tables that stay readable at 80 columns."""

from __future__ import annotations

import textwrap

from rich import box
from rich.table import Table
from rich.text import Text

from luthier.report.tables import MARKS, Cell, Sheet, Tone, cost_sheet, quality_sheet, retention_sheet
from luthier.results.records import RunCosts, RunResults

_STYLES: dict[Tone, str] = {"good": "bold green", "bad": "bold red", "muted": "dim", "": ""}

_WIDEST = 18
"""Columns; a cell of numbers is never wider, so beyond it there are names in it."""


def summary_table(results: RunResults, costs: RunCosts) -> Table:
    """Draw the arms: quality above, cost below.

    Returns:
        A grid of two tables, to be printed with ``rich.console.Console.print``. What was not measured is "–".
    """
    grid = Table.grid(expand=False)
    grid.add_row(draw(quality_sheet(results)))
    grid.add_row(draw(cost_sheet(results, costs)))
    return grid


def retention_table(results: RunResults) -> Table | None:
    """Draw every retained task before against after; ``None`` when nothing was watched."""
    sheet = retention_sheet(results)
    return draw(sheet) if sheet else None


def draw(sheet: Sheet) -> Table:
    """Draw any sheet; names and texts are taken literally, never as markup."""
    table = Table(
        title=Text(sheet.title, style="bold"),
        caption=Text(sheet.note, style="dim") if sheet.note else None,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for index, column in enumerate(sheet.columns):
        width = _width(sheet, index)
        table.add_column(
            Text("\n".join(textwrap.wrap(column.title, width, break_long_words=False))),
            justify="right" if column.number else "left",
            overflow="fold",
            # A name may be folded where there is little room; a number must stay whole.
            no_wrap=column.number and width <= _WIDEST,
        )
    for row in sheet.rows:
        table.add_row(*(_text(cell) for cell in row))
    return table


def _width(sheet: Sheet, index: int) -> int:
    """Return the width of a column's longest line, or of the longest word of its heading."""
    lines = [line for row in sheet.rows for line in _text(row[index]).plain.splitlines()]
    return max(len(part) for part in [*lines, *sheet.columns[index].title.split()])


def _text(cell: Cell) -> Text:
    mark = MARKS[cell.tone]
    text = Text(f"{cell.main} {mark}" if mark else cell.main, style=_STYLES[cell.tone])
    if cell.below:
        text.append(f"\n{cell.below}", style="not bold default dim")
    return text
