"""What a matrix of scores says, worked by hand; and intervals over examples and training runs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from luthier.metrics.task_metrics import TaskMetrics
from luthier.records import Prediction
from luthier.results.sequence import (
    SequenceScores,
    as_share,
    cell_intervals,
    numbers_of_runs,
    sequence_intervals,
    sequence_numbers,
    sequence_scores,
)

BY_HAND = np.array([[0.20, 0.30, 0.10], [0.80, 0.35, 0.12], [0.85, 0.75, 0.20], [0.50, 0.70, 0.90]])
ACCURACY = TaskMetrics("t", ("accuracy",), "accuracy")


def test_a_matrix_worked_by_hand() -> None:
    found = sequence_numbers(BY_HAND)
    assert found.acc == pytest.approx((0.50 + 0.70 + 0.90) / 3, abs=1e-12)
    assert found.acc == pytest.approx(0.700, abs=1e-12)
    assert (
        found.bwt == pytest.approx(((0.50 - 0.80) + (0.70 - 0.75)) / 2, abs=1e-12) == pytest.approx(-0.175, abs=1e-12)
    )
    assert found.forgetting == pytest.approx(((0.85 - 0.50) + (0.75 - 0.70)) / 2, abs=1e-12)
    assert found.forgetting == pytest.approx(0.200, abs=1e-12)
    assert found.fwt == pytest.approx(((0.35 - 0.30) + (0.20 - 0.10)) / 2, abs=1e-12)
    assert found.fwt == pytest.approx(0.075, abs=1e-12)
    assert found.incremental == pytest.approx((0.80 + (0.85 + 0.75) / 2 + 0.70) / 3, abs=1e-12)
    assert round(found.incremental, 3) == 0.767


def test_two_tasks_are_the_fewest() -> None:
    found = sequence_numbers(np.array([[0.1, 0.2], [0.9, 0.3], [0.6, 0.8]]))
    assert (found.acc, found.bwt, found.forgetting, found.fwt) == pytest.approx((0.7, -0.3, 0.3, 0.1))
    assert found.incremental == pytest.approx((0.9 + 0.7) / 2)


@pytest.mark.parametrize("shape", [(2, 1), (3, 3), (4, 2)])
def test_other_shapes_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="N \\+ 1 rows"):
        sequence_numbers(np.zeros(shape))


def test_a_task_that_improves_later_is_not_forgotten() -> None:
    found = sequence_numbers(np.array([[0.0, 0.0], [0.5, 0.0], [0.7, 0.9]]))
    assert found.forgetting == pytest.approx(-0.2)
    assert found.bwt == pytest.approx(0.2)


def log(right: int, of: int = 10) -> list[Prediction]:
    """Answers of which the first ``right`` are right."""
    return [Prediction(f"e{place}", "t", "yes" if place < right else "no", ("yes",)) for place in range(of)]


def test_scores_are_those_of_the_logs_and_the_base_is_that_of_every_run() -> None:
    logs = {0: [[log(8), log(3)], [log(5), log(9)]], 7: [[log(6), log(3)], [log(6), log(7)]]}
    metrics = (TaskMetrics("t", ("exact_match",), "exact_match"),) * 2
    scores = sequence_scores(logs, [log(2), log(1)], metrics, draws=200)
    assert scores.runs.tolist() == [[[0.2, 0.1], [0.8, 0.3], [0.5, 0.9]], [[0.2, 0.1], [0.6, 0.3], [0.6, 0.7]]]
    assert scores.draws.shape == (200, 2, 3, 2)
    assert (scores.draws[:, 0, 0] == scores.draws[:, 1, 0]).all(), "one base, drawn alike"
    numbers = numbers_of_runs(scores)
    assert [one.bwt for one in numbers] == pytest.approx([-0.3, 0.0])
    found = sequence_intervals(scores, 0.95)
    assert found["bwt"].value == pytest.approx(-0.15)
    assert found["bwt"].low < -0.15 < found["bwt"].high
    cells = cell_intervals(scores, 0.95)
    assert cells[1][0].value == pytest.approx(0.7)
    assert cells[1][0].low < 0.7 < cells[1][0].high


def test_a_task_is_drawn_alike_at_every_stage() -> None:
    """What all stages answer alike drops out of differences: their interval has no width."""
    same = [log(5), log(5)]
    metrics = (TaskMetrics("t", ("exact_match",), "exact_match"),) * 2
    scores = sequence_scores({0: [same, same]}, same, metrics, draws=100)
    found = sequence_intervals(scores, 0.95)
    assert (found["bwt"].low, found["bwt"].high) == (0.0, 0.0)
    assert found["acc"].low < 0.5 < found["acc"].high


def test_scores_are_shares_of_which_more_is_better() -> None:
    values = np.array([30.0])
    assert as_share(values, TaskMetrics("t", ("bleu",), "bleu")) == pytest.approx([0.3])
    assert as_share(np.array([0.3]), ACCURACY) == pytest.approx([0.3])


def scores_of(runs: int, spread: float) -> SequenceScores:
    """Runs whose matrices differ by a constant, and no variance of examples."""
    shifts = np.linspace(-spread, spread, runs)
    own = np.stack([BY_HAND + shift * (np.arange(4) > 0)[:, None] for shift in shifts])
    return SequenceScores(own, np.tile(own, (1000, 1, 1, 1)))


def test_training_runs_are_drawn_from_three_on() -> None:
    two, three = (sequence_intervals(scores_of(runs, 0.1), 0.95)["acc"] for runs in (2, 3))
    assert two.low == two.high == pytest.approx(0.7), "of examples alone, which do not vary here"
    assert three.low < 0.65 < 0.75 < three.high


def test_the_variance_of_a_mean_of_three_runs_is_not_underestimated() -> None:
    """Runs at -.1, 0, +.1: the variance of their mean is .01 / 3."""
    scores = scores_of(3, 0.1)
    many = SequenceScores(scores.runs, np.tile(scores.runs, (20_000, 1, 1, 1)))
    found = sequence_intervals(many, 0.6827)["acc"]  # one standard deviation of a normal distribution to each side
    # Of two of three runs, drawn with replacement, the mean is ±.1 in 1 of 9, ±.05 in 2 of 9 each, and 0 in 3 of 9.
    assert (found.low, found.high) == pytest.approx((0.65, 0.75))
    assert math.sqrt((2 * 0.1**2 + 4 * 0.05**2) / 9) == pytest.approx(math.sqrt(0.01 / 3))
    assert scores.matrix() == pytest.approx(BY_HAND)
