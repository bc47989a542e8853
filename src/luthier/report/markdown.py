"""``report.md``: the same tables as the page, and the charts as PNGs."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.report.citing import bibtex, repeating
from luthier.report.figures import Figure
from luthier.report.tables import MARKS, Cell, Table
from luthier.results.records import RunCosts, RunResults
from luthier.visible import visible

_SECTIONS = {"answer": "quality", "calibration": "quality", "retention": "retention", "learning": ""}
"""Which table the charts of a section follow."""


def markdown(
    results: RunResults, costs: RunCosts, tables: Sequence[Table], figures: Sequence[Figure], gaps: Sequence[str]
) -> str:
    """Write the report; charts are linked as ``charts/<key>.png``."""
    parts = [f"# {literal(results.task.name)} on {literal(results.model.name)}"]
    parts.append(f"**{literal(results.recommendation.sentence)}**")
    parts += [f"> {literal(gap)}" for gap in gaps]
    left = list(figures)
    for table in tables:
        parts += [f"## {literal(table.title)}", table_lines(table), literal(table.note)]
        here = [figure for figure in left if _SECTIONS[figure.section] == table.key]
        parts += [_image(figure) for figure in here]
        left = [figure for figure in left if figure not in here]
    if left:
        parts += ["## Learning", *(_image(figure) for figure in left)]
    notes = [f"- {literal(arm.name)}: {literal(note)}" for arm in results.arms for note in arm.notes]
    parts += ["## Notes", "\n".join(notes)] if notes else []
    known = [f"- {name}: {literal(value)}" for name, value in repeating(results, costs)]
    parts += ["## Repeat it, and cite it", "\n".join(known), f"```bibtex\n{visible(bibtex(results))}\n```"]
    parts.append(f"Run `{literal(results.run)}`, Luthier {literal(results.luthier)}.")
    return "\n\n".join(part for part in parts if part) + "\n"


def table_lines(table: Table) -> str:
    """Write a table as a Markdown table; a cell's second line follows its first."""
    head = "| " + " | ".join(literal(column.title) for column in table.columns) + " |"
    rule = "| " + " | ".join("---:" if column.number else ":---" for column in table.columns) + " |"
    rows = ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in table.rows]
    return "\n".join([head, rule, *rows])


def _cell(cell: Cell) -> str:
    return " ".join(literal(part) for part in (cell.main, cell.below, MARKS[cell.tone]) if part)


def _image(figure: Figure) -> str:
    return f"![{literal(figure.title)}](charts/{figure.key}.png)"


def literal(text: object) -> str:
    """Take a text literally: no table borders, tags, emphasis, code or links of its own."""
    line = visible(" ".join(str(text).split()))
    for sign in ("\\", "|", "`", "*", "<", "~"):
        line = line.replace(sign, f"\\{sign}")
    return line.replace("](", "]\\(")
