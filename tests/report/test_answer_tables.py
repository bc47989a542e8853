"""What arms answer, and what guessing scores, in every table: terminal, page and Markdown."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

from rich.console import Console

import example_run
from luthier.metrics.task_metrics import TaskMetrics
from luthier.report.answer_tables import answers_table, classes_table, confusion_tables
from luthier.report.page import write_report
from luthier.report.tables import quality_table
from luthier.report.terminal import notes, run_view
from luthier.results.answers import summarise_answers, warnings_about_answers
from luthier.results.records import ArmResult, Recommendation, RunResults
from luthier.results.summaries import Majority

SKETCHES = example_run.SKETCHES[:4]
ACCURACY = TaskMetrics("boolq", ("accuracy",), "accuracy")
TASK = replace(
    example_run.TASK,
    name="boolq",
    primary="accuracy",
    metrics=("accuracy",),
    chance=0.5,
    majority=Majority("no", 0.62, "train"),
)


def _arm(sketch: example_run.Sketch) -> ArmResult:
    log = example_run.chosen(sketch, 200)
    arm = example_run.arm(sketch, None if sketch is SKETCHES[0] else SKETCHES[0])
    scores = (example_run.score("accuracy", 0.3 + sketch.score, 0.05),)
    own = replace(arm, scores=scores, answers=summarise_answers(log, ACCURACY))
    return replace(own, notes=(*own.notes, *warnings_about_answers(log, ACCURACY)))


def classified() -> RunResults:
    verdict = Recommendation("Tuning (full) beats prompting.", "full", False, "Tuning beats prompting")
    return example_run.results(SKETCHES, task=TASK, arms=tuple(map(_arm, SKETCHES)), recommendation=verdict)


def _printed(results: RunResults, width: int = 100) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width)
    for part in run_view(results, example_run.costs(SKETCHES)):
        console.print(part)
    return out.getvalue()


def test_chance_and_majority_stand_below_the_scores() -> None:
    table = quality_table(classified())
    rows = [(row[0].main, row[1].main) for row in table.rows]
    assert rows[-2:] == [("chance", "0.500"), ("always 'no'", "0.620")]
    assert "Chance: random guesses. Always 'no': the most frequent label of the train split." in table.note
    # 0.442, 0.471 and 0.488, each ± 0.05, do not exclude 0.62; full has 0.631.
    said = "Not better than guessing, because the interval does not exclude it: zero_shot, one_shot, few_shot, full."
    assert said in table.note


def test_where_nothing_is_known_of_guessing_there_is_no_row() -> None:
    results = example_run.results()
    assert len(quality_table(results).rows) == len(results.arms)


def test_the_distribution_of_answers_shows_an_arm_that_answers_one_label() -> None:
    table = answers_table(classified())
    assert table is not None
    assert [column.title for column in table.columns] == ["Arm", "no", "yes", "Different"]
    targets, *arms = table.rows
    assert targets[0].main == "targets"
    # The example's arms answer "yes" whatever they are asked.
    assert {tuple(cell.main for cell in row[1:]) for row in arms} == {("0 %", "100 %", "1")}
    assert "gives one answer, 'yes', to all 200 examples" in notes(classified())[-1]


def test_different_free_text_has_no_table() -> None:
    results = example_run.results(SKETCHES)
    log = example_run.chosen(SKETCHES[0], 30)
    free = [replace(one, text=f"text {k}", choices=(), choice_logprobs=()) for k, one in enumerate(log)]
    text = [replace(one, targets=(f"target {k}",)) for k, one in enumerate(free)]
    arms = tuple(replace(arm, answers=summarise_answers(text, ACCURACY)) for arm in results.arms)
    assert answers_table(replace(results, arms=arms)) is None
    assert answers_table(results) is None
    assert classes_table(results) is None
    assert confusion_tables(results) == []


def test_rare_labels_stand_together() -> None:
    log = example_run.chosen(SKETCHES[0], 60)
    labels = tuple(f"label {k:02}" for k in range(12))
    many = [
        replace(one, choices=labels, choice_logprobs=(), text=labels[k % 12], targets=(labels[k % 6],))
        for k, one in enumerate(log)
    ]
    arm = replace(classified().arms[0], answers=summarise_answers(many, ACCURACY))
    table = answers_table(replace(classified(), arms=(arm,)))
    assert table is not None
    titles = [column.title for column in table.columns]
    assert titles[1:7] == [f"label {k:02}" for k in range(6)]
    assert titles[-2:] == ["others", "Different"]
    assert table.rows[1][-2].main == "33 %"


def test_the_terminal_shows_guesses_answers_and_warnings() -> None:
    text = _printed(classified())
    assert "always 'no'" in text
    assert "Answers given" in text
    assert "100 %" in text
    assert "F1 of each class" in text
    assert "Confusion matrix of full" in text, "the recommended arm's"
    assert text.count("Confusion matrix") == 1
    assert "gives one answer, 'yes', to all 200 examples" in " ".join(text.split())


def test_the_page_holds_every_matrix_and_the_scores_of_each_class(tmp_path: Path) -> None:
    results = classified()
    example_run.build(tmp_path, SKETCHES, rows=3, task=TASK, arms=results.arms, recommendation=results.recommendation)
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert '<p class="eyebrow">Tuning beats prompting</p>' in page
    for sketch in SKETCHES:
        assert f"Confusion matrix of {sketch.name}" in page
    assert "Scores of each class" in page
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| always 'no' | 0.620 |" in text
    assert "## Confusion matrix of full" in text
