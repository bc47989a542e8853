"""The terminal view of a run: tables that are folded where the terminal is narrow."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table as RichTable
from rich.text import Text

from luthier.report import answer_tables, tables
from luthier.report.choice_table import choice_table
from luthier.report.cost_tables import cost_table
from luthier.report.preference_tables import preference_table
from luthier.report.tables import MARKS, Cell, Table, Tone
from luthier.results.records import RunCosts, RunResults
from luthier.visible import visible

_STYLES: dict[Tone, str] = {"good": "bold green", "bad": "bold red", "muted": "dim", "": ""}

_WIDEST = 18
"""Columns; a cell of numbers is never wider, so beyond it there are names in it."""
_LEAST_NAME = 12
"""Columns to which a name is folded at most."""
_BETWEEN = 2
"""Columns between two cells."""


@dataclass(frozen=True, slots=True)
class DrawnTable:
    """A table for a terminal of any width: columns that do not fit side by side are folded below one another.

    Each part repeats the names at the left (task, arm), so that no number loses its arm or its unit.
    """

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the parts that fit the console, and then the note across its whole width."""
        # Title and note take the whole width: a narrow table would break them into short lines.
        if self.table.title:
            yield Text(self.table.title, style="bold")
        for part in folded(self.table, options.max_width):
            yield _rich_table(part, options.max_width)
        if self.table.note:
            yield Text(self.table.note, style="dim")
            yield Text("")


def folded(table: Table, width: int) -> list[Table]:
    """Cut a table into parts whose columns fit beside the names at the left; the table itself where all of them fit."""
    names = _leading_names(table)
    room = width - sum(size + _BETWEEN for size in _name_widths(table, width))
    groups: list[list[int]] = [[]]
    left = room
    for index in range(names, len(table.columns)):
        need = _need(table, index)
        if need > left and groups[-1]:
            groups.append([])
            left = room
        groups[-1].append(index)
        left -= need
    if len(groups) == 1:
        return [table]
    return [_part(table, [*range(names), *group]) for group in groups]


def _part(table: Table, kept: Sequence[int]) -> Table:
    columns = tuple(table.columns[index] for index in kept)
    return replace(table, columns=columns, rows=tuple(tuple(row[index] for index in kept) for row in table.rows))


def _leading_names(table: Table) -> int:
    """Return how many columns of names stand at the left."""
    numbers = [index for index, column in enumerate(table.columns) if column.number]
    return numbers[0] if numbers else len(table.columns)


def _name_widths(table: Table, width: int) -> list[int]:
    """Return the widths of the columns of names: what the numbers leave where it is enough, else half the console."""
    sizes = [_width(table, index) for index in range(_leading_names(table))]
    numbers = sum(_need(table, index) for index in range(len(sizes), len(table.columns)))
    enough = width - numbers >= len(sizes) * (_LEAST_NAME + _BETWEEN)
    room = (width - numbers if enough else width // 2) - len(sizes) * _BETWEEN
    while sum(sizes) > room and max(sizes) > _LEAST_NAME:
        sizes[sizes.index(max(sizes))] -= 1
    return sizes


def summary_table(results: RunResults, costs: RunCosts) -> Group:
    """Draw the arms: quality above, cost below; what was not measured is "–"."""
    return Group(draw(tables.quality_table(results)), draw(cost_table(results, costs)))


def run_view(results: RunResults, costs: RunCosts) -> Iterator[RenderableType]:
    """Yield what ``luthier compare`` prints of a run: its tables and its notes."""
    yield summary_table(results, costs)
    shown = (
        tables.retention_table(results),
        preference_table(results),
        choice_table(results),
        answer_tables.answers_table(results),
        answer_tables.class_f1_table(results),
        answer_tables.shown_confusion(results),
    )
    yield from (draw(table) for table in shown if table is not None)
    for note in notes(results):
        yield Text(note, style="yellow")


def notes(results: RunResults) -> list[str]:
    """Return what a reader must know of the arms; what holds for several is said once, with their names."""
    arms_of: dict[str, list[str]] = {}
    for arm in results.arms:
        for note in arm.notes:
            arms_of.setdefault(note, []).append(arm.name)
    return [_shown(f"{', '.join(names)}: {note}") for note, names in arms_of.items()]


def retention_table(results: RunResults) -> DrawnTable | None:
    """Draw every retained task before against after; ``None`` when none was measured."""
    table = tables.retention_table(results)
    return draw(table) if table else None


def draw(table: Table) -> DrawnTable:
    """Draw any table; names and texts are taken literally, never as markup or as control sequences."""
    rows = tuple(
        tuple(replace(cell, main=_shown(cell.main), below=_shown(cell.below)) for cell in row) for row in table.rows
    )
    columns = tuple(replace(column, title=_shown(column.title)) for column in table.columns)
    return DrawnTable(replace(table, title=_shown(table.title), note=_shown(table.note), columns=columns, rows=rows))


def _shown(text: str) -> str:
    """Return a text on one line, with what a terminal would obey written out."""
    return visible(re.sub(r"[\n\r\t]", " ", text))


def _rich_table(table: Table, width: int) -> RichTable:
    drawn = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    names = _name_widths(table, width)
    for index, column in enumerate(table.columns):
        size = _width(table, index)
        drawn.add_column(
            Text("\n".join(textwrap.wrap(column.title, size, break_long_words=False))),
            justify="right" if column.number else "left",
            overflow="fold",
            # A name may be folded where there is little room; a number must stay whole.
            no_wrap=column.number and size <= _WIDEST,
            min_width=min(names[index], size) if index < len(names) else None,
        )
    for row in table.rows:
        drawn.add_row(*(_text(cell) for cell in row))
    return drawn


def _need(table: Table, index: int) -> int:
    """Return what a column of numbers takes: its width, or that of a whole number where there are names in it."""
    return min(_width(table, index), _WIDEST) + _BETWEEN


def _width(table: Table, index: int) -> int:
    """Return the width of a column's longest line, or of the longest word of its heading."""
    lines = [line for row in table.rows for line in _text(row[index]).plain.splitlines()]
    # In cells of the terminal: a Chinese character takes two.
    return max((cell_len(part) for part in [*lines, *table.columns[index].title.split()]), default=1)


def _text(cell: Cell) -> Text:
    mark = MARKS[cell.tone]
    text = Text(f"{cell.main} {mark}" if mark else cell.main, style=_STYLES[cell.tone])
    if cell.below:
        text.append(f"\n{cell.below}", style="not bold default dim")
    return text
