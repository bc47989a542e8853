"""Scores and differences over seeds: by hand, against today's one-seed tests, and their faults.

The coverage of the intervals is in ``test_seed_coverage.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import scipy.stats
from metric_rows import answered

from luthier.errors import ConfigError, DataError, Faults
from luthier.metrics.registry import get_metric
from luthier.metrics.resampling import Clusters, clusters_of, wilson_interval
from luthier.metrics.scoring import score_predictions
from luthier.metrics.seed_runs import linearised
from luthier.metrics.seeds import SeedDifference, difference_over_seeds, scores_over_seeds
from luthier.metrics.significance import paired_difference
from luthier.metrics.variance_components import (
    VarianceComponents,
    proportion_interval,
    two_sided_p_value,
    variance_components,
)
from luthier.records import Prediction


def right(marks: str, *, groups: str = "") -> list[Prediction]:
    """One prediction for each mark: right where it is 1. The letter at its place in ``groups`` is its group."""
    return [Prediction(str(i), "t", mark, ("1",), group=groups[i] if groups else "") for i, mark in enumerate(marks)]


def runs(*marks: str) -> dict[int, list[Prediction]]:
    return {seed: right(line) for seed, line in enumerate(marks)}


def random_runs(seed: int, *, n: int = 40, count: int = 3) -> dict[int, list[Prediction]]:
    rng = np.random.default_rng(seed)
    return runs(*("".join(rng.choice(list("01"), size=n, p=[0.3, 0.7])) for _ in range(count)))


@pytest.mark.parametrize("share", [0.0, 0.5, 0.97, 1.0])
def test_both_forms_of_wilson_s_interval_agree(share: float) -> None:
    """By the number of trials, and by the half-width ``z·sqrt(p·(1 − p) / n)`` that these trials give."""
    n, z = 50, 1.959963984540054
    examples = np.array(share * (1 - share) / n * (z / -float(scipy.special.stdtrit(n - 1, 0.025))) ** 2)
    components = VarianceComponents(np.zeros(()), examples, np.zeros(()), 0, n - 1)
    if 0 < share < 1:
        found = [float(end) for end in proportion_interval(np.array(share), components, 0.025, n)]
        assert found == pytest.approx(wilson_interval(share, n, 0.95), abs=1e-12)
    else:  # Nothing varies: Student's quantile stands for the normal one, which is a little wider.
        low, high = proportion_interval(np.array(share), components, 0.025, n)
        narrow = wilson_interval(share, n, 0.95)
        assert float(low) <= narrow[0]
        assert float(high) >= narrow[1]
        assert float(high - low) == pytest.approx(narrow[1] - narrow[0], rel=0.06)


def test_variance_components_by_hand() -> None:
    # Two examples, three runs. Means of runs 1, 2, 6 (variance 7); of examples 2 and 4 (variance 2).
    # Every run's two values are 2 apart, so nothing is left over.
    components = variance_components(np.array([[0.0, 2], [1, 3], [5, 7]]))
    assert float(components.runs) == pytest.approx(7 / 3)
    assert float(components.examples) == pytest.approx(2 / 2)
    assert float(components.rest) == pytest.approx(0)
    assert float(components.total) == pytest.approx(7 / 3 + 1)
    # Student's quantile with 2 degrees of freedom is 4.302653, with 1 it is 12.706205.
    quantile = (7 / 3 * 4.302653 + 1 * 12.706205) / (7 / 3 + 1)
    # Here the examples alone say less than both: 12.706205 · sqrt(1).
    assert quantile * math.sqrt(10 / 3) < 12.706205
    assert float(components.half_width(0.025)) == pytest.approx(12.706205, rel=1e-6)
    twice = variance_components(np.array([[0.0, 1], [2, 3], [7, 8]]))
    # Means of runs 0.5, 2.5, 7.5 (variance 13), of examples 3 and 4 (variance 0.5).
    quantile = (13 / 3 * 4.302653 + 0.25 * 12.706205) / (13 / 3 + 0.25)
    assert float(twice.half_width(0.025)) == pytest.approx(quantile * math.sqrt(13 / 3 + 0.25), rel=1e-6)


def test_what_runs_and_examples_share_is_counted_once() -> None:
    # Runs [0, 2], [2, 0], [1, 4]: means 1, 1, 2.5 (variance 0.75); examples 1 and 2 (variance 0.5); grand mean 1.5.
    # Left over: -0.5, 0.5 / 1.5, -1.5 / -1, 1: sum of squares 7, with (3 - 1)(2 - 1) degrees of freedom 3.5.
    components = variance_components(np.array([[0.0, 2], [2, 0], [1, 4]]))
    assert [float(components.runs), float(components.examples)] == pytest.approx([0.75 / 3, 0.5 / 2])
    assert float(components.rest) == pytest.approx(3.5 / 6)
    assert float(components.total) == pytest.approx(0.25)  # 0.25 + (0.25 − 0.58, which is 0).


def test_without_runs_the_interval_is_student_s_over_examples() -> None:
    table = np.array([[0.0, 2, 4, 1], [1, 3, 2, 2]])
    components = variance_components(table, runs=False)
    expected = scipy.stats.ttest_1samp(table.mean(axis=0), 0.0)
    assert two_sided_p_value(float(table.mean()), components) == pytest.approx(expected.pvalue)


def test_runs_without_spread_over_examples_give_student_s_test_over_runs() -> None:
    values = np.array([0.3, 0.5, 0.1, 0.2])
    components = variance_components(np.repeat(values[:, None], 5, axis=1))
    assert two_sided_p_value(float(values.mean()), components) == pytest.approx(
        scipy.stats.ttest_1samp(values, 0.0).pvalue
    )


def test_p_value_of_a_difference_far_from_zero_is_small_and_not_undefined() -> None:
    components = variance_components(np.random.default_rng(0).normal(size=(3, 400)))
    assert 0 <= two_sided_p_value(1e9, components) < 1e-9
    assert two_sided_p_value(0.0, components) == 1.0
    assert math.isnan(two_sided_p_value(math.nan, components))


def test_score_by_hand() -> None:
    # Two examples, three seeds: accuracies 1, 0.5, 0; deviation 0.5. Examples are right in 2/3 and 1/3 of the runs.
    found = scores_over_seeds(runs("11", "10", "00"), ["accuracy"])[0]
    assert (found.output, found.value, found.n, found.seeds) == ("accuracy", 0.5, 2, (0, 1, 2))
    assert found.values == (1.0, 0.5, 0.0)
    assert found.spread == 0.5
    assert found.variance == "examples and seeds"
    # Runs 0.25 / 3; examples 2/3 and 1/3 (variance 1/18), / 2; left over ±1/6 twice and ±1/3 once: 1/3 / 2 / 6.
    assert found.standard_error == pytest.approx(math.sqrt(0.25 / 3 + 1 / 36 - 1 / 36))
    # The examples alone say least, by Student's quantile with 1 degree of freedom. Wilson's interval with it:
    ratio = 12.706205**2 / 36 / 0.25
    half = math.sqrt(0.25 * ratio + ratio**2 / 4) / (1 + ratio)
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half), rel=1e-6)


def test_difference_by_hand() -> None:
    # First minus second, example by example: [1, 0], [1, 1], [0, -1]: means 0.5, 1, -0.5.
    found = difference_over_seeds(runs("11", "11", "10"), runs("01", "00", "11"), "accuracy")
    assert found.values == (0.5, 1.0, -0.5)
    assert found.value == pytest.approx(1 / 3)
    assert found.spread == pytest.approx(math.sqrt(7 / 12))
    # Runs (7/12) / 3; examples 2/3 and 0: (2/9) / 2; left over ±1/6, ±1/3, ±1/6: (4/36 + 2/9) / 2 / 6.
    assert found.standard_error == pytest.approx(math.sqrt(7 / 36 + 1 / 9 - 1 / 36))


def test_one_seed_gives_the_numbers_of_one_log() -> None:
    log, other = random_runs(1)[0], random_runs(2)[0]
    score = score_predictions(log, ["accuracy", "token_f1"])
    found = scores_over_seeds({7: log}, ["accuracy", "token_f1"])
    assert [(s.output, s.value, s.low, s.high) for s in found] == [(s.metric, s.value, s.low, s.high) for s in score]
    assert {s.variance for s in found} == {"examples"}
    assert math.isnan(found[0].spread)
    expected = paired_difference(log, other, "accuracy")
    for a, b in ((log, other), ({7: log}, {7: other}), ({7: log}, other)):
        one = difference_over_seeds(a, b, "accuracy")
        assert (one.value, one.low, one.high, one.p_value) == (
            expected.value,
            expected.low,
            expected.high,
            expected.p_value,
        )
        assert one.variance == "examples"


def test_two_seeds_hold_the_variance_of_examples_alone() -> None:
    pair = random_runs(3, count=2)
    (score,) = scores_over_seeds(pair, ["accuracy"])
    found = difference_over_seeds(pair, random_runs(4, count=2), "accuracy")
    assert score.variance == found.variance == "examples"
    assert "for these 2 seeds" in score.method
    three = difference_over_seeds(random_runs(3), random_runs(4), "accuracy")
    assert three.variance == "examples and seeds"
    assert "over 3 seeds and 40 examples" in three.method


def test_an_arm_without_seeds_stands_against_every_seed() -> None:
    tuned, base = random_runs(5), random_runs(6)[0]
    found = difference_over_seeds(tuned, base, "accuracy")
    repeated = difference_over_seeds(tuned, dict.fromkeys(tuned, base), "accuracy")
    assert found == repeated
    assert found.seeds == (0, 1, 2)
    back = difference_over_seeds(base, tuned, "accuracy")
    assert (back.value, back.p_value) == (-found.value, found.p_value)
    assert back.low == pytest.approx(-found.high)


def test_order_of_seeds_and_of_examples_does_not_matter() -> None:
    a, b = random_runs(7), random_runs(8)
    shuffled = {seed: list(reversed(b[seed])) for seed in (2, 0, 1)}
    found, again = difference_over_seeds(a, b, "accuracy"), difference_over_seeds(a, shuffled, "accuracy")
    assert again == found


@pytest.mark.parametrize("metric", ["accuracy", "token_f1", "chrf", "f1"])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_p_value_and_interval_agree(metric: str, count: int) -> None:
    a, b = random_runs(9, count=count), random_runs(10, count=count)
    p_value = difference_over_seeds(a, b, metric).p_value
    assert 0 < p_value < 1

    def reaches_zero(alpha: float) -> bool:
        found = difference_over_seeds(a, b, metric, alpha=alpha)
        assert found.significant == (not found.low <= 0 <= found.high)
        return found.low <= 0 <= found.high

    assert reaches_zero(p_value * 0.999)
    assert not reaches_zero(p_value * 1.001)


def test_groups_are_one_draw() -> None:
    # Every example four times over, in a group: the standard error is that of the single examples.
    lines = ("1101100111", "1011100110", "1110100101")
    alone = runs(*lines)
    names = "".join(letter * 4 for letter in "abcdefghij")
    grouped = {seed: right("".join(mark * 4 for mark in line), groups=names) for seed, line in enumerate(lines)}
    (expected,), (found,) = scores_over_seeds(alone, ["token_f1"]), scores_over_seeds(grouped, ["token_f1"])
    assert found.n == 40
    assert (found.value, found.standard_error) == pytest.approx((expected.value, expected.standard_error))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_jackknife_gives_the_examples_scores_for_a_mean() -> None:
    log = right("1101")
    values, table = linearised(get_metric("accuracy"), [log], clusters_of(log))
    assert values.tolist() == [[0.75]]
    assert table[0, :, 0] == pytest.approx([1, 1, 0, 1])


def test_many_groups_are_left_out_together() -> None:
    log = right("1101" * 500)
    values, table = linearised(get_metric("accuracy"), [log], Clusters(np.arange(2000), 2000))
    assert table.shape == (1, 1000, 1)
    assert float(table.mean()) == pytest.approx(float(values[0, 0]))


def test_corpus_metrics_are_aggregated_within_a_seed() -> None:
    truth = ["the cat sat on the mat today", "a dog ran over the green hill", "we went home in the evening rain"]
    texts = [truth, [*truth[:2], "we went"], ["the cat", *truth[1:]]]
    logs = {seed: answered(text, truth) for seed, text in enumerate(texts)}
    (found,) = scores_over_seeds(logs, ["bleu"])
    expected = [score_predictions(log, ["bleu"], resamples=0)[0].value for log in logs.values()]
    assert found.values == pytest.approx(expected)
    assert found.value == pytest.approx(np.mean(expected))


def _unseen(n: int, **settings: float) -> SeedDifference:
    a = runs(*["10" * (n // 2)] * 3)
    return difference_over_seeds(a, a, "accuracy", **settings)  # type: ignore[arg-type]


def test_equal_answers_are_not_a_certain_zero() -> None:
    few, many = _unseen(10), _unseen(1000)
    # Tango's interval without a discordant pair, t² / (n + t²), with Student's t: 2.262157 for 9 degrees of freedom.
    assert few.high == -few.low == pytest.approx(2.262157**2 / (10 + 2.262157**2), rel=1e-6)
    assert 0 < many.high < 0.004
    assert few.p_value == many.p_value == 1.0
    assert not few.significant
    assert few.detectable > few.high
    # Numbers that are no shares: the bound follows from the spread of the arms' own scores.
    a = runs(*["10" * 5] * 3)
    other = difference_over_seeds(a, a, "token_f1")
    assert 0 < other.high == -other.low < few.high
    # Nothing varies in either arm: nothing is known.
    b = runs(*["1" * 10] * 3)
    nothing = difference_over_seeds(b, b, "token_f1")
    assert math.isnan(nothing.low)
    assert (nothing.p_value, nothing.variance) == (1.0, "none")


def test_a_difference_that_is_everywhere_the_same_is_found() -> None:
    a, b = runs(*["1" * 20] * 3), runs(*["0" * 20] * 3)
    found = difference_over_seeds(a, b, "accuracy")
    assert found.value == found.high == 1.0
    assert 0 < found.low < 1
    assert found.p_value == pytest.approx(2 * scipy.stats.t.sf(math.sqrt(20), 19))
    assert found.significant


def test_all_right_is_not_certainly_all_right() -> None:
    (found,) = scores_over_seeds(runs(*["1" * 20] * 3), ["accuracy"])
    assert found.value == found.high == 1.0
    assert 0.8 < found.low < 0.9
    (mean,) = scores_over_seeds(runs(*["1" * 20] * 3), ["token_f1"])
    assert math.isnan(mean.low)
    assert mean.variance == "none"


def test_one_group_says_nothing_about_others() -> None:
    logs = {seed: right("1101", groups="aaaa") for seed in range(3)}
    (score,) = scores_over_seeds(logs, ["accuracy"])
    found = difference_over_seeds(logs, logs, "accuracy")
    assert math.isnan(score.low)
    assert math.isnan(found.low)
    assert math.isnan(found.p_value)
    assert score.variance == found.variance == "none"
    assert score.method == found.method == "none: one group says nothing about others"


def test_a_value_that_is_not_defined_is_not_measured() -> None:
    # The correlation of a constant answer is not defined: no mean is taken over the other seeds.
    truth = ["1", "2", "3", "4"]
    logs = {0: answered(truth, truth), 1: answered(["1", "1", "1", "1"], truth), 2: answered(truth[::-1], truth)}
    found = scores_over_seeds(logs, ["pearson"])[0]
    assert math.isnan(found.value)
    assert math.isnan(found.low)
    assert [math.isnan(v) for v in found.values] == [False, True, False]
    assert found.method == "none: a value is not defined"
    difference = difference_over_seeds(logs, logs[0], "pearson")
    assert math.isnan(difference.value)
    assert math.isnan(difference.p_value)
    assert not difference.significant


@pytest.mark.parametrize(
    ("logs", "said"),
    [
        ({}, ["There is no run to score"]),
        ({0: []}, ["There are no predictions to score"]),
        ({0: right("11"), 5: right("1")}, ["The log of seed 5", "seed 0", "lacks '1'"]),
        ({0: right("1"), 5: right("11")}, ["seed 5", "also has '1'"]),
        ({0: right("11"), 5: [*right("1"), *right("11")]}, ["seed 5 answers twice: '0'"]),
    ],
)
def test_runs_must_hold_the_same_examples(logs: dict[int, Sequence[Prediction]], said: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        scores_over_seeds(logs, ["accuracy"])
    assert all(part in str(caught.value) for part in said)


def test_all_faulty_runs_are_named_at_once() -> None:
    with pytest.raises(Faults) as caught:
        scores_over_seeds({0: right("11"), 1: right("1"), 2: right("111")}, ["accuracy"])
    assert all(part in str(caught.value) for part in ("seed 1", "lacks '1'", "seed 2", "also has '2'"))


def test_two_arms_need_the_same_seeds() -> None:
    a = runs("10", "11", "01")
    with pytest.raises(DataError, match="seed by seed, and theirs differ: the first 0, 1, 2, the second 0, 1"):
        difference_over_seeds(a, runs("10", "11"), "accuracy")
    with pytest.raises(ConfigError, match="has no output 'bleu'"):
        difference_over_seeds(a, a, "accuracy", "bleu")
