"""The negation check: what it sees, and what it is known not to see."""

from __future__ import annotations

import pytest
from metric_rows import answered

from luthier.metrics.overlap.negation import contradicted, denied
from luthier.metrics.scoring import score_predictions


@pytest.mark.parametrize(
    ("prediction", "reference", "words"),
    [
        ("Mike does not drink coffee.", "Mike does drink coffee.", ["coffe", "drink"]),
        ("It is not cold outside", "It is cold outside", ["cold", "outsid"]),
        ("She can't swim", "She can swim", ["swim"]),
        ("He doesn’t smoke, she laughs", "He smokes and she laughs", ["smoke"]),
        ("Nobody came", "Everybody came", ["came"]),
        ("Mike really loves drinking tea", "Mike adores sipping tea", []),
        ("He did not drink the coffee", "He never drinks coffee", []),
        ("not here but there, we sing", "we sing", []),
    ],
)
def test_what_it_sees(prediction: str, reference: str, words: list[str]) -> None:
    assert contradicted(prediction, reference) == words
    assert contradicted(reference, prediction) == words


def test_a_negation_reaches_two_content_words_and_ends_with_the_clause() -> None:
    assert denied("He did not see the old green boat") == {"see": True, "old": True, "green": False, "boat": False}
    assert denied("No, he swims") == {"swim": False}


def test_antonyms_are_not_seen() -> None:
    assert contradicted("The tea is hot", "The tea is cold") == []


def test_one_agreeing_reference_suffices() -> None:
    rows = answered(["he does not sing", "he sings"], ["he sings", "he sings"])
    score = score_predictions(rows, ["negation"])[0]
    assert (score.metric, score.value) == ("negation_agreement", 0.5)
