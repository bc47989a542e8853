"""The reliability diagram: what it draws of the logged probabilities, and what no run must break."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import example_run
from luthier.metrics.scoring import score_predictions
from luthier.records import Prediction
from luthier.report.answers import read_logs
from luthier.report.calibration import calibrations
from luthier.report.charts import reliability
from luthier.report.charts.parts import FOCUS, MULTIPLE, Charts
from luthier.report.figures import figures, png
from luthier.report.page import write_report


def _says(key: str, share: float, *, right: bool) -> Prediction:
    """Return an answer "yes" of a certain confidence, over one half."""
    target = "yes" if right else "no"
    values = (math.log(1 - share), math.log(share))
    return Prediction(key, "t", "yes", (target,), choices=("no", "yes"), choice_logprobs=values, choice_tokens=(1, 1))


def _log(*answers: tuple[float, bool]) -> dict[str, Prediction]:
    return {str(i): _says(str(i), share, right=right) for i, (share, right) in enumerate(answers)}


FOUR = _log((0.95, True), (0.95, True), (0.95, False), (0.65, True))
"""Three in the last bin, two of them right; one in the bin from 0.6, right."""


def _rows(chart: Charts | None, cell: int = 0) -> list[dict[str, Any]]:
    assert chart is not None
    spec = chart.to_dict()
    name = spec["concat"][cell]["layer"][0]["data"]["name"]
    rows: list[dict[str, Any]] = spec["datasets"][name]
    return rows


def test_bins_counts_and_error_by_hand() -> None:
    results = example_run.results(example_run.SKETCHES[:1])
    found, gaps = calibrations({"zero_shot": FOUR})
    assert gaps == ()
    # Three answers lie 0.95 − 2/3 from the diagonal, one 1 − 0.65.
    assert found["zero_shot"].n == 4
    assert found["zero_shot"].ece == pytest.approx((3 * (0.95 - 2 / 3) + 0.35) / 4)
    chart = reliability.diagrams(results, found)
    drawn = [(row["low"], row["high"], row["confidence"], row["accuracy"], row["n"]) for row in _rows(chart)]
    expected = [(0.6, 0.7, 0.65, 1.0, 1), (0.9, 1.0, 0.95, 2 / 3, 3)]
    assert len(drawn) == 2, "empty bins are left out, never drawn as 0"
    for given, wanted in zip(drawn, expected, strict=True):
        assert given == pytest.approx(wanted)
    assert chart is not None
    title = chart.to_dict()["concat"][0]["title"]
    assert (title["text"], title["subtitle"]) == (["zero_shot"], "ECE 0.300, 4 answers")


def test_bars_of_counts_are_shares_on_one_scale() -> None:
    results = example_run.results(example_run.SKETCHES[:2])
    both, _ = calibrations({"zero_shot": _log((0.95, True), (0.65, True)), "one_shot": _log(*[(0.95, True)] * 4)})
    chart = reliability.diagrams(results, both)
    assert chart is not None
    foot = chart.to_dict()["concat"][0]["layer"][0]["encoding"]["y"]["scale"]["domain"][0]
    half, whole = _rows(chart)[0]["top"] - foot, _rows(chart, 1)[0]["top"] - foot
    assert whole == pytest.approx(2 * half), "half of the answers, and all of them"
    assert foot < foot + whole < 0, "below the axis"


def test_the_same_error_as_the_metric() -> None:
    predictions = example_run.chosen(example_run.SKETCHES[4], 300)
    found, _ = calibrations({"lora": {p.id: p for p in predictions}})
    scores = {score.metric: score.value for score in score_predictions(predictions, ["ece"])}
    assert found["lora"].ece == pytest.approx(scores["ece_10"], abs=1e-12)


def test_free_text_has_no_diagram_and_damaged_probabilities_are_told() -> None:
    text = {"a": Prediction("a", "t", "tea", ("tea",))}
    broken = FOUR | {"x": replace(FOUR["0"], id="x", choice_logprobs=(math.nan, 0.0))}
    partly = FOUR | {"y": replace(FOUR["0"], id="y", choice_logprobs=())}
    found, gaps = calibrations({"zero_shot": text, "one_shot": {}, "full": FOUR, "lora": broken, "biases": partly})
    assert list(found) == ["full"]
    assert len(gaps) == 2
    assert "The calibration of lora is left out. prediction 'x'" in gaps[0]
    assert "is NaN" in gaps[0]
    assert "The calibration of biases is left out. prediction 'y'" in gaps[1]
    results = example_run.results()
    assert reliability.diagrams(results, {}) is None
    figure = {one.key: one for one in figures(results, example_run.costs(), {}, found, legend=False)}["reliability"]
    assert "not measured: zero_shot, one_shot, few_shot, lora, biases, prompt_tuning" in figure.note
    assert len(figure.spec["concat"]) == 1


@pytest.mark.parametrize("arms", [1, 15])
def test_any_number_of_arms_is_drawn(arms: int) -> None:
    sketches = example_run.many(arms)
    logs = {s.name: {p.id: p for p in example_run.chosen(s, 60)} for s in sketches}
    found, _ = calibrations(logs)
    drawn = figures(example_run.results(sketches), example_run.costs(sketches), {}, found, legend=True)
    figure = next(one for one in drawn if one.key == "reliability")
    assert len(figure.spec["concat"]) == arms
    assert all("".join(cell["title"]["text"]) in logs for cell in figure.spec["concat"])
    assert png(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize(("n", "label"), [(999, "999"), (1000, "1.0k"), (9949, "9.9k"), (9950, "10k"), (12345, "12k")])
def test_counts_fit_their_bars(n: int, label: str) -> None:
    found, _ = calibrations({"zero_shot": _log(*[(0.95, True)] * n)})
    assert _rows(reliability.diagrams(example_run.results(example_run.SKETCHES[:1]), found))[0]["count"] == label


def test_the_page_and_markdown_show_it(tmp_path: Path) -> None:
    sketches = example_run.SKETCHES[:2]
    results = example_run.build(tmp_path, sketches, rows=1)
    example_run.add_choices(tmp_path, sketches, 50)
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert '<section id="calibration">' in page
    assert '<a href="#calibration">' in page
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    spec = data["specs"]["reliability"]
    assert len(spec["concat"]) == 2
    assert "width" not in spec, "small multiples keep their size"
    assert data["multiple"] == MULTIPLE
    assert [one["name"] for one in spec["params"]] == [FOCUS]
    measured, _ = calibrations(read_logs(tmp_path, results).arms)
    assert f"ECE {measured['zero_shot'].ece:.3f}, 50 answers" in page
    assert "](charts/reliability.png)" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert (tmp_path / "charts" / "reliability.png").read_bytes().startswith(b"\x89PNG")


def test_a_generation_task_has_no_calibration_section(reported: example_run.Reported) -> None:
    assert 'id="calibration"' not in reported.html
    assert not (reported.run / "charts" / "reliability.png").exists()
