"""From logs to records, for arms that were trained with one seed and with several."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping

import numpy as np
import pytest

from luthier.config.evaluation import EvaluationConfig
from luthier.errors import DataError
from luthier.metrics.scoring import score_predictions
from luthier.metrics.seeds import difference_over_seeds, scores_over_seeds
from luthier.metrics.significance import holm
from luthier.metrics.task_metrics import TaskMetrics
from luthier.records import Prediction
from luthier.results.costs import mean_costs
from luthier.results.records import ArmCosts
from luthier.results.scores import (
    all_pairs,
    change,
    change_over_seeds,
    corrected_retention,
    retention,
    retention_over_seeds,
    score,
    score_over_seeds,
)

TASK = TaskMetrics("made", ("exact_match", "bleu"), "bleu")
SHARE = TaskMetrics("made", ("exact_match", "bleu"), "exact_match", chance=0.1)
CONFIG = EvaluationConfig(confidence=0.9, resamples=200)
CONTEXT = {"split": "test", "shots": "0"}
WORDS = ["the", "cat", "sat", "on", "a", "red", "mat", "by", "the", "old", "sea"]


def log(seed: int, kept: float, n: int = 40) -> list[Prediction]:
    """Answer with each word of the target kept with a probability."""
    dice = np.random.default_rng(seed)
    made = []
    for number in range(n):
        target = " ".join(np.random.default_rng(number).permutation(WORDS)[:8])
        text = " ".join(word for word in target.split() if dice.random() < kept)
        made.append(Prediction(f"e{number}", "made", text, (target,)))
    return made


THREE = {0: log(10, 0.97), 1: log(11, 0.99), 2: log(12, 0.93)}
OTHER = {0: log(20, 0.9), 1: log(21, 0.92), 2: log(22, 0.88)}
BASE = log(1, 0.8)


@pytest.mark.parametrize("task", [TASK, SHARE])
def test_one_seed_gives_the_numbers_of_no_seeds_exactly(task: TaskMetrics) -> None:
    one, other = {7: THREE[0]}, {7: OTHER[0]}
    assert score_over_seeds(one, task, CONFIG, CONTEXT) == score(THREE[0], task, CONFIG, CONTEXT)
    assert score(THREE[0], task, CONFIG, CONTEXT)[0].spread is None
    assert change_over_seeds(one, other, task, CONFIG) == change(THREE[0], OTHER[0], task, CONFIG)
    assert change_over_seeds(one, BASE, task, CONFIG) == change(THREE[0], BASE, task, CONFIG)
    kept = retention_over_seeds(BASE, one, task, CONFIG, CONTEXT)
    assert kept == retention(BASE, THREE[0], task, CONFIG, CONTEXT)
    assert (kept.before, kept.scale) == (score(BASE, task, CONFIG, CONTEXT)[0], task.scale)
    plain = {"zero_shot": BASE, "full": THREE[0], "lora": OTHER[0]}
    assert all_pairs({"zero_shot": BASE, "full": one, "lora": other}, task, CONFIG) == all_pairs(plain, task, CONFIG)


def test_a_score_over_seeds_is_the_mean_with_its_spread_and_what_its_interval_holds() -> None:
    scores = score_over_seeds(THREE, TASK, CONFIG, CONTEXT)
    assert [one.metric for one in scores] == ["bleu", "exact_match"], "the primary comes first"
    expected = {one.output: one for one in scores_over_seeds(THREE, TASK.metrics, confidence=0.9)}
    for one in scores:
        values = [
            next(found.value for found in score_predictions(run, TASK.metrics) if found.metric == one.metric)
            for run in THREE.values()
        ]
        assert one.value == pytest.approx(statistics.mean(values))
        assert one.spread == pytest.approx(statistics.stdev(values))
        assert (one.low, one.high) == (expected[one.metric].low, expected[one.metric].high)
        assert one.low < one.value < one.high
        assert (one.n, one.confidence, one.variance) == (40, 0.9, "examples and training runs")
    assert "|ci:90%t|seeds:3|shots:0|split:test" in scores[0].signature
    assert scores[0].signature.startswith("metric:bleu|nrefs:1")
    precision = [score(run, TASK, CONFIG, CONTEXT)[0].detail["precision1"] for run in THREE.values()]
    assert scores[0].detail["precision1"] == pytest.approx(statistics.mean(precision))


def test_two_seeds_do_not_tell_the_variance_of_training_runs() -> None:
    two = {seed: THREE[seed] for seed in (0, 1)}
    one = score_over_seeds(two, TASK, CONFIG, CONTEXT)[0]
    assert one.variance == "examples"
    assert one.spread is not None
    assert change_over_seeds(two, BASE, TASK, CONFIG).variance == "examples"


def test_a_difference_over_seeds_is_paired_by_seed() -> None:
    found = change_over_seeds(THREE, OTHER, TASK, CONFIG)
    by_seed = [change(THREE[seed], OTHER[seed], TASK, CONFIG).value for seed in THREE]
    assert found.value == pytest.approx(statistics.mean(by_seed))
    assert found.spread == pytest.approx(statistics.stdev(by_seed))
    expected = difference_over_seeds(THREE, OTHER, "bleu", alpha=1 - 0.9)
    assert (found.low, found.high, found.p_value) == (expected.low, expected.high, expected.p_value)
    assert (found.confidence, found.variance) == (0.9, "examples and training runs")
    assert found.significant == (not found.low <= 0 <= found.high), "before correction, mark and interval agree"
    assert found.detectable is not None
    assert found.detectable > 0
    with pytest.raises(DataError, match="seed by seed"):
        change_over_seeds(THREE, {0: OTHER[0], 5: OTHER[1]}, TASK, CONFIG)


def test_pairs_of_arms_with_and_without_seeds_are_corrected_together() -> None:
    logs: Mapping[str, list[Prediction] | Mapping[int, list[Prediction]]] = {
        "zero_shot": BASE,
        "one_shot": log(2, 0.82),
        "full": THREE,
        "lora": OTHER,
    }
    pairs = all_pairs(logs, TASK, CONFIG)
    assert [(pair.b, pair.a) for pair in pairs] == list(itertools.combinations(logs, 2))
    raw = [change_over_seeds(logs[pair.a], logs[pair.b], TASK, CONFIG) for pair in pairs]
    assert [pair.change.p_value for pair in pairs] == holm([one.p_value for one in raw])
    assert [pair.change.low for pair in pairs] == [one.low for one in raw], "intervals are not corrected"
    variances = {(pair.a, pair.b): pair.change.variance for pair in pairs}
    assert variances["one_shot", "zero_shot"] == "examples"
    assert variances["full", "zero_shot"] == variances["lora", "full"] == "examples and training runs"


def test_retention_over_seeds_holds_every_run_against_one_base() -> None:
    kept = retention_over_seeds(BASE, THREE, SHARE, CONFIG, CONTEXT)
    after = [score(run, SHARE, CONFIG, CONTEXT)[0].value for run in THREE.values()]
    assert kept.before == score(BASE, SHARE, CONFIG, CONTEXT)[0]
    assert kept.after.value == pytest.approx(statistics.mean(after))
    assert kept.change.value == pytest.approx(kept.after.value - kept.before.value)
    assert kept.change.spread == pytest.approx(statistics.stdev(after)), "the base is the same for every seed"
    assert (kept.scale, kept.chance) == (1.0, 0.1)
    many = corrected_retention([kept, kept, kept], CONFIG)
    assert [one.change.p_value for one in many] == holm([kept.change.p_value] * 3)
    assert many[0].after == kept.after


def test_costs_of_an_arm_are_means_over_its_seeds() -> None:
    one = ArmCosts(training_seconds=10, peak_memory_bytes=5, request_seconds=0.5, known_answers=3)
    other = ArmCosts(training_seconds=20, peak_memory_bytes=7, known_answers=4)
    found = mean_costs([one, other])
    assert (found.training_seconds, found.peak_memory_bytes, found.known_answers) == (15, 7, 7)
    assert found.request_seconds == 0.5, "timed once, with the first seed"
    assert found.merged_request_seconds is None
    assert mean_costs([one]) is one


def test_what_is_not_known_of_seeds_is_not_a_number() -> None:
    single = {seed: log(seed, 0.9, n=1) for seed in range(3)}
    one = score_over_seeds(single, TASK, CONFIG, CONTEXT)[0]
    assert math.isnan(one.low)
    assert one.spread is not None


def test_a_detectable_fall_is_that_of_the_corrected_test() -> None:
    """At α / 3 the smallest difference found with 80 % power is (z(1 - α/6) + z(0.8)) standard errors."""
    one = retention(BASE, THREE[0], TASK, CONFIG, CONTEXT)
    alone, *_ = corrected_retention([one], CONFIG)
    assert alone.change.detectable == one.change.detectable
    together = corrected_retention([one, one, one], CONFIG)
    # α is 0.1: z(0.95) = 1.6449, z(1 - 0.1 / 6) = 2.1280, z(0.8) = 0.8416.
    for item in together:
        assert item.change.detectable is not None
        assert one.change.detectable is not None
        assert item.change.detectable == pytest.approx(
            one.change.detectable * (2.1280 + 0.8416) / (1.6449 + 0.8416), rel=1e-4
        )
