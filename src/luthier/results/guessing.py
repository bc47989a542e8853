"""What the target task's primary score is without any knowledge: by chance, and by one and the same answer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from luthier.metrics.registry import get_metric
from luthier.metrics.scoring import primary_value
from luthier.metrics.seed_runs import Log
from luthier.metrics.task_metrics import TaskMetrics
from luthier.records import Prediction, Score
from luthier.results.answers import class_labels
from luthier.results.summaries import Majority, TaskSummary

_UNLIKELY = -1e3


def majority_baseline(training_targets: Sequence[str], log: Log, task_metrics: TaskMetrics) -> Majority | None:
    """Score the classifier that always answers the most frequent label.

    Args:
        training_targets: Of the training split; the most frequent label is taken from them, and from the test split's
            targets where none of them is a label.
        log: Any arm's answers to the test split: for its targets and choices.
        task_metrics: How the task is judged.

    Returns:
        The label and what it scores by the primary metric; None where the answers are no classes, or the metric is one
        of probabilities or unbounded texts, for which a constant answer has no value.
    """
    labels = class_labels(log)
    metric = get_metric(task_metrics.primary_metric)
    if not labels or not metric.higher_is_better or metric.scale is None:
        return None
    known = [target.strip() for target in training_targets if target.strip() in labels]
    split = "train" if known else "test"
    counts = Counter(known or [one.targets[0].strip() for one in log])
    label = max(labels, key=lambda text: counts[text])
    value = primary_value([_answering(one, label) for one in log], task_metrics)
    return None if math.isnan(value) else Majority(label, value, split)


def guesses(task: TaskSummary) -> list[tuple[str, float]]:
    """Return what guessing scores by the primary metric, with its name; empty where it is not known."""
    found = [("chance", task.chance)] if task.chance is not None else []
    return found + ([(f"always '{task.majority.answer}'", task.majority.value)] if task.majority else [])


def guess_value(task: TaskSummary) -> float | None:
    """Return the better of chance and the majority baseline; None where neither is known."""
    known = [value for _, value in guesses(task)]
    if not known:
        return None
    return max(known) if task.higher_is_better else min(known)


def guess_words(task: TaskSummary) -> str:
    """Say what guessing scores: ``"chance 0.25, always 'billing' 0.41"``; "" where it is not known."""
    return ", ".join(f"{name} {value:.3g}" for name, value in guesses(task))


def beats_guessing(score: Score, task: TaskSummary) -> bool:
    """Say whether a primary score is better than guessing: its whole interval lies on the better side of it.

    True where nothing is known of guessing; False where the score has no interval.
    """
    guess = guess_value(task)
    if guess is None:
        return True
    return score.low > guess if task.higher_is_better else score.high < guess


def _answering(prediction: Prediction, label: str) -> Prediction:
    """Return the same prediction with another answer."""
    own = next((choice for choice in prediction.choices if choice.strip() == label), label)
    sure = tuple(0.0 if choice == own else _UNLIKELY for choice in prediction.choices)
    logprobs = sure if prediction.choice_logprobs else ()
    return replace(prediction, text=own, choice_logprobs=logprobs, generated=None, unparsed=False)
