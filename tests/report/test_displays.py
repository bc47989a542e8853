"""What a notebook shows of a record, and what is printed of it: the tables of the page and of the terminal."""

from __future__ import annotations

import html
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import example_curves
import example_run
import luthier
from luthier.display import DRAWN_BY, Displayed
from luthier.evaluation.run import PredictionLog
from luthier.experiments.evaluated import Evaluated, Evaluation
from luthier.experiments.predict import AnsweredRows
from luthier.experiments.tune import Tuned
from luthier.files.store import About, Entry
from luthier.methods.combining import Combined
from luthier.methods.merging import Merged
from luthier.records import Score
from luthier.report import tables
from luthier.report.contents import all_tables
from luthier.report.cost_tables import cost_table
from luthier.report.displays import VIEWS
from luthier.report.html import resource
from luthier.report.tables import MARKS, Table
from luthier.report.terminal import draw
from luthier.results.best_of_n import best_of_n
from luthier.results.samples import Sampled
from luthier.training.trained import Trained, TrainingCosts, TrainingResult

NASTY = example_run.NASTY
ACCURACY = Score("accuracy", 0.75, 8, 0.5, 0.875, "metric:accuracy|version:1", {})


def evaluated(name: str = "topic", *scores: Score) -> Evaluated:
    task = replace(luthier.load_task("topic"), name=name)
    return Evaluated(task, scores or (ACCURACY,), (0, 0), 0, PredictionLog((), 1.0, None), {})


def tuned() -> Tuned:
    result = TrainingResult(96, 72, -2.5, -2.5, False, 162_816, 681_000, 1e-3, 8192, 1536, 40_000)
    entry = Entry(Path("runs/store/models/x"), Path("runs/store/models/x.work"), {}, About())
    return Tuned(Trained(entry, result, TrainingCosts(12.5, 480.0, None, 1)), Path("reviews-lora"))


ANSWERED = AnsweredRows(
    ({"id": 1, "text": "a", "prediction": "no", "probability no": 0.75}, {"id": 2, "text": NASTY, "prediction": ""}),
    1,
    0,
)
RECORDS: dict[str, Callable[[], Displayed]] = {
    "run": example_run.results,
    "arm": lambda: example_run.results().arms[4],
    "score": lambda: ACCURACY,
    "costs": example_run.costs,
    "evaluation": lambda: Evaluation([evaluated(), evaluated("other")]),
    "evaluated task": evaluated,
    "answered rows": lambda: ANSWERED,
    "samples": lambda: Sampled((), (), (), 2, best_of_n([[0.1, 0.4], [0.3, 0.2]]), "rougeL", None),
    "tuned": tuned,
    "merged": lambda: Merged(1e-5, 1e-3, 0.5, 0.5, lambda: None, 32, "accuracy"),
    "combined": lambda: Combined(("a", "b"), "ties", "model", "accuracy", 0.5, (0.6, 0.7), 0.65, 32, (0.5, 0.5)),
    "task": lambda: luthier.load_task("topic"),
    "curve": example_curves.curve,
    "sequence": example_curves.sequence,
}


class _Cells(HTMLParser):
    """Collects elements, and the text of each cell."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("th", "td"):
            self.cells.append("")
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("th", "td"):
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.cells[-1] += data


def cells(text: str) -> list[str]:
    """The words of every cell, in order."""
    return [" ".join(cell.split()) for cell in _Cells(text).cells]


def of_table(table: Table) -> list[str]:
    """The words that a table has in its cells, as they stand beside one another."""
    body = [(cell.main, MARKS[cell.tone], cell.below) for row in table.rows for cell in row]
    return [column.title for column in table.columns] + [
        " ".join(" ".join(filter(None, cell)).split()) for cell in body
    ]


def contains(whole: list[str], part: list[str]) -> bool:
    return any(whole[k : k + len(part)] == part for k in range(len(whole)))


def shown(record: Displayed) -> str:
    found: str = record._repr_html_()
    return found


def test_every_kind_of_record_has_a_view_and_is_shown_here() -> None:
    def below(kind: type[Displayed]) -> set[type[Displayed]]:
        return {kind}.union(*(below(inner) for inner in kind.__subclasses__()))

    kinds = below(Displayed) - {Displayed}
    assert {kind.view for kind in kinds} == set(VIEWS) == set(RECORDS)


@pytest.mark.parametrize("view", sorted(RECORDS))
def test_a_record_is_shown_and_printed(view: str) -> None:
    record = RECORDS[view]()
    assert record.view == view
    text = str(record)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "\x1b" not in text
    first = next(cell for cell in cells(shown(record)) if cell)
    assert first.split()[0] in text or view == "score"


@pytest.mark.parametrize("view", sorted(RECORDS))
def test_what_stands_in_a_list_or_a_traceback_is_one_short_line(view: str) -> None:
    text = repr(RECORDS[view]())
    assert "\n" not in text
    assert len(text) < 200, text


def test_a_run_has_the_tables_of_the_page() -> None:
    results = example_run.results()
    found = cells(shown(results))
    for table in all_tables(results, None):
        assert contains(found, of_table(table)), table.key
    assert html.escape(results.recommendation.sentence, quote=True) in shown(results)


def test_the_costs_are_those_of_the_page() -> None:
    results, costs = example_run.results(), example_run.costs()
    page = cost_table(results, costs)
    kept = [
        k for k, column in enumerate(page.columns) if column.title not in ("Trained params", "Stored", "Prompt tokens")
    ]
    part = replace(
        page,
        columns=tuple(page.columns[k] for k in kept),
        rows=tuple(tuple(row[k] for k in kept) for row in page.rows),
    )
    assert contains(cells(shown(costs)), of_table(part))


def test_print_shows_what_a_terminal_shows() -> None:
    results = example_run.results()
    out = io.StringIO()
    Console(file=out, width=80).print(draw(tables.quality_table(results)))
    quality = "\n".join(line.rstrip() for line in out.getvalue().rstrip().split("\n"))
    assert quality in str(results)
    assert str(results).startswith("Use lora: its rougeL of 0.324 is not distinguishable from the best")


def test_an_arm_has_its_scores_its_settings_and_what_it_forgot() -> None:
    arm = example_run.results().arms[4]
    text = str(arm)
    assert text.startswith("lora: lora, seed 0; 75 steps, best at 60\n")
    assert "Settings: rank 8, alpha 16," in " ".join(text.split())
    found = cells(shown(arm))
    assert "0.324 [0.308, 0.340]" in found
    assert "−0.012 [−0.042, +0.018]" in found


def test_an_arm_that_failed_says_why() -> None:
    arm = replace(
        example_run.results().arms[4], failed="the loss is no number", scores=(), retained=(), token_loss=None
    )
    assert repr(arm) == "<ArmResult lora, failed>"
    assert "Failed: the loss is no number" in str(arm)
    assert "<table>" not in shown(arm)


def test_a_score_is_one_line() -> None:
    assert str(ACCURACY) == "accuracy 0.75 [0.5, 0.875], n = 8"
    assert repr(ACCURACY) == "<Score accuracy 0.75 [0.5, 0.875], n = 8>"
    unknown = replace(ACCURACY, low=float("nan"), high=float("nan"))
    assert str(unknown) == "accuracy 0.75, n = 8"
    assert cells(shown(ACCURACY)) == ["Metric", "Score", "n", "accuracy", "0.750 [0.500, 0.875]", "8"]


def test_measured_tasks_are_shown_as_eval_prints_them() -> None:
    more = Score("f1", 0.5, 8, 0.25, 0.75, "metric:f1", {})
    found = Evaluation([evaluated("one", ACCURACY, more), evaluated("two")])
    text = shown(found)
    assert cells(text)[6:12] == ["one", "accuracy", "0.750", "0.500 – 0.875", "0.167", "8"]
    assert "Scores on one" in text
    assert "Scores on two" not in text, "there is no more than one score"
    assert isinstance(found, list)
    assert len(found) == 2
    assert repr(found[0]) == "<Evaluated one: accuracy 0.75 [0.5, 0.875], n = 8>"


def test_answered_rows_are_shown_in_part_with_every_column() -> None:
    found = cells(shown(ANSWERED))
    assert found[:5] == ["id", "text", "prediction", "probability no", "1"]
    assert found[5:8] == ["a", "no", "0.750"]
    assert "1 do not fit the model and have no answer." in shown(ANSWERED)
    many = AnsweredRows(tuple({"id": k, "text": "x" * 500} for k in range(25)), 0, 0)
    assert "The first 10 of 25 rows." in shown(many)
    assert "x" * 160 + "…" in cells(shown(many))
    assert repr(many) == "<AnsweredRows: 25 rows, 0 without an answer>"


def test_a_training_is_a_pair_and_a_table() -> None:
    found = tuned()
    trained, folder = found
    assert (trained, folder) == (found.trained, Path("reviews-lora"))
    row = cells(shown(found))
    # The score is kept turned so that higher is better: here is a loss, and it is shown as it is.
    assert row[7:13] == ["163 k", "681 kB", "96 best at 72", "2.50", "12.5 s", "480"]
    assert "It lies in reviews-lora." in str(found)


def test_a_task_says_what_it_is_and_how_it_asks() -> None:
    task = luthier.load_task("topic")
    text = shown(task)
    assert "train: train.jsonl.gz, validation: validation.jsonl.gz" in text, "no path of this machine"
    first = re.findall(r"<summary>(.*?)</summary>", text)[0]
    assert first == "about (evaluation, held out)"
    assert f"<pre>{html.escape(task.evaluation_template.prompt.source)}</pre>" in text
    assert text.count("<thead>") == 0


@pytest.mark.parametrize("view", sorted(RECORDS))
def test_nothing_of_a_record_runs_or_is_read_as_markup(view: str) -> None:
    found = _Cells(shown(RECORDS[view]()))
    assert not {tag for tag, _ in found.tags} & {"script", "img", "iframe", "object", "link"}
    assert not [name for _, given in found.tags for name in given if name.startswith("on") or name in ("src", "href")]


def test_what_a_model_wrote_is_escaped_and_written_out() -> None:
    record = AnsweredRows(({"text": f"{NASTY}\u202e\x1b[31m"},), 0, 0)
    text = shown(record)
    assert "&lt;/<wbr>script&gt;&lt;img" in text
    assert "\\u202e" in text
    assert "\\u001b[31m" in text
    assert not re.search("[\u202e\x1b]", text + str(record))
    named = replace(example_run.results().arms[0], name="<i>x</i>", notes=("<u>y</u>",))
    assert "<i>" not in shown(named)
    assert "<u>" not in shown(named)


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_signs_are_seen_on_light_and_dark_and_text_has_the_notebook_s_colour() -> None:
    style = resource("displays.css")
    colours = re.findall(r"(.*) \{ color: (#\w{6}); \}", style)
    assert [name for name, _ in colours] == [".luthier .good .mark", ".luthier .bad .mark"]
    for _, colour in colours:
        for paper in ("#ffffff", "#111111", "#1e1e1e"):
            assert contrast(colour, paper) >= 3, "what a graphical sign needs"
    assert "background" not in style
    assert all(line.startswith(".luthier ") for line in style.splitlines()), "nothing else of the notebook is changed"


def test_reading_a_run_does_not_load_the_report_and_showing_it_loads_no_model(tmp_path: Path) -> None:
    example_run.build(tmp_path / "run")
    code = (
        "import json, sys, luthier\n"
        f"results = luthier.read_results({str(tmp_path / 'run')!r})\n"
        "before = [m for m in sys.modules if m.startswith('luthier.report')]\n"
        "results._repr_html_()\n"
        "heavy = {'torch', 'transformers', 'altair', 'vl_convert'} & set(sys.modules)\n"
        f"print(json.dumps([before, {DRAWN_BY!r} in sys.modules, sorted(heavy)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == [[], True, []]


def test_a_notebook_asks_for_the_tables() -> None:
    formatters: Any = pytest.importorskip("IPython.core.formatters")
    results = example_run.results()
    assert formatters.HTMLFormatter()(results) == shown(results)
    assert formatters.HTMLFormatter()(Evaluation([evaluated()])) == shown(Evaluation([evaluated()]))
