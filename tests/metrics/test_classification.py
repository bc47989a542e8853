"""Labels and numbers: worked by hand, and what scikit-learn and scipy say."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import scipy.stats
from metric_rows import answered, labels, with_choices
from sklearn import metrics as sk

from luthier.errors import ConfigError, DataError
from luthier.metrics.answer_extraction import set_f1, squad_normalise, token_f1
from luthier.metrics.choice.correlation import weighted_ranks
from luthier.metrics.registry import get_metric
from luthier.records import Prediction


def value_of(name: str, predictions: list[Prediction], output: str | None = None) -> float:
    metric = get_metric(name)
    return float(metric.evaluate(metric.statistics(predictions))[metric.outputs.index(output or metric.primary)])


@pytest.mark.parametrize("names", ["ab", "abcde"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equal_to_scikit_learn(names: str, seed: int) -> None:
    given, true = labels(200, names, 0.5, seed)
    rows = answered(given, true)
    assert value_of("accuracy", rows) == pytest.approx(sk.accuracy_score(true, given))
    assert value_of("balanced_accuracy", rows) == pytest.approx(sk.balanced_accuracy_score(true, given))
    assert value_of("f1", rows) == pytest.approx(sk.f1_score(true, given, average="macro"))
    assert value_of("f1", rows, "f1_micro") == pytest.approx(sk.f1_score(true, given, average="micro"))
    assert value_of("f1", rows, "f1_weighted") == pytest.approx(sk.f1_score(true, given, average="weighted"))
    assert value_of("f1_binary:positive=a", rows) == pytest.approx(
        sk.f1_score(true, given, labels=["a"], average=None)[0]
    )
    assert value_of("mcc", rows) == pytest.approx(sk.matthews_corrcoef(true, given))


def test_a_resample_is_scored_as_scikit_learn_scores_it() -> None:
    given, true = labels(12, "abcd", 0.5, 3)
    drawn = np.random.default_rng(0).integers(12, size=12)
    weights = np.bincount(drawn, minlength=12).astype(np.float64)[None]
    for name, expected in (
        ("f1", sk.f1_score([true[i] for i in drawn], [given[i] for i in drawn], average="macro")),
        ("mcc", sk.matthews_corrcoef([true[i] for i in drawn], [given[i] for i in drawn])),
    ):
        metric = get_metric(name)
        assert metric.evaluate(metric.statistics(answered(given, true)), weights)[0, 0] == pytest.approx(expected)


def test_a_constant_answer_has_no_correlation() -> None:
    assert value_of("mcc", answered(["a"] * 4, ["a", "b", "a", "b"])) == 0.0
    assert value_of("balanced_accuracy", answered(["a"] * 4, ["a", "a", "a", "b"])) == 0.5


def test_choices_are_ranked_by_their_log_probability() -> None:
    rows = with_choices([0.9, 0.2, 0.6], ["yes", "no", "no"])
    assert value_of("accuracy", rows) == pytest.approx(2 / 3)


def test_normalisation_by_length_can_turn_the_answer() -> None:
    # -3.0 over 2 tokens is -1.5 a token; -3.3 over 3 tokens is -1.1 a token.
    row = Prediction("0", "t", "", ("long",), ("short", "long"), (-3.0, -3.3), (2, 3))
    assert value_of("accuracy", [row]) == 0.0
    assert value_of("accuracy_normalised", [row]) == 1.0


def test_any_of_several_targets_will_do() -> None:
    rows = [Prediction("0", "t", " big ", ("large", "big")), Prediction("1", "t", "small", ("large", "big"))]
    assert value_of("accuracy", rows) == 0.5
    assert value_of("exact_match", rows) == 0.5


def test_nan_is_no_answer() -> None:
    row = Prediction("q7", "t", "a", ("a",), ("a", "b"), (math.nan, -1.0), (1, 1))
    with pytest.raises(DataError, match="'q7': The log-probability of choice 'a' is NaN"):
        value_of("accuracy", [row])


def test_free_text_is_no_label() -> None:
    rows = answered([f"answer {i}" for i in range(1500)], ["x"] * 1500)
    with pytest.raises(DataError, match="1,501 different answers"):
        value_of("f1", rows)


def test_squad_normalisation() -> None:
    assert squad_normalise("The  Cat's (a) hat!") == "cats hat"
    assert value_of("exact_match:normalise=squad", answered(["the Cat."], ["cat"])) == 1.0
    assert value_of("exact_match", answered(["the Cat."], ["cat"])) == 0.0


def test_token_f1_by_hand() -> None:
    # "black cat sat" and "cat sat down" share 2 of 3 words each.
    assert token_f1("the black cat sat", "a cat sat down") == pytest.approx(2 / 3)
    assert token_f1("cat cat", "cat") == pytest.approx(2 / 3)
    assert (token_f1("", ""), token_f1("", "cat"), token_f1("dog", "cat")) == (1.0, 0.0, 0.0)


def test_set_f1_by_hand() -> None:
    # Two of three against two of two; order and repetition do not matter.
    assert set_f1("Rome, Paris; Oslo, Rome", "paris\nthe Rome") == pytest.approx(4 / 5)


def numbers(n: int, seed: int) -> tuple[list[str], list[str]]:
    rng = random.Random(seed)
    true = [round(rng.gauss(1e4, 2), 1) for _ in range(n)]
    return [f"about {t + round(rng.gauss(0, 2))}" for t in true], [str(t) for t in true]


@pytest.mark.parametrize("seed", [0, 1])
def test_correlations_equal_scipy(seed: int) -> None:
    given, true = numbers(80, seed)
    x, y = [float(text.split()[1]) for text in given], [float(text) for text in true]
    assert value_of("pearson", answered(given, true)) == pytest.approx(scipy.stats.pearsonr(x, y).statistic)
    assert value_of("spearman", answered(given, true)) == pytest.approx(scipy.stats.spearmanr(x, y).statistic)


def test_spearman_of_a_resample_equals_scipy() -> None:
    given, true = numbers(30, 4)
    drawn = np.random.default_rng(1).integers(30, size=30)
    weights = np.bincount(drawn, minlength=30).astype(np.float64)[None]
    metric = get_metric("spearman")
    x, y = [float(given[i].split()[1]) for i in drawn], [float(true[i]) for i in drawn]
    found = metric.evaluate(metric.statistics(answered(given, true)), weights)[0, 0]
    assert found == pytest.approx(scipy.stats.spearmanr(x, y).statistic)


def test_weighted_ranks_by_hand() -> None:
    # 5 occurs twice and takes places 1 and 2; the two 7s, once each, take 3 and 4.
    assert weighted_ranks(np.array([7.0, 5, 7]), np.array([[1.0, 2, 1]])).tolist() == [[3.5, 1.5, 3.5]]


def test_an_answer_without_a_number_weakens_the_correlation() -> None:
    whole = value_of("pearson", answered(["1", "2", "3", "4"], ["1", "2", "3", "4"]))
    metric = get_metric("pearson")
    stats = metric.statistics(answered(["1", "2", "3", "none"], ["1", "2", "3", "4"]))
    assert whole == pytest.approx(1.0)
    assert metric.evaluate(stats)[0] < 0.7
    assert metric.details(stats.sum(axis=0)) == ({"unreadable": 1.0},)


def test_a_constant_has_no_correlation() -> None:
    assert math.isnan(value_of("pearson", answered(["3.1", "3.1", "3.1"], ["1", "2", "4"])))
    assert math.isnan(value_of("spearman", answered(["3.1", "3.1", "3.1"], ["1", "2", "4"])))


def test_perplexity_by_hand() -> None:
    # 6 nats over 3 tokens; "né" has 3 bytes, "abc" has 3.
    rows = [
        Prediction("0", "t", "né", ("né",), ("né",), (-4.0,), (2,)),
        Prediction("1", "t", "abc", ("abc",), ("x", "abc"), (-9.0, -2.0), (5, 1)),
    ]
    assert value_of("perplexity", rows, "perplexity") == pytest.approx(math.exp(2))
    assert value_of("perplexity", rows, "bits_per_byte") == pytest.approx(1 / math.log(2))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rogue", "Did you mean 'rouge'"),
        ("bleu:tokenise=13a", "Did you mean 'tokenize'"),
        ("bleu:tokenize=12a", "Did you mean '13a'"),
        ("spearman:x=1", "'spearman' has no settings"),
        ("mcc:x=1", "Unknown setting 'x=1' of the metric 'mcc'"),
        ("rougeL", "'rougeL' is an output of the metric 'rouge'"),
    ],
)
def test_unknown_metrics_and_settings(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        get_metric(name)
