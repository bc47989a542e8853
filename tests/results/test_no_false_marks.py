"""Arms that are the same model get no marks: gained and forgotten stand in at most 5 of 100 runs where nothing is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from luthier.config.evaluation import ScoringConfig
from luthier.metrics.task_metrics import TaskMetrics
from luthier.records import Prediction
from luthier.results.records import RetentionResult
from luthier.results.scores import corrected_retention, retention_over_seeds

RUNS, TASKS, EXAMPLES = 100, 4, 60
CONFIG = ScoringConfig(resamples=100)


def answers(rng: np.random.Generator, task: int, right: np.ndarray) -> list[Prediction]:
    """One model's answers, each right with a probability of its example's own."""
    drawn = rng.random(len(right)) < right
    return [
        Prediction(f"{task}-{n}", f"task-{task}", "yes" if hit else "no", ("yes",), choices=("yes", "no"))
        for n, hit in enumerate(drawn)
    ]


def retained(rng: np.random.Generator, seeds: int) -> tuple[RetentionResult, ...]:
    """What an arm that is the base kept of four tasks: the base's answers, drawn again for each training run."""
    found = []
    for task in range(TASKS):
        right = rng.beta(2, 1, EXAMPLES)
        metrics = TaskMetrics(f"task-{task}", ("accuracy",), "accuracy", 0.5)
        runs = {seed: answers(rng, task, right) for seed in range(seeds)}
        found.append(retention_over_seeds(answers(rng, task, right), runs, metrics, CONFIG, {}))
    return corrected_retention([replace(item) for item in found], CONFIG)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 3])
def test_marks_stand_in_few_runs_where_nothing_changed(seeds: int) -> None:
    """The exact binomial limit: more marked runs than that come up in 1 of 1,000 such tests at a true rate of 5 %."""
    rng = np.random.default_rng(7 + seeds)
    marked = sum(any(item.change.significant for item in retained(rng, seeds)) for _ in range(RUNS))
    assert marked <= binom.ppf(0.999, RUNS, 0.05), f"{marked} of {RUNS} runs"


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 3])
def test_the_same_runs_would_be_marked_if_something_had_changed(seeds: int) -> None:
    """Half of the right answers lost are found every time: the test above could fail."""
    rng = np.random.default_rng(3)
    right = np.full(EXAMPLES, 0.9)
    metrics = TaskMetrics("task-0", ("accuracy",), "accuracy", 0.5)
    runs = {seed: answers(rng, 0, right / 2) for seed in range(seeds)}
    found = retention_over_seeds(answers(rng, 0, right), runs, metrics, CONFIG, {})
    assert corrected_retention([found], CONFIG)[0].change.significant
