"""Arms that were trained with several seeds: what tables, charts and the page say of them."""

from __future__ import annotations

import io
import json
import re
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

import example_run
import example_seeds
from luthier.report import derived
from luthier.report.cost_tables import cost_table
from luthier.report.figures import Figure, figures, png
from luthier.report.page import write_report
from luthier.report.run_tables import runs_table
from luthier.report.tables import pairs_table, quality_table, retention_table
from luthier.report.terminal import retention_table as drawn_retention
from luthier.report.terminal import summary_table
from luthier.results.records import RunResults, read_results, write_json


@pytest.fixture(scope="module")
def results() -> RunResults:
    return example_seeds.results_with_seeds()


def _cells(results: RunResults, arm: str) -> list[tuple[str, str]]:
    row = next(row for row in quality_table(results).rows if row[0].main == arm)
    return [(cell.main, cell.below) for cell in row]


def test_tables_show_the_mean_and_the_spread_over_seeds(results: RunResults) -> None:
    full = next(arm for arm in results.arms if arm.name == "full")
    values = [run.scores[0].value for run in full.per_seed]
    score, difference, other, loss = _cells(results, "full")[1:]
    assert score[0] == f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"
    assert score[1].startswith("[0.30")
    assert re.fullmatch(r"\+0\.189 ± 0\.\d{3}", difference[0])
    means = [sum(derived.points(item) or 0 for item in run.retained) / 3 for run in full.per_seed]
    assert other[0] == f"−{-statistics.mean(means):.1f} ± {statistics.stdev(means):.1f}"
    assert re.fullmatch(r"± 0\.\d{3}", loss[1])
    assert _cells(results, "zero_shot")[1][0] == "0.142", "what is not trained has no spread"
    retained = retention_table(results)
    assert retained is not None
    assert re.fullmatch(r"0\.\d{3} ± 0\.\d{3}", retained.rows[0][4].main)


def test_captions_say_which_variance_the_intervals_hold(results: RunResults) -> None:
    both = (
        "95 % intervals in brackets hold the variance of examples, and of training runs too where an arm has 3 or more"
    )
    spread = "± standard deviation over 3 training runs"
    for table in (quality_table(results), pairs_table(results), retention_table(results)):
        assert table is not None
        assert f"{both}; {spread}" in table.note
    two = quality_table(example_seeds.results_with_seeds(seeds=(0, 1))).note
    assert "hold the variance of examples alone (fewer than 3 training runs); ± standard deviation over 2" in two
    one = quality_table(example_run.results()).note
    assert "hold the variance of examples alone (fewer than 3 training runs)" in one
    assert "±" not in one
    untrained = quality_table(example_run.results(example_run.SKETCHES[:3])).note
    assert "hold the variance of examples alone." in untrained


def test_costs_say_that_they_are_means(results: RunResults) -> None:
    note = cost_table(results, example_run.costs()).note
    assert "trained arms: the mean of 3 training runs, each of which takes this" in note
    assert "mean of" not in cost_table(example_run.results(), example_run.costs()).note


def test_every_run_has_a_row_of_its_own(results: RunResults) -> None:
    table = runs_table(results)
    assert table is not None
    trained = [arm for arm in results.arms if arm.method]
    assert [(row[0].main, row[1].main) for row in table.rows] == [
        (arm.name, str(seed)) for arm in trained for seed in (0, 1, 2)
    ]
    assert runs_table(example_run.results()) is None


def test_a_validation_score_has_the_direction_of_its_metric(results: RunResults) -> None:
    """A training keeps the best score turned so that higher is better."""
    lower = replace(results, task=replace(results.task, higher_is_better=False))
    for given, sign in ((results, ""), (lower, "−")):
        table = runs_table(given)
        assert table is not None
        assert table.rows[0][5].main == f"{sign}{results.arms[3].per_seed[0].validation_score:.3f}"


def test_what_is_not_significant_says_how_small_a_change_would_have_been_found(results: RunResults) -> None:
    table = retention_table(results)
    assert table is not None
    for row in table.rows:
        assert row[1].below.startswith("detects ") == (row[2].tone == "muted")
    assert "not the same as kept" in table.note


def _drawn(results: RunResults) -> dict[str, Figure]:
    return {one.key: one for one in figures(results, example_run.costs(), {}, {}, legend=False)}


def _run_marks(figure: Figure, key: str) -> dict[tuple[str, int], float]:
    rows = [row for values in figure.spec["datasets"].values() for row in values if "seed" in row]
    return {(row["arm"], row["seed"]): row[key] for row in rows}


def test_charts_show_every_seed_beside_the_mean(results: RunResults) -> None:
    drawn = _drawn(results)
    runs = {(arm.name, run.seed): run for arm in results.arms for run in arm.per_seed}
    assert len(runs) == 12
    for key in ("quality", "parameters", "time", "forgetting"):
        marks = _run_marks(drawn[key], "score")
        assert marks == {place: run.scores[0].value for place, run in runs.items()}, key
        assert "small marks: single training runs" in drawn[key].note
    moved = _run_marks(drawn["forgetting"], "x")
    assert moved == {place: derived.mean_points(run.retained) for place, run in runs.items()}
    losses = _run_marks(drawn["token_loss"], "change")
    assert losses == {place: run.token_loss.change.value for place, run in runs.items() if run.token_loss}
    for figure in drawn.values():
        assert png(figure).startswith(b"\x89PNG")


def test_a_single_run_is_drawn_as_before() -> None:
    for figure in _drawn(example_run.results()).values():
        assert "seed" not in json.dumps(figure.spec)


def test_eighty_columns_hold_spreads_too(results: RunResults) -> None:
    for table in (summary_table(results, example_run.costs()), drawn_retention(results)):
        assert table is not None
        out = io.StringIO()
        Console(file=out, width=80).print(table)
        assert max(len(line) for line in out.getvalue().splitlines()) <= 80
        assert "…" not in out.getvalue()


def test_the_page_holds_every_run_and_results_are_read_back(results: RunResults, tmp_path: Path) -> None:
    example_run.build(tmp_path, rows=2, arms=results.arms, pairs=results.pairs)
    read = read_results(tmp_path)
    assert read.arms == results.arms
    page = write_report(tmp_path).read_text(encoding="utf-8")
    for words in ("Every training run", "3 seeds", "2 threads", "seeds 0, 1, 2", "Answers of the chosen training run"):
        assert words in page, words
    assert "Every training run" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_curves_and_answers_of_every_run_are_on_the_page(results: RunResults, tmp_path: Path) -> None:
    example_run.build(tmp_path, rows=4, arms=results.arms, pairs=results.pairs)
    full = next(place for place, arm in enumerate(results.arms) if arm.name == "full")
    arms = list(results.arms)
    runs = []
    for run in arms[full].per_seed:
        log, curve = (f"{kind}/full-{run.seed}.jsonl" for kind in ("predictions", "curves"))
        lines = [json.loads(line) for line in (tmp_path / "predictions" / "full.jsonl").read_text().splitlines()]
        made = [json.dumps(line | {"text": f"seed {run.seed} says"}) for line in lines]
        (tmp_path / log).write_text("\n".join(made) + "\n")
        (tmp_path / curve).write_text((tmp_path / "curves" / "full.jsonl").read_text())
        runs.append(replace(run, predictions=log, curve=curve))
    arms[full] = replace(arms[full], per_seed=tuple(runs))
    write_json(tmp_path / "results.json", replace(results, arms=tuple(arms)))
    page = write_report(tmp_path).read_text(encoding="utf-8")
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert data["rows"][0]["answers"][full] == ["seed 0 says", "seed 1 says", "seed 2 says"]
    assert isinstance(data["rows"][0]["answers"][0], str), "nothing was trained"
    assert '<option value="2">seed 2</option>' in page
    for key in ("training_loss", "validation_loss", "validation_score"):
        (records,) = data["specs"][key]["datasets"].values()
        assert {(one["arm"], one["seed"]) for one in records} >= {("full", seed) for seed in (0, 1, 2)}
    # The example keeps step 60 of every run, and validates at it.
    (records,) = data["specs"]["validation_score"]["datasets"].values()
    assert {one["step"] for one in records if one["best"]} == {60}
    assert "ring: the step whose weights were kept" in page.lower()
