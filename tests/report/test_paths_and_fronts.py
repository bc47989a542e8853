"""Points, fronts and tasks beyond the base in tables and charts of an invented run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import example_run
from luthier.report import derived
from luthier.report.charts.paths import pareto_front
from luthier.report.figures import Figure, figures, png
from luthier.report.tables import quality_table, retention_table
from luthier.results.records import PointResult, RunResults


def drawn(results: RunResults) -> dict[str, Figure]:
    return {figure.key: figure for figure in figures(results, example_run.costs(), {}, {}, legend=True)}


def values(figure: Figure, *keys: str) -> list[tuple[Any, ...]]:
    """Return what the records of a figure say, those that have all the keys."""
    records = [record for found in figure.spec["datasets"].values() for record in found]
    return [tuple(record[key] for key in keys) for record in records if set(keys) <= set(record)]


def with_points(results: RunResults) -> RunResults:
    """Give the arm `lora` points: at 0 the base, at 0.5 half of what it gained and lost."""
    lora = results.arms[4]
    score, first = lora.scores[0], results.arms[0].scores[0]

    def at(share: float) -> PointResult:
        value = first.value + share * (score.value - first.value)
        retained = tuple(
            replace(item, change=replace(item.change, value=share * item.change.value)) for item in lora.retained
        )
        return PointResult(share, (replace(score, value=value),), retained, None, lora.against_first)

    points = (at(0.0), at(0.5), PointResult(1.0, lora.scores, lora.retained))
    return replace(results, arms=(*results.arms[:4], replace(lora, points=points), *results.arms[5:]))


def without(results: RunResults, task: str) -> RunResults:
    """Say of a retained task that the base cannot do it."""
    arms = tuple(
        replace(arm, retained=tuple(replace(item, able=item.task != task) for item in arm.retained))
        for arm in results.arms
    )
    return replace(results, arms=arms)


def test_a_path_leads_from_the_base_over_the_points_to_the_arm() -> None:
    results = with_points(example_run.results())
    figure = drawn(results)["forgetting"]
    lora = results.arms[4]
    lost = derived.forgetting(lora)
    assert lost is not None
    path = sorted({(at, x, score) for at, x, score in values(figure, "at", "x", "score")})
    assert [at for at, _, _ in path] == [0.0, 0.5, 1.0]
    assert [x for _, x, _ in path] == pytest.approx([0.0, lost.mean / 2, lost.mean])
    assert path[2][2] == lora.scores[0].value
    assert "line: from the base (0) to the arm (1) without training" in figure.note
    assert png(figure).startswith(b"\x89PNG")
    plain = drawn(example_run.results())["forgetting"]
    assert "line: from the base" not in plain.note


def test_a_point_is_a_row_below_its_arm_and_at_one_it_is_the_arm() -> None:
    rows = quality_table(with_points(example_run.results())).rows
    names = [row[0].main for row in rows]
    assert names[4:7] == ["lora", "lora at 0", "lora at 0.5"]
    assert rows[5][3].main == "0.0"


def test_the_front_is_what_nothing_beats_in_both() -> None:
    """(−2, 0.9) and (0, 0.5) stay; (−3, 0.8) and (−1, 0.4) are beaten in both; equal ones are one."""
    records = [{"x": x, "score": score} for x, score in ((-2, 0.9), (0, 0.5), (-3, 0.8), (-1, 0.4), (0, 0.5))]
    assert pareto_front(records, higher_is_better=True) == [{"x": -2, "score": 0.9}, {"x": 0, "score": 0.5}]
    # Of a loss less is better: (0, 0.5) has only (-1, 0.4) before it.
    assert pareto_front(records, higher_is_better=False) == [{"x": -1, "score": 0.4}, {"x": 0, "score": 0.5}]


def test_a_task_beyond_the_base_is_grey_and_in_no_mean() -> None:
    whole = example_run.results()
    results = without(whole, "boolq")
    before, after = (derived.forgetting(found.arms[3]) for found in (whole, results))
    assert before is not None
    assert after is not None
    assert (before.tasks, after.tasks) == (3, 2)
    points = {item.task: derived.points(item) or 0.0 for item in results.arms[3].retained}
    assert after.mean == pytest.approx((points["sst2"] + points["wmt17_en_de"]) / 2)
    table = retention_table(results)
    assert table is not None
    grey = [row for row in table.rows if row[2].tone == row[3].tone == row[4].tone == "muted"]
    assert len(grey) == 4
    assert "because the base cannot do it (its interval includes chance): boolq" in table.note
    figure = drawn(results)["retention"]
    assert {task for task, able in values(figure, "task", "able") if not able} == {"boolq"}
    assert "grey: the base cannot do it" in figure.note


def test_each_cell_of_the_heat_map_says_what_it_would_have_found() -> None:
    results = example_run.results()
    item = results.arms[3].retained[0]
    sure = replace(item, change=replace(item.change, detectable=0.034))
    arms = (*results.arms[:3], replace(results.arms[3], retained=(sure,)), *results.arms[4:])
    figure = drawn(replace(results, arms=arms))["retention"]
    assert dict(values(figure, "arm", "detects"))["full"] == "±3.4"
