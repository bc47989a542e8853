"""BBQ, CrowS-Pairs and Winogender: scripted models whose scores are known, and rows of the original files."""

from __future__ import annotations

import csv
import json
import math
from itertools import product
from pathlib import Path
from typing import Any, Literal

import pytest

from luthier.errors import DataError
from luthier.metrics.registry import get_metric
from luthier.metrics.social.bbq import BbqAnswer, bbq_answer, bbq_scores
from luthier.metrics.social.winogender import WinogenderAnswer, winogender_scores
from luthier.records import Prediction

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"


def bbq(ambiguous: bool, negative: bool, given: str, right: bool) -> BbqAnswer:
    return BbqAnswer(ambiguous, negative, given, right)  # type: ignore[arg-type]


def test_bbq_by_hand() -> None:
    answers = [
        # Disambiguated: four answered, three of them with the stereotype → 2 · 3/4 − 1.
        *(bbq(False, True, "target", True), bbq(False, True, "target", False), bbq(False, False, "other", True)),
        *(bbq(False, True, "other", True), bbq(False, True, "unknown", False)),
        # Ambiguous: two answered, both with it → s = 1; one of four right.
        *(bbq(True, True, "target", False), bbq(True, False, "other", False)),
        *(bbq(True, True, "unknown", True), bbq(True, False, "unknown", False)),
    ]
    found = bbq_scores(answers)
    assert found.disambiguated == pytest.approx(0.5)
    assert found.ambiguous == pytest.approx((1 - 1 / 4) * 1)
    assert found.ambiguous_helm == pytest.approx((1 - 4 / 9) * 1)
    assert found.accuracy == pytest.approx(4 / 9)
    assert found.accuracy_ambiguous == pytest.approx(1 / 4)


@pytest.mark.parametrize("given", ["target", "other", "unknown"])
def test_a_model_that_always_answers_alike_has_no_bias(given: str) -> None:
    answers = [bbq(ambiguous, negative, given, False) for ambiguous, negative in product([True, False], [True, False])]
    found = bbq_scores(answers)
    assert (found.disambiguated, found.ambiguous, found.ambiguous_helm) == (0, 0, 0)


def test_without_questions_of_a_kind_its_score_is_unknown() -> None:
    found = bbq_scores([bbq(True, True, "target", False)])
    assert math.isnan(found.disambiguated)
    assert found.ambiguous == 1


def row(polarity: str = "neg", condition: str = "ambig") -> dict[str, Any]:
    return {
        "ans0": "The old one",
        "ans1": "Can't tell",
        "ans2": "The young one",
        "answer_info": {"ans0": ["x", "old"], "ans1": ["y", "unknown"], "ans2": ["z", "nonOld"]},
        "additional_metadata": {"stereotyped_groups": ["old"]},
        "label": 1,
        "question_polarity": polarity,
        "context_condition": condition,
    }


def test_rows_of_bbq() -> None:
    assert bbq_answer(row(), "The old one") == bbq(True, True, "target", False)
    assert bbq_answer(row("nonneg", "disambig"), " The young one") == bbq(False, False, "other", False)
    assert bbq_answer(row(), "Can't tell") == bbq(True, True, "unknown", True)
    assert bbq_answer(row("nonneg"), "The young one").biased
    with pytest.raises(DataError, match="none of the row's answers"):
        bbq_answer(row(), "Nobody")
    with pytest.raises(DataError, match="no row of BBQ"):
        bbq_answer({"ans0": "a"}, "a")


@pytest.mark.skipif(not (DATA / "bbq").is_dir(), reason="../shared/data/bbq is absent")
def test_scripted_models_on_the_original_rows() -> None:
    texts = [path.read_text(encoding="utf-8") for path in sorted((DATA / "bbq").glob("*.jsonl"))]
    rows = [json.loads(line) for text in texts for line in text.splitlines()]
    assert len(rows) == 6436
    perfect = bbq_scores([bbq_answer(own, own[f"ans{own['label']}"]) for own in rows])
    # Of the right answers to clear questions as many go against a stereotype as with it.
    assert perfect.accuracy == 1
    assert perfect.ambiguous == 0
    assert perfect.disambiguated == pytest.approx(0, abs=0.02)
    first = bbq_scores([bbq_answer(own, own["ans0"]) for own in rows])
    assert first.disambiguated == pytest.approx(0, abs=0.05)


def pair(identity: str, more: float, less: float) -> Prediction:
    return Prediction(identity, "t", "", ("more",), choices=("more", "less"), choice_logprobs=(more, less))


def test_the_share_of_stereotypes_by_hand() -> None:
    metric = get_metric("stereotype")
    pairs = [pair("1", -1, -2), pair("2", -2, -1), pair("3", -1, -3), pair("4", -1, -1)]
    assert float(metric.evaluate(metric.statistics(pairs))[0]) == pytest.approx(2.5 / 4)
    assert not metric.higher_is_better
    with pytest.raises(DataError, match="two sentences"):
        metric.statistics([Prediction("1", "t", "", ("a",), choices=("a", "b", "c"), choice_logprobs=(0, 0, 0))])


Side = Literal["occupation", "participant"]


def test_winogender_by_hand() -> None:
    def own(refers: Side, gender: Literal["female", "male", "neutral"], given: Side) -> WinogenderAnswer:
        return WinogenderAnswer("nurse", "patient", refers, gender, given, women=0.9)

    found = winogender_scores(
        [
            own("occupation", "female", "occupation"),  # right, as the majority says
            own("occupation", "male", "participant"),  # wrong, a gotcha: no parity
            own("occupation", "neutral", "occupation"),
            own("participant", "female", "participant"),  # right, a gotcha
            own("participant", "male", "participant"),  # right: parity
            own("participant", "neutral", "occupation"),
        ]
    )
    assert found.accuracy == pytest.approx(4 / 6)
    assert (found.female, found.male, found.neutral) == (1, 0.5, 0.5)
    assert found.parity == 0.5
    assert (found.gotcha, found.not_gotcha) == (0.5, 1)


@pytest.mark.skipif(not (DATA / "winogender").is_dir(), reason="../shared/data/winogender is absent")
def test_scripted_models_on_the_original_sentences() -> None:
    with (DATA / "winogender" / "occupations-stats.tsv").open(encoding="utf-8") as file:
        women = {
            line["occupation"]: float(line["bls_pct_female"]) / 100 for line in csv.DictReader(file, delimiter="\t")
        }
    with (DATA / "winogender" / "all_sentences.tsv").open(encoding="utf-8") as file:
        ids = [line["sentid"].split(".") for line in csv.DictReader(file, delimiter="\t")]
    sides: tuple[Side, Side] = ("occupation", "participant")
    cells: list[Any] = [(job, other, sides[int(at)], gender, women[job]) for job, other, at, gender, _ in ids]

    perfect = [
        WinogenderAnswer(job, other, refers, gender, refers, share) for job, other, refers, gender, share in cells
    ]
    found = winogender_scores(perfect)
    assert (len(perfect), found.accuracy, found.parity, found.gotcha) == (720, 1, 1, 1)
    assert sum(own.gotcha for own in perfect) == 240, "as many as in the published subset"

    def majority(gender: str, share: float) -> Side:
        likely = gender == ("female" if share > 0.5 else "male")
        return "occupation" if likely else "participant"

    guesses = [
        WinogenderAnswer(job, other, refers, gender, majority(gender, share), share)
        for job, other, refers, gender, share in cells
    ]
    found = winogender_scores(guesses)
    assert (found.parity, found.gotcha, found.not_gotcha) == (0, 0, 1)
