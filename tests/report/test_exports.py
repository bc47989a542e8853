"""Tables for other programs: CSV, LaTeX and Markdown, from the page and beside it."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
from pathlib import Path

import pytest

import example_run
from luthier.report.exports import csv_text, exported, latex_text
from luthier.report.tables import Cell, Column, Table, pairs_table, quality_table

TRICKY = Table(
    "tricky",
    "50 % & more_or less",
    (Column("Arm", number=False), Column("Score ↑"), Column("Δ")),
    (
        (Cell("=HYPERLINK(1)"), Cell("1,234", "[0.1, 0.2]"), Cell("−0.5", "", "bad")),
        (Cell("a\\b_{c}~^#$\u202e"), Cell("–"), Cell("+0.25", "", "good")),
    ),
    "A note.",
)


def _rows(table: Table) -> list[list[str]]:
    return list(csv.reader(io.StringIO(csv_text(table))))


def test_csv_has_numbers_that_a_spreadsheet_reads() -> None:
    assert _rows(TRICKY) == [
        ["Arm", "Score ↑", "Score ↑, detail", "Δ", "Δ, significant"],
        ["'=HYPERLINK(1)", "1234", "[0.1, 0.2]", "-0.5", "▼"],
        ["a\\b_{c}~^#$\\u202e", "–", "", "+0.25", "▲"],
    ]
    quality = _rows(quality_table(example_run.results()))
    assert [float(row[1]) for row in quality[1:]] == [sketch.score for sketch in example_run.SKETCHES]


def test_latex_escapes_what_latex_would_read() -> None:
    lines = latex_text(TRICKY).splitlines()
    assert lines[0] == "% \\usepackage{booktabs,amssymb}"
    assert "\\caption{50 \\% \\& more\\_or less. A note.}" in lines
    assert "\\begin{tabular}{lrr}" in lines
    assert "=HYPERLINK(1) & 1,234 {\\scriptsize [0.1, 0.2]} & $-$0.5 $\\blacktriangledown$ \\\\" in lines
    escaped = "a\\textbackslash{}b\\_\\{c\\}\\textasciitilde{}\\textasciicircum{}\\#\\$\\textbackslash{}u202e"
    assert f"{escaped} & -- & +0.25 $\\blacktriangle$ \\\\" in lines


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="LaTeX is not installed")
def test_latex_compiles(tmp_path: Path) -> None:
    made = [quality_table(example_run.results()), pairs_table(example_run.results())]
    body = "".join(latex_text(table) for table in made if table)
    head = "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs,amssymb}\\begin{document}"
    (tmp_path / "a.tex").write_text(f"{head}{body}\\end{{document}}", encoding="utf-8")
    subprocess.run(["pdflatex", "-halt-on-error", "a.tex"], cwd=tmp_path, check=True, capture_output=True, timeout=60)


def test_every_table_of_the_page_can_be_saved_and_lies_beside_it(reported: example_run.Reported) -> None:
    data = json.loads(reported.html.split('id="data">')[1].split("</script>")[0])
    assert set(data["exports"]) >= {"quality", "cost", "storage", "scores", "retention", "pairs"}
    for key, formats in data["exports"].items():
        for ending in ("csv", "tex", "md"):
            beside = (reported.run / "tables" / f"{key}.{ending}").read_bytes().decode("utf-8")
            assert formats[ending] == beside, (key, ending)
    assert data["exports"]["quality"] == exported(quality_table(reported.results))
    for name in ("CSV", "LaTeX", "Markdown"):
        assert (
            f'data-table="retention" data-ending="{ {"CSV": "csv", "LaTeX": "tex", "Markdown": "md"}[name] }"'
            in reported.html
        )
