"""The level of an interval is said by the record that is shown, in every table, chart and file."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

import example_run
from luthier.records import Score
from luthier.report.evaluation import EvaluationRow, evaluation_json, evaluation_table
from luthier.report.figures import figures
from luthier.report.intervals import intervals_of
from luthier.report.page import write_report
from luthier.report.tables import pairs_table, quality_table, retention_table, scores_table
from luthier.results.change import Change
from luthier.results.records import ArmResult, RetentionResult, RunResults, read_results


def _printed(table: RenderableType) -> str:
    out = io.StringIO()
    Console(file=out, width=120).print(table)
    return out.getvalue()


def _row(task: str, confidence: float, **more: object) -> EvaluationRow:
    score = Score("accuracy", 0.5, 100, 0.4, 0.6, "made", {}, confidence)
    return replace(EvaluationRow(task, None, (score,), (0, 0), 0, {}), **more)  # type: ignore[arg-type]


def test_the_heading_says_the_level_of_the_scores_below_it() -> None:
    assert "90 % interval" in _printed(evaluation_table([_row("a", 0.9), _row("b", 0.9)]))
    assert "99.5 % interval" in [column.title for column in evaluation_table([_row("a", 0.995)]).table.columns]


def test_rows_of_different_levels_each_say_their_own() -> None:
    text = _printed(evaluation_table([_row("a", 0.9), _row("b", 0.99)]))
    assert "0.400 – 0.600 90 %" in text
    assert "0.400 – 0.600 99 %" in text
    assert "% interval" not in text


def test_parts_and_differences_count_as_rows() -> None:
    part = Score("accuracy", 0.5, 50, 0.3, 0.7, "made", {}, 0.8)
    text = _printed(evaluation_table([_row("a", 0.9, parts={"hard": (part,)})]))
    assert "0.300 – 0.700 80 %" in text
    coarser = Change(-0.1, -0.2, 0.0, 0.04, 100, True, 0.99)
    text = _printed(evaluation_table([_row("a", 0.9, coarser=coarser)]))
    assert "-0.200 – +0.000 99 %" in text


def test_json_has_the_level_of_every_score() -> None:
    found = json.loads(json.dumps(evaluation_json([_row("a", 0.9, coarser=Change(0, -1, 1, 0.5, 9, False, 0.8))])))
    assert found["a"]["scores"][0]["confidence"] == 0.9
    assert found["a"]["less_float32"]["confidence"] == 0.8


def test_an_interval_that_is_not_known_has_no_level() -> None:
    nan = float("nan")
    assert intervals_of([Score("a", 0.5, 1, nan, nan, "made", {}, 0.9), None]).levels == ()
    assert intervals_of([]).heading() == "interval"


def _at(change: Change, level: float) -> Change:
    return replace(change, confidence=level)


def _retained_at(item: RetentionResult, level: float) -> RetentionResult:
    before, after = (replace(score, confidence=level) for score in (item.before, item.after))
    return replace(item, before=before, after=after, change=_at(item.change, level))


def _arm_at(arm: ArmResult, level: float) -> ArmResult:
    return replace(
        arm,
        scores=tuple(replace(score, confidence=level) for score in arm.scores),
        retained=tuple(_retained_at(item, level) for item in arm.retained),
        token_loss=_retained_at(arm.token_loss, level) if arm.token_loss else None,
        against_first=_at(arm.against_first, level) if arm.against_first else None,
    )


def _run_at(level: float) -> RunResults:
    results = example_run.results()
    arms = tuple(_arm_at(arm, level) for arm in results.arms)
    pairs = tuple(replace(pair, change=_at(pair.change, level)) for pair in results.pairs)
    # The level that was asked for is another: what is shown comes from the records.
    return replace(results, arms=arms, pairs=pairs, confidence=0.5)


@pytest.mark.parametrize("make", [quality_table, retention_table, scores_table, pairs_table])
def test_every_caption_says_the_level_of_what_it_shows(make: object) -> None:
    assert callable(make)
    assert "90 % intervals in brackets" in make(_run_at(0.9)).note
    assert "80 % intervals in brackets" in make(_run_at(0.8)).note


def test_charts_say_the_level_of_what_they_show() -> None:
    drawn = {one.key: one.note for one in figures(_run_at(0.9), example_run.costs(), {}, {}, legend=False)}
    for key in ("quality", "parameters", "forgetting", "time", "token_loss"):
        assert "90 % intervals" in drawn[key], key


def test_a_table_of_several_levels_has_each_beside_its_interval() -> None:
    results = _run_at(0.9)
    first = replace(results.arms[0], scores=tuple(replace(one, confidence=0.99) for one in results.arms[0].scores))
    table = quality_table(replace(results, arms=(first, *results.arms[1:])))
    assert "intervals of 90 % or 99 %" in table.note
    assert table.rows[0][1].below == "[0.126, 0.158] 99 %"
    assert table.rows[1][1].below == "[0.155, 0.187] 90 %"


def test_marks_are_corrected_and_intervals_are_not_and_captions_say_so() -> None:
    results = example_run.results()
    for table in (quality_table(results), retention_table(results), pairs_table(results)):
        assert table is not None
        said = "▲ and ▼ are Holm-corrected for the comparisons made together, the intervals are not: an interval may "
        assert f"{said}exclude 0 where no mark stands." in table.note


def test_the_page_takes_the_level_from_the_records(tmp_path: Path) -> None:
    results = _run_at(0.9)
    example_run.build(tmp_path, rows=3, arms=results.arms, pairs=results.pairs)
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "90 % intervals in brackets" in page
    assert "95 %" not in page


def test_results_of_an_earlier_version_keep_their_level_and_scale(tmp_path: Path) -> None:
    """The level stood once for the whole run, and points followed from the name of a metric."""
    example_run.build(tmp_path, rows=1)
    path = tmp_path / "results.json"

    def without(value: object) -> object:
        if isinstance(value, list):
            return [without(item) for item in value]
        if not isinstance(value, dict):
            return value
        new = ("confidence", "variance", "spread", "scale", "seeds", "per_seed", "threads")
        found = {key: without(item) for key, item in value.items() if key not in new}
        return found | {"training": {}} if "training" in found and found["training"] is None else found

    old = without(json.loads(path.read_text(encoding="utf-8")))
    assert isinstance(old, dict)
    old["arms"][3]["training"] = {"epochs": 3, "final": 0.25}
    old |= {"confidence": 0.9, "data": {"train_cut": 3, "something_else": 1}}
    path.write_text(json.dumps(old), encoding="utf-8")
    results = read_results(tmp_path)
    assert {score.confidence for arm in results.arms for score in arm.scores} == {0.9}
    assert {pair.change.confidence for pair in results.pairs} == {0.9}
    full = next(arm for arm in results.arms if arm.name == "full")
    assert [item.scale for item in full.retained] == [1.0, 1.0, 100.0]
    assert full.token_loss is not None
    assert full.token_loss.scale is None
    assert results.arms[0].training is None
    assert full.training is not None
    assert (full.training.epochs, full.training.final_learning_rate_fraction) == (3, 0.25)
    assert results.data.train_cut == 3
    assert results.threads is None
    assert "90 % intervals" in quality_table(results).note
