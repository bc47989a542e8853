"""Scores: values, intervals, signatures, and what is refused."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys

import pytest
from metric_rows import answered, labels, with_choices

from luthier.errors import ConfigError, DataError, Faults
from luthier.metrics.registry import get_metric, metric_names, metric_of_output, metric_options
from luthier.metrics.scoring import score_predictions
from luthier.metrics.significance import PairedComparison, paired_difference
from luthier.records import Prediction

# A model is needed for those that are left out; they have their own tests.
NAMES = tuple(name for name in metric_names() if name not in ("bertscore", "nli"))
OF_CHOICES = (
    *(
        "accuracy_normalised",
        "answer_bits_per_byte",
        "brier",
        "ece",
        "helm_ece",
        "helm_selective",
        "perplexity",
        "selective",
        "stereotype",
    ),
    "truth_mass",
)
OF_WORDS = ("association", "representation", "toxicity")
"""Metrics of what a text says, whatever it should have said."""


def test_value_details_and_interval_of_rouge() -> None:
    rows = answered(["It is very cold outside", "cold cold cold cold"], ["It is cold outside"] * 2)
    scores = {score.metric: score for score in score_predictions(rows, ["rouge"])}
    # F1 of (4/5, 4/4) is 8/9, and of (1/4, 1/4) is 1/4.
    assert scores["rouge1"].value == pytest.approx((8 / 9 + 1 / 4) / 2)
    assert scores["rouge1"].detail["precision"] == pytest.approx((0.8 + 0.25) / 2)
    assert scores["rouge1"].detail["recall"] == pytest.approx((1 + 0.25) / 2)
    assert scores["rouge1"].n == 2
    assert 0.25 <= scores["rouge1"].low <= scores["rouge1"].value <= scores["rouge1"].high <= 8 / 9 + 1e-12


def test_signature_names_what_the_number_depends_on() -> None:
    context = {"split": "test", "prompt": "ab12", "shots": "0"}
    score = score_predictions(answered(["a", "b"], ["a", "c"]), ["bleu:tokenize=intl"], context=context)[0]
    assert score.signature.startswith("metric:bleu|nrefs:1|case:mixed|eff:no|tok:intl|smooth:exp|version:")
    assert score.signature.endswith("|ci:95%bca1000|prompt:ab12|shots:0|split:test")


def test_different_settings_have_different_signatures() -> None:
    rows = [Prediction(str(i), "t", "a b", ("a b", "a")) for i in range(3)]
    names = ["rouge", "rouge:stemmer=yes", "chrf", "chrf:word_order=2", "bleu:smooth=floor", "bleu:lowercase=yes"]
    signatures = [score_predictions(rows, [name])[0].signature for name in names]
    assert len(set(signatures)) == len(names)
    assert all("nrefs:2" in signature for signature in signatures)


def test_the_same_seed_gives_the_same_interval() -> None:
    given, true = labels(60, "abc", 0.6, 0)
    rows = answered(given, true)
    first, again, other = (score_predictions(rows, ["f1"], seed=seed)[0] for seed in (1, 1, 2))
    assert (first.low, first.high) == (again.low, again.high) != (other.low, other.high)


def test_all_right_is_not_certain() -> None:
    score = score_predictions(answered(["a"] * 20, ["a"] * 20), ["accuracy"])[0]
    assert (score.value, score.high) == (1.0, 1.0)
    assert score.low == pytest.approx(1 / (1 + 1.959964**2 / 20), abs=1e-6)  # Wilson's lower end for 20 of 20.


def test_groups_widen_the_interval() -> None:
    given = ["a" if (i // 10) % 2 else "b" for i in range(100)]
    rows = answered(given, ["a"] * 100)
    grouped = [dataclasses.replace(row, group=str(i // 10)) for i, row in enumerate(rows)]
    one, other = score_predictions(rows, ["token_f1"])[0], score_predictions(grouped, ["token_f1"])[0]
    assert other.high - other.low > 2 * (one.high - one.low)


def test_one_example_has_no_interval() -> None:
    score = score_predictions(answered(["a"], ["a"]), ["accuracy"])[0]
    assert score.value == 1.0
    assert math.isnan(score.low)
    assert math.isnan(score.high)


def test_every_metric_gives_finite_scores_with_intervals_around_them() -> None:
    numbers = ["0.1", "0.9"]
    given, true = labels(80, "ab", 0.8, 1)
    choices = with_choices([0.2 + 0.007 * i for i in range(80)], ["no" if t == "a" else "yes" for t in true])
    texts = answered([numbers[g == "b"] for g in given], [numbers[t == "b"] for t in true])
    said = answered(["He is a doctor." if g == "a" else "She is a doctor, you stupid bitch." for g in given], true)
    for name in NAMES:
        rows = choices if name in OF_CHOICES else said if name in OF_WORDS else texts
        rows = [dataclasses.replace(row, wrong=("0.5",)) for row in rows]
        for score in score_predictions(rows, ["f1_binary:positive=0.9" if name == "f1_binary" else name]):
            assert math.isfinite(score.value), score
            assert score.low <= score.value + 1e-9 or "ece" in name, score
            assert score.high >= score.value - 1e-9 or "ece" in name, score
            assert score.low <= score.high


def test_statistics_of_every_metric_suit_a_paired_difference() -> None:
    given, true = labels(40, "ab", 0.7, 2)
    first = with_choices([0.9 if g == "b" else 0.2 for g in given], ["yes" if t == "b" else "no" for t in true])
    second = with_choices([0.6 if i % 2 else 0.3 for i in range(40)], ["yes" if t == "b" else "no" for t in true])
    first, second = ([dataclasses.replace(row, wrong=("perhaps",)) for row in rows] for rows in (first, second))
    for name in NAMES:
        if name in ("pearson", "spearman", *OF_WORDS):
            continue
        asked = "f1_binary:positive=yes" if name == "f1_binary" else name
        found = paired_difference(first, second, asked, settings=PairedComparison(permutations=200, resamples=200))
        values = [score_predictions(rows, [asked], resamples=0) for rows in (first, second)]
        at = get_metric(asked).outputs.index(found.output)
        assert found.value == pytest.approx(values[0][at].value - values[1][at].value), name
        assert 0 < found.p_value <= 1


def test_nothing_to_score_is_an_error() -> None:
    with pytest.raises(DataError, match="a score of nothing is not 0"):
        score_predictions([], ["accuracy"])


def test_predictions_without_targets_are_all_named() -> None:
    rows = [Prediction("q1", "t", "a", ()), Prediction("q2", "t", "a", ("a",)), Prediction("q3", "t", "a", ())]
    with pytest.raises(Faults, match=r"2 predictions cannot be scored(.|\n)*'q1'(.|\n)*'q3'"):
        score_predictions(rows, ["accuracy"])


def test_an_unknown_metric_is_told_before_anything_is_computed() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'accuracy'"):
        score_predictions([], ["acuracy"])


def test_outputs_belong_to_one_metric_each() -> None:
    outputs = [output for name in NAMES for output in get_metric(name).outputs]
    assert len(set(outputs)) == len(outputs)
    assert metric_of_output("rougeL") == "rouge"
    assert all(get_metric(name).primary in get_metric(name).outputs for name in NAMES)


def test_every_setting_of_every_metric_can_be_chosen() -> None:
    for name in NAMES:
        for key, option in metric_options(name).items():
            for value in option.values or (option.default or "yes",):
                assert get_metric(f"{name}:{key}={value}").name == name


HEAVY = ("torch", "transformers", "scipy", "pyarrow", "pandas", "sklearn", "nltk", "sacrebleu", "rapidfuzz", "rich")


def test_importing_is_light() -> None:
    program = (
        "import sys\n"
        "import luthier.metrics.overlap.rouge, luthier.metrics.scoring, luthier.metrics.significance\n"
        "import luthier.metrics.score_command\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_metric_states_its_scale() -> None:
    """The value that counts as 100 points; numbers without a bound have none."""
    needs_a_model = {"bertscore", "nli"}
    scales = {name: get_metric(name).scale for name in metric_names() if name not in needs_a_model}
    assert {name for name, scale in scales.items() if scale is None} == {"answer_bits_per_byte", "perplexity"}
    percent = {"bleu", "chrf", "truth_overlap", "truth_overlap_difference"}
    assert {name for name, scale in scales.items() if scale == 100} == percent
    assert {scale for name, scale in scales.items() if scale not in (None, 100)} == {1.0}


def test_scores_and_differences_state_the_level_of_their_interval() -> None:
    predictions = with_choices([0.9, 0.2, 0.6, 0.7] * 5, ["yes", "no"] * 10)
    for level in (0.8, 0.99):
        (score,) = score_predictions(predictions, ["accuracy"], confidence=level)
        assert score.confidence == level
        assert f"{100 * level:g}%" in score.signature
        assert (
            paired_difference(
                predictions, predictions, "accuracy", settings=PairedComparison(confidence=level)
            ).confidence
            == level
        )
