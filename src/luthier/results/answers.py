"""What an arm answers, counted: how often each answer is given, the confusion matrix, and scores of each class.

A score alone hides an arm that answers one label whatever it is asked; these counts show it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from luthier.metrics.answer_extraction import NORMALISATIONS, Normalisation, answer, is_right
from luthier.metrics.registry import get_metric
from luthier.metrics.seed_runs import Log, Runs
from luthier.metrics.task_metrics import TaskMetrics
from luthier.records import Prediction

MOST_LABELS = 30
"""Classes for which a confusion matrix is kept; more cannot be read."""
MOST_ANSWERS = 10
"""Answers that are listed where they are free text."""
_NEARLY_ALL = 0.95
_ENOUGH = 20
_LONGEST = 60


@dataclass(frozen=True, slots=True)
class AnswerCount:
    """How often one answer was given, and how often it was the target."""

    answer: str
    given: int
    target: int


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class of a classification, as scikit-learn's ``classification_report`` has it (``zero_division=0``).

    Attributes:
        label: The class.
        precision: Share of its answers that are right.
        recall: Share of its targets that are found.
        f1: Harmonic mean of both.
        support: Examples of which it is the target.
    """

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class AnswerSummary:
    """The answers of an arm to the target task's test split, counted over all of its training runs.

    Attributes:
        n: Answers.
        distinct: Different answers among them.
        counts: For classes, every class in the order of the choices; for other answers the most frequent ones. Answers
            to examples with choices of their own are counted by position: ``choice 1``, ``choice 2`` …
        labels: The classes; empty where the answers are no classes.
        confusion: For each class as target (rows, in the order of ``labels``) how often each class was answered, and
            last how often none of them.
        classes: Scores of each class.
    """

    n: int
    distinct: int
    counts: tuple[AnswerCount, ...]
    labels: tuple[str, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    classes: tuple[ClassScore, ...] = ()


def summarise_answers(logs: Log | Runs, task_metrics: TaskMetrics) -> AnswerSummary:
    """Count the answers of an arm.

    Args:
        logs: One log, or one for each seed; their counts are added.
        task_metrics: How the task is judged: the primary metric says how choices are compared.
    """
    predictions = [one for log in _runs(logs).values() for one in log]
    by = normalisation_of(task_metrics)
    labels = class_labels(predictions)
    given, true = _sides(predictions, by, positions=_has_own_choices(predictions))
    answers, targets = Counter(given), Counter(true)
    listed = labels or tuple(text for text, _ in answers.most_common(MOST_ANSWERS))
    counts = tuple(AnswerCount(text, answers[text], targets[text]) for text in listed)
    if not labels:
        return AnswerSummary(len(predictions), len(answers), counts)
    pairs = Counter(zip(true, given, strict=True))
    confusion = tuple(_confusion_row(target, labels, targets, pairs) for target in labels)
    classes = tuple(_class_score(label, answers[label], targets[label], pairs[label, label]) for label in labels)
    return AnswerSummary(len(predictions), len(answers), counts, labels, confusion, classes)


def class_labels(predictions: Sequence[Prediction]) -> tuple[str, ...]:
    """Return the classes that the answers are taken from; empty where they are no classification.

    These are the choices, where every example has the same ones; without choices the targets, where they are few and
    come up twice or more on average.
    """
    if all(prediction.choices for prediction in predictions):
        first = tuple(dict.fromkeys(choice.strip() for choice in predictions[0].choices))
        same = all({choice.strip() for choice in one.choices} == set(first) for one in predictions)
        return first if same and len(first) <= MOST_LABELS else ()
    if any(prediction.choices for prediction in predictions):
        return ()
    targets = sorted({prediction.targets[0].strip() for prediction in predictions})
    few = 1 < len(targets) <= MOST_LABELS and 2 * len(targets) <= len(predictions)
    return tuple(targets) if few else ()


def warnings_about_answers(logs: Log | Runs, task_metrics: TaskMetrics) -> tuple[str, ...]:
    """Say where an arm gives one answer to everything, or nearly so, although the targets differ; by training run."""
    runs = _runs(logs)
    several = len(runs) > 1
    found = []
    for seed, log in runs.items():
        positions = _has_own_choices(log)
        given, true = _sides(log, normalisation_of(task_metrics), positions=positions)
        (text, count), targets = Counter(given).most_common(1)[0], Counter(true)
        right = targets[text]
        run = f"seed {seed} " if several else ""
        if len(log) > 1 and count == len(log) and len(targets) > 1:
            found.append(
                f"{run}gives one answer, {_quoted(text)}, to all {count:,} examples; it is the target of {right:,}"
            )
        elif len(log) >= _ENOUGH and count >= _NEARLY_ALL * len(log) and right < 0.9 * count:
            found.append(
                f"{run}answers {_quoted(text)} to {count:,} of {len(log):,} examples; it is the target of {right:,}"
            )
    return tuple(found)


def normalisation_of(task_metrics: TaskMetrics) -> Normalisation:
    """Return what the primary metric divides the log-probabilities of choices by."""
    metric = get_metric(task_metrics.primary_metric)
    if metric.name == "accuracy_normalised":
        return "tokens"
    options = dict(part.split(":", 1) for part in metric.options.split("|") if ":" in part)
    return next((by for by in NORMALISATIONS if by == options.get("by")), "sum")


def _has_own_choices(predictions: Sequence[Prediction]) -> bool:
    """Say whether examples have choices that differ, so that only their positions can be counted together."""
    return all(one.choices for one in predictions) and not class_labels(predictions)


def _sides(predictions: Sequence[Prediction], by: Normalisation, *, positions: bool) -> tuple[list[str], list[str]]:
    """Return what was answered and what should have been; an example with several targets has the one it was given."""
    given = [answer(one, by if one.choice_logprobs else "sum").strip() for one in predictions]
    true = [
        text if is_right(one, text) else one.targets[0].strip() for one, text in zip(predictions, given, strict=True)
    ]
    if not positions:
        return given, true
    places = [{choice.strip(): f"choice {k}" for k, choice in enumerate(one.choices, 1)} for one in predictions]
    return (
        [place.get(text, text) for place, text in zip(places, given, strict=True)],
        [place.get(text, text) for place, text in zip(places, true, strict=True)],
    )


def _confusion_row(
    target: str, labels: Sequence[str], targets: Mapping[str, int], pairs: Mapping[tuple[str, str], int]
) -> tuple[int, ...]:
    row = [pairs[target, label] for label in labels]
    return (*row, targets[target] - sum(row))


def _class_score(label: str, given: int, true: int, both: int) -> ClassScore:
    precision, recall = both / given if given else 0.0, both / true if true else 0.0
    return ClassScore(label, precision, recall, 2 * both / (given + true) if given + true else 0.0, true)


def _runs(logs: Log | Runs) -> Runs:
    return logs if isinstance(logs, Mapping) else {0: logs}


def _quoted(text: str) -> str:
    shown = " ".join(text.split())
    return f"'{shown if len(shown) <= _LONGEST else shown[:_LONGEST] + '…'}'" if shown else "the empty text"
