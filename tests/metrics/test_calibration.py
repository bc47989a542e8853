"""Calibration: worked by hand, and what scikit-learn says."""

from __future__ import annotations

import numpy as np
import pytest
from metric_rows import with_choices
from sklearn import metrics as sk

from luthier.metrics.choice.calibration import choice_probabilities, reliability
from luthier.metrics.registry import get_metric
from luthier.records import Prediction


def values_of(name: str, predictions: list[Prediction]) -> dict[str, float]:
    metric = get_metric(name)
    return dict(zip(metric.outputs, metric.evaluate(metric.statistics(predictions)).tolist(), strict=True))


def test_ece_by_hand() -> None:
    # Confidences 0.95, 0.95 (one right) and 0.6, 0.6 (both right): 2/4 · |0.95 - 0.5| + 2/4 · |0.6 - 1|.
    rows = with_choices([0.95, 0.05, 0.6, 0.4], ["yes", "yes", "yes", "no"])
    found = values_of("ece", rows)
    assert found["ece_10"] == pytest.approx(0.425)
    assert found["ece_15"] == pytest.approx(0.425)


def test_equal_mass_bins_hold_equal_numbers() -> None:
    rng = np.random.default_rng(0)
    rows = with_choices((0.5 + 0.5 * rng.random(300) ** 3).tolist(), ["yes"] * 300)
    assert {part.n for part in reliability(rows, bins=10, equal_mass=True)} == {30}


def test_a_calibrated_model_has_small_error_and_an_overconfident_one_a_large_one() -> None:
    rng = np.random.default_rng(1)
    shares = rng.uniform(0.5, 1.0, 20_000)
    true = np.where(rng.random(20_000) < shares, "yes", "no").tolist()
    assert values_of("ece", with_choices(shares.tolist(), true))["ece_15"] < 0.01
    assert values_of("ece", with_choices(np.sqrt(shares).tolist(), true))["ece_15"] > 0.08


def test_bars_of_the_reliability_diagram_by_hand() -> None:
    bars = reliability(with_choices([0.95, 0.95, 0.6], ["yes", "no", "yes"]), bins=2)
    assert (bars[0].n, bars[1].n) == (0, 3)
    assert bars[1].accuracy == pytest.approx(2 / 3)
    assert np.isnan(bars[0].accuracy)
    assert bars[1].confidence == pytest.approx(2.5 / 3)


def test_brier_is_twice_scikit_learns_for_two_choices() -> None:
    rng = np.random.default_rng(2)
    shares, true = rng.random(100), rng.choice(["no", "yes"], 100)
    expected = sk.brier_score_loss(true == "yes", shares)
    assert values_of("brier", with_choices(shares.tolist(), true.tolist()))["brier"] == pytest.approx(2 * expected)


def test_selective_accuracy_by_hand() -> None:
    # From the most confident down: right, right, wrong, right, wrong, and five wrong.
    shares = [0.99, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55]
    true = ["yes", "yes", "no", "yes", "no", "no", "no", "no", "no", "no"]
    found = values_of("selective", with_choices(shares, true))
    assert found["selective_accuracy_10"] == 1.0
    running = [1, 1, 2 / 3, 3 / 4, 3 / 5, 3 / 6, 3 / 7, 3 / 8, 3 / 9, 3 / 10]
    assert found["selective_area"] == pytest.approx(sum(running) / 10)


def test_equal_confidences_enter_together() -> None:
    first = values_of("selective", with_choices([0.9, 0.9], ["yes", "no"]))
    second = values_of("selective", with_choices([0.9, 0.9], ["no", "yes"]))
    assert first == second == {"selective_accuracy_10": 0.5, "selective_area": 0.5}


def test_impossible_choices_share_equally() -> None:
    row = Prediction("0", "t", "", ("a",), ("a", "b"), (-np.inf, -np.inf), (1, 1))
    assert choice_probabilities(row).tolist() == [0.5, 0.5]
