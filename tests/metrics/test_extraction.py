"""The answer inside generated text: what is found is compared, what is not found is counted and never right."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import pytest

from luthier.errors import DataError
from luthier.metrics.extraction import Extraction, check_pattern, extract_answers
from luthier.metrics.prediction_log import read_predictions, write_predictions
from luthier.metrics.registry import get_metric, metric_of_output
from luthier.metrics.scoring import score_predictions
from luthier.records import Prediction


@pytest.mark.parametrize(
    ("find", "which", "text", "answer"),
    [
        (r"the answer is (.*)\.", "first", "So the answer is 42. Yes.", "42. Yes"),
        (r"the answer is (.*?)\.", "first", "So the answer is  42 . Yes.", "42"),
        (r"(\d+)", "first", "12 and 7", "12"),
        (r"(\d+)", "last", "12 and 7", "7"),
        (r"(\$\d+)|(\d+)", "last", "$12 and 7", "7"),
        (r"(\d+)", "first", "none", None),
        (r"is( *)", "first", "is   ", None),
        (r"(?i)answer: (.)", "last", "ANSWER: a\nAnswer: b", "b"),
        (r"^(.*)$", "first", "one\ntwo", None),
    ],
)
def test_what_is_found(find: str, which: Literal["first", "last"], text: str, answer: str | None) -> None:
    assert Extraction(find, which).answer(text) == answer


def test_text_is_the_answer_and_the_whole_text_is_kept() -> None:
    rows = [Prediction("1", "t", "I say (a)", ("a",)), Prediction("2", "t", "I say", ("a",))]
    found = extract_answers(rows, Extraction(r"\((.)\)"))
    assert [(p.text, p.generated, p.unparsed) for p in found] == [("a", "I say (a)", False), ("", "I say", True)]
    assert extract_answers(found, Extraction(r"\((.)\)")) == found, "an answer is extracted once"
    assert extract_answers(rows, None) == tuple(rows)


def test_choices_are_not_generated() -> None:
    row = Prediction("1", "t", "b", ("b",), choices=("a", "b"), choice_logprobs=(-2.0, -1.0))
    assert extract_answers([row], Extraction("(x)")) == (row,)


@pytest.mark.parametrize(
    "metric",
    ["exact_match", "exact_match:normalise=squad", "token_f1", "set_f1", "accuracy", "balanced_accuracy", "rouge"],
)
def test_what_is_not_found_is_never_right(metric: str) -> None:
    """SQuAD's normalisation leaves nothing of "The": an empty text would equal it."""
    rows = extract_answers([Prediction(str(n), "t", "I do not know", ("The",)) for n in range(3)], Extraction("<(.*)>"))
    for score in score_predictions(rows, [metric], resamples=0):
        assert score.value == 0
        assert score.detail["unparsed"] == 1


def test_the_share_that_is_not_found_is_counted() -> None:
    texts = ["<a>", "<b>", "c", "<a>"]
    rows = extract_answers([Prediction(str(n), "t", text, ("a",)) for n, text in enumerate(texts)], Extraction("<(.)>"))
    (score,) = score_predictions(rows, ["exact_match"], resamples=0)
    assert (score.value, score.n, score.detail) == (0.5, 4, {"unparsed": 0.25})
    plain = [Prediction("1", "t", "a", ("a",))]
    assert "unparsed" not in score_predictions(plain, ["exact_match"], resamples=0)[0].detail


def test_the_log_keeps_both(tmp_path: Path) -> None:
    rows = extract_answers([Prediction("1", "t", "<a>", ("a",)), Prediction("2", "t", "", ("a",))], Extraction("<(.)>"))
    write_predictions(tmp_path / "log.jsonl", rows)
    assert tuple(read_predictions(tmp_path / "log.jsonl")) == rows


def test_a_wrong_mark_in_the_log_is_named(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"id": "1", "task": "t", "text": "", "targets": ["a"], "unparsed": 1}\n')
    with pytest.raises(DataError, match="'unparsed' must be true or false"):
        read_predictions(tmp_path / "log.jsonl")


def test_time_is_bounded() -> None:
    with pytest.raises(DataError, match="took more than 2 seconds on one text"):
        Extraction(r"^((?:a|aa|aaa)+)$").answer("a" * 60 + "!")


def test_the_signature_tells_expressions_apart() -> None:
    signatures = {Extraction(*it).signature for it in [("(a)", "first"), ("(a)", "last"), ("(b)", "first")]}  # type: ignore[arg-type]
    assert len(signatures) == 3
    assert all(":" not in signature and "|" not in signature for signature in signatures)


@pytest.mark.parametrize(("find", "said"), [("(a", "not a regular expression"), ("a", "has no group")])
def test_wrong_patterns(find: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_pattern(find)


# Choices, normalised.

CHOICES = ("no", "certainly", "äääää")
ROW = Prediction(
    "1",
    "t",
    "no",
    ("certainly",),
    choices=CHOICES,
    choice_logprobs=(-4.0, -9.0, -8.0),
    choice_tokens=(2, 6, 3),
)
"""By the sum "no" is likeliest; a token costs 2, 1.5, 2.67; a character 2, 1, 1.6; a byte 2, 1, 0.8."""


@pytest.mark.parametrize(
    ("by", "right"),
    [("sum", "no"), ("tokens", "certainly"), ("characters", "certainly"), ("bytes", "äääää")],
)
def test_the_choice_by_each_normalisation(by: str, right: str) -> None:
    output = "accuracy" if by == "sum" else f"accuracy_by_{by}"
    for choice in CHOICES:
        row = Prediction(**{**{k: getattr(ROW, k) for k in ROW.__slots__}, "targets": (choice,)})
        (score,) = score_predictions([row], [f"accuracy:by={by}"], resamples=0)
        assert (score.metric, score.value) == (output, float(choice == right))
        assert (f"|by:{by}|" in f"|{score.signature}|") == (by != "sum")


def test_both_kinds_of_accuracy_stand_in_one_table() -> None:
    scores = score_predictions([ROW], ["accuracy", "accuracy:by=characters", "accuracy_normalised"], resamples=0)
    assert [(score.metric, score.value) for score in scores] == [
        ("accuracy", 0.0),
        ("accuracy_by_characters", 1.0),
        ("accuracy_normalised", 1.0),
    ]


@pytest.mark.parametrize("name", ["balanced_accuracy", "f1", "mcc", "f1_binary:positive=certainly"])
def test_every_metric_of_the_chosen_choice_can_be_normalised(name: str) -> None:
    other = Prediction("2", "t", "", ("no",), choices=("no", "certainly"), choice_logprobs=(-1.0, -9.0))
    plain, normalised = (score_predictions([ROW, other], [f"{name}{by}"], resamples=0) for by in ("", ":by=characters"))
    assert [score.metric for score in normalised] == [f"{score.metric}_by_characters" for score in plain]
    assert all(after.value > before.value for before, after in zip(plain, normalised, strict=True))
    metric = get_metric(f"{name}:by=characters")
    assert metric.primary in metric.outputs
    assert get_metric(metric_of_output(metric.primary)).primary == metric.primary


def test_normalisation_needs_what_it_divides_by() -> None:
    text = Prediction("1", "t", "a", ("a",))
    with pytest.raises(DataError, match="needs the log-probability of every choice"):
        score_predictions([text], ["accuracy:by=bytes"], resamples=0)
    without = Prediction("1", "t", "a", ("a",), choices=("a", "b"), choice_logprobs=(-1.0, -math.inf))
    with pytest.raises(DataError, match="2 choices and 0 token counts"):
        score_predictions([without], ["accuracy:by=tokens"], resamples=0)
    assert score_predictions([without], ["accuracy:by=characters"], resamples=0)[0].value == 1
