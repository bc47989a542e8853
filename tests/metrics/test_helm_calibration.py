"""HELM's calibration: worked by hand, and constants of uncertainty-calibration 0.1.4, which HELM calls.

The constants are what this printed, with scikit-learn 1.9.1 for the scaling::

    import calibration as cal
    rng = numpy.random.default_rng(SEED)
    p = 0.5 + 0.5 * rng.random(N); y = (rng.random(N) < p ** 2).astype(int)
    cal.get_ece_em(p, y, num_bins=10), cal.get_ece(p, y, num_bins=1), cal.get_selective_stats(p, y)
    s = cal.get_platt_scaler(p, y)(p); cal.get_ece_em(s, y, num_bins=10), cal.get_ece(s, y, num_bins=1)
"""

from __future__ import annotations

import numpy as np
import pytest
from metric_rows import with_choices
from sklearn.linear_model import LogisticRegression

from luthier.metrics.choice.helm_calibration import equal_mass_edges, helm_ece, platt_scaled, selective_stats
from luthier.metrics.registry import get_metric
from luthier.metrics.scoring import score_predictions

REFERENCE: dict[tuple[int, int], tuple[float, ...]] = {
    (0, 300): (
        0.19116380747875386,
        0.18346976950320792,
        0.7992721020568262,
        1.0,
        0.07559926523526656,
        7.511466744047901e-06,
    ),
    (1, 301): (
        0.16851109815910273,
        0.16353915392554597,
        0.7840169591040751,
        1.0,
        0.08048209442091098,
        1.6588671476358563e-05,
    ),
    (2, 57): (
        0.21143824501196715,
        0.09539173340283369,
        0.7909149673341092,
        0.8333333333333334,
        0.19888711276343507,
        2.9528730017380767e-05,
    ),
    (3, 8): (
        0.47696549715822156,
        0.3044963731415796,
        0.6337797619047619,
        1.0,
        0.30205633907700247,
        8.162482929507942e-06,
    ),
}


def drawn(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    confidence = 0.5 + 0.5 * rng.random(n)
    return confidence, (rng.random(n) < confidence**2).astype(np.float64)


@pytest.mark.parametrize(("seed", "n"), sorted(REFERENCE))
def test_the_numbers_of_the_library_that_helm_calls(seed: int, n: int) -> None:
    confidence, right = drawn(seed, n)
    scaled = platt_scaled(confidence, right)
    found = (
        helm_ece(confidence, right, 10),
        helm_ece(confidence, right, 1),
        *selective_stats(confidence, right),
        helm_ece(scaled, right, 10),
        helm_ece(scaled, right, 1),
    )
    expected = REFERENCE[seed, n]
    assert found[:4] == pytest.approx(expected[:4], abs=1e-12)
    # Theirs stops within scikit-learn's tolerance of the optimum, ours at it: the mean is then the share of right ones.
    assert found[4:] == pytest.approx(expected[4:], abs=2e-4)
    assert found[5] == pytest.approx(0, abs=1e-9)


def test_edges_lie_midway_between_parts_of_equal_numbers() -> None:
    # Ten values in three parts: 4, 3, 3.
    values = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
    assert equal_mass_edges(values, 3) == pytest.approx([0.45, 0.75, 1.0])
    assert equal_mass_edges(np.full(10, 0.7), 10) == pytest.approx([0.7, 1.0]), "equal values are one bin"
    assert len(equal_mass_edges(np.array([0.2, 0.4]), 10)) == 2, "no more bins than values"


def test_errors_by_hand() -> None:
    # Two bins: (0.6, right), (0.7, wrong) and (0.8, right), (0.9, right): gaps 0.3 and -0.3.
    confidence, right = np.array([0.6, 0.7, 0.8, 0.9]), np.array([1.0, 0.0, 1.0, 1.0])
    assert helm_ece(confidence, right, 2) == pytest.approx((0.3 + 0.3) / 4)
    assert helm_ece(confidence, right, 1) == pytest.approx(0)


def test_selective_accuracy_takes_a_tenth_and_one_more() -> None:
    # Of ten items two: ⌊1⌋ + 1. Of nine one: ⌊0.9⌋ + 1.
    confidence = np.linspace(0.99, 0.5, 10)
    right = np.array([1.0, 0, 1, 1, 1, 1, 1, 1, 1, 1])
    area, top = selective_stats(confidence, right)
    assert top == 0.5
    assert area == pytest.approx(np.mean([1, *(k / (k + 1) for k in range(1, 10))]))
    assert selective_stats(confidence[:9], right[:9])[1] == 1


def test_platt_scaling_is_the_logistic_regression_on_log_odds() -> None:
    confidence, right = drawn(4, 500)
    odds = np.log(confidence / (1 - confidence))[:, None]
    exact = LogisticRegression(C=1e10, tol=1e-12, max_iter=10_000).fit(odds, right)
    assert platt_scaled(confidence, right) == pytest.approx(exact.predict_proba(odds)[:, 1], abs=1e-6)


def test_platt_scaling_of_what_can_be_separated_ends() -> None:
    confidence = np.array([0.6, 0.7, 0.8, 0.9])
    scaled = platt_scaled(confidence, np.array([0.0, 0.0, 1.0, 1.0]))
    assert scaled == pytest.approx([0, 0, 1, 1], abs=1e-3)


def values(shares: list[float], true: list[str], name: str) -> dict[str, float]:
    return {score.metric: score.value for score in score_predictions(with_choices(shares, true), [name], resamples=0)}


def test_the_metrics_of_predictions() -> None:
    confidence, right = drawn(5, 60)
    true = ["yes" if own else "no" for own in right]
    found = values(confidence.tolist(), true, "helm_ece")
    assert found["ece_10_bin"] == pytest.approx(helm_ece(confidence, right, 10))
    assert found["ece_1_bin"] == pytest.approx(helm_ece(confidence, right, 1))
    assert found["platt_ece_10_bin"] == pytest.approx(helm_ece(platt_scaled(confidence, right), right, 10))
    found = values(confidence.tolist(), true, "helm_selective")
    area, top = selective_stats(confidence, right)
    assert found["selective_cov_acc_area"] == pytest.approx(area)
    assert found["selective_acc@10"] == pytest.approx(top)


def test_where_all_are_right_nothing_is_scaled() -> None:
    found = values([0.6, 0.8, 0.9], ["yes"] * 3, "helm_ece")
    assert (found["platt_ece_10_bin"], found["platt_ece_1_bin"]) == (0, 0)
    assert found["ece_1_bin"] == pytest.approx(1 - 2.3 / 3)


def test_a_resample_is_the_same_function_of_the_items_that_are_drawn() -> None:
    confidence, right = drawn(6, 25)
    metric = get_metric("helm_selective")
    stats = np.stack([confidence, right], axis=1)
    weights = np.random.default_rng(0).integers(0, 3, size=(4, 25)).astype(np.float64)
    for row, found in zip(weights, metric.evaluate(stats, weights), strict=True):
        kept = np.repeat(np.arange(25), row.astype(int))
        assert found == pytest.approx(selective_stats(confidence[kept], right[kept]))
