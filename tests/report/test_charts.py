"""Charts: what they show of a run, and that no run breaks them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import example_run
from luthier.errors import DataError
from luthier.report.charts import learning, quality
from luthier.report.curves import Curve, RunKey, read_curve, thin
from luthier.report.figures import Figure, figures, png
from luthier.report.palette import COLOURS, arm_styles
from luthier.results.records import ArmCosts, RunCosts, RunResults
from luthier.results.summaries import Majority


def _curves(sketches: tuple[example_run.Sketch, ...]) -> dict[RunKey, Curve]:
    line = ((1.0, 3.0), (2.0, 2.5), (3.0, 2.4))
    return {(sketch.name, 0): Curve(line, line, line, "rougeL") for sketch in sketches if sketch.method}


def _without_numbers(results: RunResults) -> RunResults:
    nan = example_run.score("rougeL", math.nan, math.nan)
    moved = example_run.change(math.nan, math.nan)
    arms = [
        replace(arm, scores=(nan,), retained=tuple(replace(r, change=moved) for r in arm.retained))
        for arm in results.arms
    ]
    return replace(results, arms=tuple(arms))


RUNS = {
    "one arm": example_run.SKETCHES[:1],
    "nothing trained": example_run.SKETCHES[:3],
    "only trained": example_run.SKETCHES[3:],
    "fifteen arms with long names": example_run.many(15),
}


@pytest.mark.parametrize("sketches", RUNS.values(), ids=RUNS.keys())
def test_every_run_is_drawn(sketches: tuple[example_run.Sketch, ...]) -> None:
    results = example_run.results(sketches)
    drawn = figures(results, example_run.costs(sketches), _curves(sketches), {}, legend=True)
    trained = any(sketch.method for sketch in sketches)
    assert [figure.key for figure in drawn] == (KEYS if trained else KEYS[:1])
    for figure in drawn:
        assert png(figure).startswith(b"\x89PNG")


KEYS = [
    "quality",
    "parameters",
    "forgetting",
    "time",
    "retention",
    "token_loss",
    "training_loss",
    "validation_loss",
    "validation_score",
]


def _values(figure: Figure | None, *keys: str) -> list[tuple[Any, ...]]:
    assert figure is not None
    rows = [row for values in figure.spec["datasets"].values() for row in values]
    return [tuple(row[key] for key in keys) for row in rows if set(keys) <= set(row)]


def _drawn(results: RunResults, costs: RunCosts) -> dict[str, Figure]:
    return {figure.key: figure for figure in figures(results, costs, {}, {}, legend=False)}


def test_not_a_number_is_left_out_and_never_drawn_as_zero() -> None:
    results = _without_numbers(example_run.results())
    drawn = _drawn(results, example_run.costs())
    assert list(drawn) == ["token_loss"]
    good = example_run.results()
    one = replace(good, arms=(*good.arms[:-1], replace(good.arms[-1], scores=())))
    spec = json.dumps(_drawn(one, example_run.costs())["parameters"].spec)
    assert "not measured: prompt_tuning" in spec


def test_training_time_that_was_not_measured_is_left_out() -> None:
    costs = RunCosts("cpu", 1, {"full": ArmCosts(training_seconds=212.0), "lora": ArmCosts()})
    figure = _drawn(example_run.results(), costs)["time"]
    assert "not measured: lora, biases, prompt_tuning" in figure.note
    assert {arm for (arm,) in _values(figure, "arm")} == {"zero_shot", "one_shot", "few_shot", "full"}


def test_arms_that_train_nothing_stand_apart_from_the_logarithmic_axis() -> None:
    figure = _drawn(example_run.results(), example_run.costs())["parameters"]
    placed = dict(_values(figure, "arm", "x"))
    assert placed["lora"] == 32_768
    assert placed["full"] == example_run.PARAMETERS
    edge = 10 ** (math.log10(2_048) - 0.15)
    assert all(placed[arm] < edge for arm in ("zero_shot", "one_shot", "few_shot"))
    assert len({placed[arm] for arm in ("zero_shot", "one_shot", "few_shot")}) == 3
    assert "? '0' :" in json.dumps(figure.spec)


def test_the_heat_map_is_in_points_and_centred_at_zero() -> None:
    results = example_run.results()
    figure = _drawn(results, example_run.costs())["retention"]
    rows = {(arm, task): change for arm, task, change in _values(figure, "arm", "task", "change")}
    assert len(rows) == 4 * 3
    full = results.arms[3].retained
    assert rows["full", "sst2"] == pytest.approx(100 * full[0].change.value)
    assert rows["full", "wmt17_en_de"] == pytest.approx(full[2].change.value)
    scale = next(
        layer["encoding"]["color"]["scale"] for layer in figure.spec["layer"] if "scale" in layer["encoding"]["color"]
    )
    low, middle, high = scale["domain"]
    assert (middle, high) == (0, -low)


def test_an_arm_has_one_style_in_all_charts() -> None:
    names = [f"arm{k}" for k in range(15)]
    styles = arm_styles(names)
    assert len({(one.colour, one.shape) for one in styles.values()}) == 15
    assert len({(one.colour, tuple(one.dash)) for one in styles.values()}) == 15
    assert [styles[name].colour for name in names[:7]] == list(COLOURS)
    results = example_run.results()
    learned = learning.training_loss(results, _curves(example_run.SKETCHES))
    assert learned is not None
    scale = learned.to_dict()["layer"][0]["encoding"]["color"]["scale"]
    expected = arm_styles([arm.name for arm in results.arms])
    assert dict(zip(scale["domain"], scale["range"], strict=True)) == {
        name: expected[name].colour for name in ("full", "lora", "biases", "prompt_tuning")
    }


def test_curves_are_read_thinned_and_checked(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(
        '{"step": 1, "loss": 3.0}\n'
        '{"step": 2, "loss": NaN}\n\n'
        '{"step": 3, "loss": 2.0, "validation_loss": 2.5, "validation_score": 0.2, "validation_metric": "rougeL"}\n'
    )
    assert read_curve(log) == Curve(((1, 3.0), (3, 2.0)), ((3, 2.5),), ((3, 0.2),), "rougeL")
    assert thin([(1, 1.0), (2, 3.0), (3, 5.0)], most=2) == [(2, 2.0), (3, 5.0)]
    log.write_text('{"step": 1, "loss": 3.0}\n{"step": 2, "lo\n')
    with pytest.raises(DataError, match=r"log.jsonl, line 2: not a line of a training log"):
        read_curve(log)


def test_what_guessing_scores_is_drawn_where_it_is_known() -> None:
    task = replace(example_run.TASK, chance=0.05, majority=Majority("no", 0.4, "train"))
    chart = quality.primary_scores(replace(example_run.results(), task=task))
    assert chart is not None
    spec = chart.to_dict()
    rules = [layer for layer in spec["layer"] if layer["mark"].get("strokeDash") == [1, 2]]
    assert [spec["datasets"][rule["data"]["name"]][0]["score"] for rule in rules] == [0.05, 0.4]
    low, high = spec["layer"][-1]["encoding"]["x"].get("scale", {}).get("domain") or next(
        layer["encoding"]["x"]["scale"]["domain"] for layer in spec["layer"] if "scale" in layer["encoding"]["x"]
    )
    assert low < 0.05
    assert high > 0.4
    assert "dotted: chance and always 'no'" in " ".join(spec["title"]["subtitle"])
    plain = quality.primary_scores(example_run.results())
    assert plain is not None
    assert "dotted" not in " ".join(plain.to_dict()["title"]["subtitle"])
