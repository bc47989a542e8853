"""The worst version of each item and the mean win rate, by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from luthier.metrics.resampling import clusters_of
from luthier.metrics.scoring import score_predictions
from luthier.metrics.task_metrics import TaskMetrics
from luthier.records import Prediction
from luthier.results.win_rate import mean_win_rates, win_rates
from luthier.results.worst_case import all_versions, item_scores, worst_versions

MATCH = TaskMetrics("t", ("exact_match",), "exact_match")


def log(*texts: str, target: str = "a") -> list[Prediction]:
    return [Prediction(str(i), "t", text, (target,)) for i, text in enumerate(texts)]


def share(predictions: list[Prediction]) -> float:
    return score_predictions(predictions, ["exact_match"], resamples=0)[0].value


def test_an_item_counts_as_its_worst_version_the_original_among_them() -> None:
    original, noisy, swapped = log("a", "a", "b", "b"), log("a", "b", "a", "b"), log("a", "a", "a", "b")
    worst = worst_versions(original, [noisy, swapped], MATCH)
    assert [own.text for own in worst] == ["a", "b", "b", "b"]
    assert share(worst) == 0.25
    assert share(worst) <= min(map(share, (original, noisy, swapped)))


def test_a_perfect_model_stays_perfect_and_a_model_that_ignores_the_input_loses_nothing() -> None:
    assert share(worst_versions(log("a", "a"), [log("a", "a"), log("a", "a")], MATCH)) == 1
    constant = log("b", "b", "b")
    assert share(worst_versions(constant, [constant], MATCH)) == share(constant)


def test_the_worst_is_the_highest_where_less_is_better() -> None:
    """HELM takes the minimum there too, which is the best."""
    shares = TaskMetrics("t", ("stereotype",), "stereotype_share")

    def pair(more: float, less: float) -> Prediction:
        return Prediction("1", "t", "", ("m",), choices=("m", "l"), choice_logprobs=(more, less))

    (worst,) = worst_versions([pair(-2, -1)], [[pair(-1, -2)]], shares)
    assert worst.choice_logprobs == (-1, -2)


def test_where_an_item_alone_has_no_score_right_is_better_than_wrong() -> None:
    mcc = TaskMetrics("t", ("mcc",), "mcc")
    original, noisy = log("yes", "no", target="yes"), log("no", "yes", target="yes")
    assert item_scores(original, mcc).tolist() == [1, 0]
    assert [own.text for own in worst_versions(original, [noisy], mcc)] == ["no", "no"]


def test_a_version_that_was_not_answered_does_not_count() -> None:
    assert [own.text for own in worst_versions(log("a", "a"), [log("b")], MATCH)] == ["b", "a"]


def test_versions_of_one_item_are_one_cluster() -> None:
    original = [
        *log("a", "b"),
        replace(log("a")[0], id="2", group="passage"),
        replace(log("b")[0], id="3", group="passage"),
    ]
    versions = all_versions([original, original])
    assert len({own.id for own in versions}) == 8
    clusters = clusters_of(versions)
    assert clusters.count == 3
    assert np.bincount(clusters.of).tolist() == [2, 2, 4]
    # Twice the same answers are no more evidence than once.
    once = score_predictions(log("a", "b", "a", "b", "a"), ["exact_match"])[0]
    twice = score_predictions(all_versions([log("a", "b", "a", "b", "a")] * 2), ["exact_match"])[0]
    assert twice.value == once.value
    assert twice.high - twice.low > 0.9 * (once.high - once.low)


@pytest.mark.parametrize(
    ("values", "better", "expected"),
    [
        ((0.9, 0.5, 0.1), True, [1, 0.5, 0]),
        ((0.9, 0.5, 0.1), False, [0, 0.5, 1]),
        ((0.5, 0.5, 0.1), True, [0.75, 0.75, 0]),
        ((0.5, 0.5, 0.5), True, [0.5, 0.5, 0.5]),
        ((0.9, math.nan, 0.1), True, [1, math.nan, 0]),
        ((0.9, math.nan), True, [math.nan, math.nan]),
    ],
)
def test_win_rates_by_hand(values: tuple[float, ...], better: bool, expected: list[float]) -> None:
    assert win_rates(values, higher_is_better=better) == pytest.approx(expected, nan_ok=True)


def test_the_mean_win_rate_is_over_the_columns_that_can_be_compared() -> None:
    scores = {
        "a": {"accuracy": 0.9, "error": 0.2, "alone": 1.0},
        "b": {"accuracy": 0.8, "error": 0.1},
        "c": {"accuracy": 0.7},
        "d": {},
    }
    found = mean_win_rates(scores, {"accuracy": True, "error": False, "alone": True})
    assert found == pytest.approx({"a": (1 + 0) / 2, "b": (0.5 + 1) / 2, "c": 0.0, "d": math.nan}, nan_ok=True)
