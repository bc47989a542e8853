"""The kept share of what the base could do: by hand, and how often its lower bound is right on simulated answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from luthier.metrics.chance import able
from luthier.metrics.task_metrics import TaskMetrics
from luthier.records import Prediction
from luthier.results.retention_ratio import RetainedLogs, RetentionRatio, decided_by, retention_ratio

LEVEL = 0.98


def metrics(name: str = "task", chance: float | None = 0.25) -> TaskMetrics:
    return TaskMetrics(name, ("accuracy",), "accuracy", chance)


def log(right: np.ndarray, name: str = "task") -> list[Prediction]:
    return [
        Prediction(f"{name}-{n}", name, "a" if hit else "b", ("a",), choices=("a", "b", "c", "d"))
        for n, hit in enumerate(right)
    ]


def task(before: list[int], *after: list[int], name: str = "task", chance: float | None = 0.25) -> RetainedLogs:
    runs = {seed: log(np.array(own), name) for seed, own in enumerate(after)}
    return RetainedLogs(metrics(name, chance), log(np.array(before), name), runs)


def test_a_share_is_what_is_kept_above_chance() -> None:
    """0.75 before, 0.7 and 0.6 after, chance 0.25: (0.65 - 0.25) / (0.75 - 0.25) = 0.8."""
    before = [1] * 15 + [0] * 5
    found = retention_ratio([task(before, [1] * 14 + [0] * 6, [1] * 12 + [0] * 8)], LEVEL)
    assert found.value == pytest.approx(0.8)
    assert found.shares == {"task": pytest.approx(0.8)}
    assert (found.tasks, found.left_out, found.seeds, found.examples) == (("task",), (), 2, 20)
    assert found.low < found.value


def test_the_mean_is_over_tasks_that_the_base_can_do() -> None:
    """The second task was at chance: that nothing is left of it, or more than there was, says nothing."""
    known = task([1] * 40 + [0] * 10, [1] * 35 + [0] * 15, name="known", chance=0.0)
    unknown = task([1] * 13 + [0] * 37, [0] * 50, name="unknown")
    found = retention_ratio([known, unknown], LEVEL)
    assert found.value == pytest.approx(35 / 40)
    assert (found.tasks, found.left_out) == (("known",), ("unknown",))
    assert not able(unknown.before, unknown.metrics)
    nothing = retention_ratio([unknown], LEVEL)
    assert math.isnan(nothing.value)
    assert not nothing.reaches(LEVEL)


def test_two_tasks_of_different_sizes_weigh_the_same() -> None:
    """Shares 0.5 and 1.0 have the mean 0.75, whichever has more examples; the errors add up as independent ones do."""
    small = task([1] * 30 + [0] * 10, ([1] * 15 + [0] * 15) + [0] * 10, name="small", chance=0.0)
    large = task([1] * 300 + [0] * 100, ([1] * 299 + [0]) + [1] + [0] * 99, name="large", chance=0.0)
    both, one, other = (retention_ratio(own, 0.5) for own in ([small, large], [small], [large]))
    assert both.value == pytest.approx(0.75)
    assert both.example_variance == pytest.approx((one.example_variance + other.example_variance) / 4, rel=1e-6)


def test_the_variance_of_seeds_is_that_of_their_means() -> None:
    """Means of 0.8, 0.7 and 0.6 of a base of 0.8, without chance: shares 1, 0.875 and 0.75; variance 0.125² / 3."""
    runs = [[1] * count + [0] * (100 - count) for count in (80, 70, 60)]
    found = retention_ratio([task([1] * 80 + [0] * 20, *runs, chance=0.0)], LEVEL)
    assert found.value == pytest.approx(0.875)
    assert found.run_variance == pytest.approx(0.125**2 / 3)
    fewer = retention_ratio([task([1] * 80 + [0] * 20, *runs[:2], chance=0.0)], LEVEL)
    assert fewer.run_variance == 0


def test_equal_answers_prove_as_much_as_there_are() -> None:
    """Without a lost answer of 50, a loss of 2 % is not excluded: 0.8 of an answer was to be lost. Of 2,000 it is."""
    few, many = ([1] * (size * 4 // 5) + [0] * (size // 5) for size in (50, 2000))
    assert retention_ratio([task(few, few, chance=0.0)], LEVEL).low < LEVEL
    assert retention_ratio([task(many, many, chance=0.0)], LEVEL).low > 0.99


def simulated(truth: float, n: int, seeds: int, dice: np.random.Generator, tasks: int = 3) -> list[RetainedLogs]:
    """Answers of a base that is right in 0.8, 0.7 … of cases, and of runs that keep a share of what is above chance.

    Some right answers become wrong and fewer wrong ones right, besides; each seed's loss differs a little.
    """
    found = []
    wander = dice.normal(0, 0.002, size=seeds)
    for number in range(tasks):
        level, chance = 0.8 - 0.1 * number, 0.25
        before = dice.random(n) < level
        runs = []
        for seed in range(seeds):
            gained = 0.01
            lost = ((1 - truth - wander[seed]) * (level - chance) + gained * (1 - level)) / level
            moved = dice.random(n)
            runs.append(np.where(before, moved >= lost, moved < gained).astype(int).tolist())
        found.append(task(before.astype(int).tolist(), *runs, name=f"task{number}", chance=chance))
    return found


def accepted(truth: float, n: int, seeds: int, draws: int, tasks: int = 3) -> int:
    dice = np.random.default_rng([int(1e6 * truth), n, seeds])
    found = (retention_ratio(simulated(truth, n, seeds, dice, tasks), LEVEL, resamples=100) for _ in range(draws))
    return sum(ratio.reaches(LEVEL) for ratio in found)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "seeds"), [(100, 1), (100, 3), (400, 3), (2000, 1), (2000, 3)])
def test_what_has_lost_too_much_is_not_accepted(n: int, seeds: int) -> None:
    """At a truth of 0.96 and of just 0.98, no more than 5 % are accepted: within what so many draws can show."""
    draws = 300 if n < 2000 else 120
    assert accepted(0.96, n, seeds, draws) <= binom.ppf(0.99, draws, 0.05)
    assert accepted(0.98, n, seeds, draws) <= binom.ppf(0.99, draws, 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 3])
def test_what_is_kept_is_accepted(seeds: int) -> None:
    """At a truth of 0.995 and 2,000 examples of each task, 90 % are accepted."""
    draws = 40
    assert accepted(0.995, 2000, seeds, draws) >= binom.ppf(0.01, draws, 0.9)
    assert accepted(0.96, 2000, seeds, draws) == 0


def test_the_bound_tells_kept_from_lost() -> None:
    """A few draws of what the slow tests count."""
    assert accepted(0.995, 2000, 1, 5) >= 3
    assert accepted(0.96, 2000, 3, 3) == 0


def test_what_would_decide_is_said() -> None:
    """A gap of 0.01 asks for a standard error of 0.01 / 2.486 = 0.00402; of 0.008 with 200 examples: 791, so 800."""
    ratio = RetentionRatio(0.99, 0.97, ("a",), (), {"a": 0.99}, 1, 200, 0.0, 0.008**2)
    assert decided_by(ratio, LEVEL) == "about 800 examples of each task would decide"
    noisy = RetentionRatio(0.99, 0.97, ("a",), (), {"a": 0.99}, 3, 2000, 0.01**2, 0.001**2)
    assert decided_by(noisy, LEVEL) == "about 20 seeds would decide"
    assert decided_by(RetentionRatio(LEVEL, 0.9, ("a",), (), {}, 1, 10, 0.0, 1.0), LEVEL) == ""
