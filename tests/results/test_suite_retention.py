"""The averages of a suite before and after, checked by hand."""

from __future__ import annotations

import math

import pytest

from luthier.metrics.suite_averages import Average
from luthier.records import Score
from luthier.results.change import Change
from luthier.results.records import RetentionResult
from luthier.results.suite_retention import suite_retention

Z = 1.959963985


def kept(task: str, change: float, error: float, *, n: int = 50, higher: bool = True) -> RetentionResult:
    return RetentionResult(
        task=task,
        metric="accuracy",
        higher_is_better=higher,
        chance=0.25,
        before=Score("accuracy", 0.5, n, 0.5 - Z * 0.05, 0.5 + Z * 0.05, ""),
        after=Score("accuracy", 0.5 + change, n, 0.5 + change - Z * 0.05, 0.5 + change + Z * 0.05, ""),
        change=Change(change, change - Z * error, change + Z * error, 0.5, n, significant=False),
    )


def average(*tasks: str) -> Average:
    return Average("suite", tasks, tasks, "macro", {})


def test_small_falls_of_many_tasks_are_one_certain_fall() -> None:
    """Four tasks fall by 0.04 with an error of 0.03 each: none is sure, and the mean, with an error of 0.015, is."""
    items = [kept(name, -0.04, 0.03) for name in "abcd"]
    (found,) = suite_retention(items, [average(*"abcd")], 0.95)
    assert (found.task, found.metric, found.group) == ("suite", "macro average of 4 tasks", True)
    assert found.change.value == pytest.approx(-0.04)
    assert found.change.high - found.change.value == pytest.approx(Z * 0.03 / math.sqrt(4))
    assert found.change.p_value == pytest.approx(2 * (1 - 0.99617), abs=1e-4)  # z = 2.667
    assert found.change.significant
    assert found.change.detectable == pytest.approx((Z + 0.8416) * 0.015, abs=1e-5)
    assert found.before.value == pytest.approx(0.5)
    assert found.after.value == pytest.approx(0.46)
    assert found.before.n == 200


def test_tasks_that_do_not_belong_together_have_no_average() -> None:
    assert suite_retention([kept("a", 0, 0.1)], [average("a", "b")], 0.95) == ()
    mixed = [kept("a", 0, 0.1), kept("b", 0, 0.1, higher=False)]
    assert suite_retention(mixed, [average("a", "b")], 0.95) == ()
