"""What arms answer, counted, and what guessing scores: against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support

from luthier.metrics.chance import chance_level
from luthier.metrics.task_metrics import TaskMetrics
from luthier.records import Prediction, Score
from luthier.results.answers import AnswerCount, summarise_answers, warnings_about_answers
from luthier.results.guessing import beats_guessing, guess_words, majority_baseline
from luthier.results.summaries import Majority, TaskSummary

LABELS = ("billing", "bug", "praise")
ACCURACY = TaskMetrics("tickets", ("accuracy",), "accuracy")


def chosen(number: int, target: str, given: str, choices: tuple[str, ...] = LABELS) -> Prediction:
    logprobs = tuple(-1.0 if choice == given else -2.0 for choice in choices)
    lengths = tuple(1 for _ in choices)
    return Prediction(f"t-{number}", "tickets", given, (target,), choices, logprobs, lengths, finish="choice")


def tickets(seed: int, n: int = 60) -> list[Prediction]:
    dice = np.random.default_rng(seed)
    targets = np.random.default_rng(9).choice(LABELS, n, p=(0.5, 0.3, 0.2))
    answers = [str(target) if dice.random() < 0.6 else str(dice.choice(LABELS)) for target in targets]
    return [chosen(k, str(target), given) for k, (target, given) in enumerate(zip(targets, answers, strict=True))]


def test_classes_are_scored_as_scikit_learn_scores_them() -> None:
    log = tickets(1)
    found = summarise_answers(log, ACCURACY)
    true, given = [one.targets[0] for one in log], [one.text for one in log]
    assert found.labels == LABELS
    assert [row[:-1] for row in found.confusion] == [
        tuple(row) for row in confusion_matrix(true, given, labels=LABELS).tolist()
    ]
    assert [row[-1] for row in found.confusion] == [0, 0, 0]
    precision, recall, f1, support = precision_recall_fscore_support(true, given, labels=LABELS, zero_division=0)
    for k, one in enumerate(found.classes):
        assert (one.precision, one.recall, one.f1) == pytest.approx((precision[k], recall[k], f1[k]))
        assert one.support == support[k]
    assert [one.given for one in found.counts] == [given.count(label) for label in LABELS]


def test_training_runs_are_counted_together() -> None:
    found = summarise_answers({0: tickets(1), 1: tickets(2)}, ACCURACY)
    assert found.n == 120
    assert sum(map(sum, found.confusion)) == 120


def test_the_answer_is_the_one_that_the_primary_metric_judges() -> None:
    """By characters the longer choice wins, which the sum of log-probabilities would not choose."""
    prediction = Prediction("a", "t", "no", ("certainly",), ("no", "certainly"), (-1.0, -2.0), (1, 1), finish="choice")
    primary = TaskMetrics("t", ("accuracy:by=characters",), "accuracy_by_characters")
    assert summarise_answers([prediction], primary).counts[1] == AnswerCount("certainly", 1, 1)
    assert summarise_answers([prediction], ACCURACY).counts[1] == AnswerCount("certainly", 0, 1)


def test_labels_that_are_generated_are_classes_and_what_is_none_of_them_has_its_column() -> None:
    pairs = [("yes", "yes"), ("no", "maybe"), ("yes", "no"), ("no", "no")]
    log = [Prediction(str(k), "t", given, (target,)) for k, (target, given) in enumerate(pairs)]
    found = summarise_answers(log, TaskMetrics("t", ("exact_match",), "exact_match"))
    assert found.labels == ("no", "yes")
    assert found.confusion == ((1, 0, 1), (1, 1, 0))


def test_free_text_has_no_classes() -> None:
    log = [Prediction(str(k), "t", f"answer {k % 3}", (f"target {k}",)) for k in range(9)]
    found = summarise_answers(log, TaskMetrics("t", ("exact_match",), "exact_match"))
    assert (found.labels, found.confusion, found.classes, found.distinct) == ((), (), (), 3)
    assert {one.given for one in found.counts} == {3}


def test_choices_of_each_example_are_counted_by_position() -> None:
    log = [chosen(k, f"b{k}", f"a{k}", (f"a{k}", f"b{k}")) for k in range(4)]
    found = summarise_answers(log, ACCURACY)
    assert found.counts == (AnswerCount("choice 1", 4, 0),)
    assert warnings_about_answers(log, ACCURACY) == ()
    mixed = [*log[:3], chosen(3, "a3", "a3", ("a3", "b3"))]
    assert warnings_about_answers(mixed, ACCURACY) == (
        "gives one answer, 'choice 1', to all 4 examples; it is the target of 1",
    )


def test_one_label_for_everything_draws_a_warning() -> None:
    log = [chosen(k, LABELS[k % 3], "billing") for k in range(20)]
    said = "gives one answer, 'billing', to all 20 examples; it is the target of 7"
    assert warnings_about_answers(log, ACCURACY) == (said,)
    assert warnings_about_answers({0: tickets(1), 4: log}, ACCURACY) == (f"seed 4 {said}",)
    nearly = [*log[:19], chosen(19, "bug", "bug")]
    assert warnings_about_answers(nearly, ACCURACY) == (
        "answers 'billing' to 19 of 20 examples; it is the target of 7",
    )
    assert warnings_about_answers(tickets(1), ACCURACY) == ()
    empty = [Prediction(str(k), "t", "", (f"target {k}",)) for k in range(3)]
    assert warnings_about_answers(empty, ACCURACY)[0].startswith("gives one answer, the empty text, to all 3")


def test_one_answer_is_no_fault_where_it_is_always_right() -> None:
    assert warnings_about_answers([chosen(k, "bug", "bug") for k in range(30)], ACCURACY) == ()


@pytest.mark.parametrize(("metric", "output"), [("accuracy", "accuracy"), ("f1", "f1_macro")])
def test_the_majority_baseline_is_that_of_scikit_learn(metric: str, output: str) -> None:
    log = tickets(3)
    training = ["bug"] * 5 + ["billing"] * 3 + ["a label that the test split does not have"] * 9
    found = majority_baseline(training, log, TaskMetrics("tickets", (metric,), output))
    known = [label for label in training if label in LABELS]
    dummy = DummyClassifier(strategy="most_frequent").fit([[0]] * len(known), known)
    true = [one.targets[0] for one in log]
    given = dummy.predict([[0]] * len(log))
    expected = f1_score(true, given, average="macro") if metric == "f1" else float(np.mean(given == np.array(true)))
    assert found is not None
    assert (found.answer, found.split) == ("bug", "train")
    assert found.value == pytest.approx(expected)


def test_without_training_rows_the_majority_is_that_of_the_test_split() -> None:
    found = majority_baseline([], tickets(3), ACCURACY)
    assert found is not None
    assert (found.answer, found.split) == ("billing", "test")


def test_probabilities_and_free_text_have_no_majority_baseline() -> None:
    assert majority_baseline(["bug"], tickets(3), TaskMetrics("t", ("brier",), "brier")) is None
    log = [Prediction(str(k), "t", "a", (f"target {k}",)) for k in range(9)]
    assert majority_baseline(["target 1"], log, TaskMetrics("t", ("exact_match",), "exact_match")) is None


def test_chance_follows_from_the_choices_where_the_task_does_not_say_it() -> None:
    assert chance_level(tickets(1), ACCURACY) == pytest.approx(1 / 3)
    mixed = [chosen(0, "a", "a", ("a", "b")), chosen(1, "a", "a", ("a", "b", "c", "d"))]
    assert chance_level(mixed, ACCURACY) == pytest.approx((1 / 2 + 1 / 4) / 2)
    assert chance_level(tickets(1), TaskMetrics("t", ("accuracy",), "accuracy", chance=0.5)) == 0.5
    assert chance_level(tickets(1), TaskMetrics("t", ("f1",), "f1_macro")) is None
    assert chance_level([Prediction("a", "t", "x", ("x",))], ACCURACY) is None


def test_the_whole_interval_must_lie_beyond_the_better_guess() -> None:
    task = TaskSummary(chance=0.25, majority=Majority("billing", 0.5, "train"))
    assert guess_words(task) == "chance 0.25, always 'billing' 0.5"
    assert beats_guessing(Score("accuracy", 0.6, 20, 0.51, 0.7, "made"), task)
    assert not beats_guessing(Score("accuracy", 0.6, 20, 0.5, 0.7, "made"), task)
    assert not beats_guessing(Score("accuracy", 0.6, 20, float("nan"), float("nan"), "made"), task)
    assert beats_guessing(Score("rougeL", 0.1, 20, 0.0, 0.2, "made"), TaskSummary())
