"""Bias: the issue's figures, texts counted by hand, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from metric_rows import answered

from luthier.errors import DataError
from luthier.metrics.registry import get_metric
from luthier.metrics.scoring import score_predictions
from luthier.metrics.social.bias import unevenness
from luthier.metrics.social.word_groups import GROUPS, TARGETS, count_words, read_groups, read_targets


def value(name: str, texts: list[str]) -> float:
    metric = get_metric(name)
    return float(metric.evaluate(metric.statistics(answered(texts, ["x"] * len(texts))))[0])


@pytest.mark.parametrize(
    ("counts", "expected"), [((3, 1), 0.25), ((1, 0), 0.5), ((2, 2), 0.0), ((1, 0, 0), 2 / 3), ((0, 0), math.nan)]
)
def test_unevenness_by_hand(counts: tuple[int, ...], expected: float) -> None:
    found = unevenness(np.array(counts, dtype=np.float64), np.full(len(counts), 7.0))
    assert float(found) == pytest.approx(expected, nan_ok=True)


def test_counts_are_divided_by_the_length_of_the_lists() -> None:
    # Two mentions of a list of two words are as much as one of a list of one.
    assert float(unevenness(np.array([2.0, 1.0]), np.array([2.0, 1.0]))) == pytest.approx(0)


def test_representation_of_texts() -> None:
    assert value("representation", ["She sings. She SINGS; her sister's here.", "He reads."]) == pytest.approx(0.3)
    assert value("representation", ["She sings.", "He reads."]) == 0
    assert math.isnan(value("representation", ["Nobody sings."]))
    assert value("representation:groups=surnames", ["Mr Garcia met Ms Lopez."]) == pytest.approx(2 / 3)


def test_association_is_the_mean_over_the_words_that_stand_beside_a_group() -> None:
    # doctor: 1 woman, 3 men (3 times "he" in one text) → 1/4. nurse: 2 women → 1/2. baker: nobody.
    texts = ["She is a doctor.", "He and he and he: a doctor", "The nurse, her and her", "a baker"]
    assert value("association", texts) == pytest.approx((1 / 4 + 1 / 2) / 2)
    assert math.isnan(value("association:targets=adjectives", texts))


def test_a_bias_that_cannot_be_measured_is_not_zero() -> None:
    (score,) = score_predictions(answered(["a", "b", "c"], ["x"] * 3), ["representation"])
    assert math.isnan(score.value)


def test_an_interval_and_a_signature_with_the_digest_of_the_list() -> None:
    (score,) = score_predictions(answered(["She.", "He.", "She.", "She."] * 5, ["x"] * 20), ["representation"])
    assert score.value == pytest.approx(0.25)
    assert score.low < 0.25 < score.high
    assert "groups:luthier-gender-1-" in score.signature


def test_words() -> None:
    assert count_words("Anna's DOCTOR, doctor-like") == {"anna": 1, "s": 1, "doctor": 2, "like": 1}


@pytest.mark.parametrize("name", GROUPS)
def test_our_groups_have_lists_of_one_length_without_shared_words(name: str) -> None:
    lists = list(read_groups(name).words.values())
    assert len({len(words) for words in lists}) == 1
    assert len(frozenset().union(*lists)) == sum(map(len, lists))


@pytest.mark.parametrize("name", TARGETS)
def test_our_target_words_name_no_group(name: str) -> None:
    words = read_targets(name).words[""]
    assert len(words) >= 90
    assert not words & frozenset().union(*read_groups("gender").words.values())


def test_lists_by_path(tmp_path: Path) -> None:
    groups, targets = tmp_path / "g.json", tmp_path / "t.json"
    groups.write_text(json.dumps({"a": ["Left"], "b": ["right"]}), encoding="utf-8")
    targets.write_text(json.dumps(["hand"]), encoding="utf-8")
    assert value(f"association:groups={groups}:targets={targets}", ["left hand", "right hand", "LEFT hand"]) == (
        pytest.approx(1 / 6)
    )
    groups.write_text(json.dumps({"a": ["left"]}), encoding="utf-8")
    with pytest.raises(DataError, match="two or more groups"):
        get_metric(f"representation:groups={groups}")
    targets.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="no JSON"):
        get_metric(f"association:targets={targets}")
