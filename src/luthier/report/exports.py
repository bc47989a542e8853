"""The tables of a report for other programs: CSV for a spreadsheet, LaTeX for a paper, Markdown for a page of text."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from luthier.files.atomic import write_atomically
from luthier.report.markdown import table_lines
from luthier.report.tables import MARKS, Cell, Column, Table
from luthier.visible import visible

FORMATS = {"csv": "CSV", "tex": "LaTeX", "md": "Markdown"}
"""Ending of each format's files, and its name."""
_LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}"},
    **{">": r"\textgreater{}", "|": r"\textbar{}", "−": "$-$", "±": r"$\pm$", "↑": r"$\uparrow$", "↓": r"$\downarrow$"},
    **{
        "▲": r"$\blacktriangle$",
        "▼": r"$\blacktriangledown$",
        "·": r"$\cdot$",
        "–": "--",
        "∞": r"$\infty$",
        "…": r"\ldots{}",
    },
}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def exported(table: Table) -> dict[str, str]:
    """Return a table in every format, by the ending of its file."""
    return {"csv": csv_text(table), "tex": latex_text(table), "md": f"{table_lines(table)}\n"}


def write_exports(folder: Path, tables: Sequence[Table]) -> None:
    """Write every table in every format into a folder, as ``<key>.<ending>``.

    Raises:
        StoreError: The folder cannot be written.
    """
    for table in tables:
        for ending, text in exported(table).items():
            write_atomically(folder / f"{table.key}.{ending}", text.encode("utf-8", "backslashreplace"))


def csv_text(table: Table) -> str:
    """Return CSV (RFC 4180): what qualifies a value, and the mark of a significant one, have columns of their own.

    Numbers have an ASCII minus sign and no thousands separators. A name that a spreadsheet would run as a formula has
    an apostrophe before it.
    """
    out = io.StringIO()
    writer = csv.writer(out)
    below = [any(row[index].below for row in table.rows) for index in range(len(table.columns))]
    marked = [any(MARKS[row[index].tone] for row in table.rows) for index in range(len(table.columns))]
    heads = [
        [column.title, *([f"{column.title}, detail"] * more), *([f"{column.title}, significant"] * mark)]
        for column, more, mark in zip(table.columns, below, marked, strict=True)
    ]
    writer.writerow(visible(title) for head in heads for title in head)
    for row in table.rows:
        cells = [
            [_csv_value(cell.main, column), *([_plain(cell.below)] * more), *([MARKS[cell.tone]] * mark)]
            for cell, column, more, mark in zip(row, table.columns, below, marked, strict=True)
        ]
        writer.writerow(value for cell in cells for value in cell)
    return out.getvalue()


def _csv_value(text: str, column: Column) -> str:
    plain = _plain(text)
    if column.number:
        return plain.replace(",", "") if plain.replace(",", "").lstrip("+-").replace(".", "", 1).isdigit() else plain
    return f"'{plain}" if plain.startswith(_FORMULA) else plain


def _plain(text: str) -> str:
    return visible(text.replace("−", "-"))


def latex_text(table: Table) -> str:
    """Return a LaTeX table; it needs the packages ``booktabs`` and ``amssymb``, as its first line says."""
    align = "".join("r" if column.number else "l" for column in table.columns)
    head = " & ".join(_latex(column.title) for column in table.columns)
    lines = [
        "% \\usepackage{booktabs,amssymb}",
        "\\begin{table}",
        f"\\caption{{{_latex(f'{table.title}. {table.note}'.strip())}}}",
        f"\\begin{{tabular}}{{{align}}}",
        "\\toprule",
        f"{head} \\\\",
        "\\midrule",
        *(f"{' & '.join(_latex_cell(cell) for cell in row)} \\\\" for row in table.rows),
        "\\bottomrule",
        "\\end{tabular}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_cell(cell: Cell) -> str:
    mark = MARKS[cell.tone]
    parts = [_latex(cell.main), _latex(mark), f"{{\\scriptsize {_latex(cell.below)}}}" if cell.below else ""]
    # A bracket at the head of a row would be read as an option of the line break before it.
    text = " ".join(part for part in parts if part)
    return f"{{}}{text}" if text.startswith("[") else text


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in visible(" ".join(text.split())))
