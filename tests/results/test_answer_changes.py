"""How answers to retained tasks changed, counted by hand."""

from __future__ import annotations

from luthier.records import Prediction
from luthier.results.answer_changes import AnswerChanges, answer_changes


def written(name: str, text: str, finish: str = "stop") -> Prediction:
    return Prediction(name, "task", text, ("right",), finish=finish)


def chosen(name: str, text: str) -> Prediction:
    return Prediction(name, "task", text, ("yes",), choices=("yes", "no"), finish="choice")


def test_answers_that_changed_are_counted() -> None:
    before = [written("a", "one"), written("b", "two"), written("c", "three"), written("d", ""), chosen("e", "yes")]
    after = [
        written("a", "one"),
        written("b", " ", "stop"),
        written("c", "positive", "length"),
        written("d", ""),
        chosen("e", "no"),
    ]
    found = answer_changes([(before, after)], frozenset({"positive", "negative"}))
    assert found == AnswerChanges(answers=5, changed=3, written=4, emptied=1, cut_off=1, as_target=1)
    twice = answer_changes([(before, after), (before, before)])
    assert twice == AnswerChanges(answers=10, changed=3, written=8, emptied=1, cut_off=1, as_target=None)


def test_nothing_answered_is_nothing_counted() -> None:
    assert answer_changes([]) is None
    assert answer_changes([([], [])]) is None
