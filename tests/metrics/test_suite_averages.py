"""Averages over the tasks of a suite, checked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from luthier.metrics.standard_error import standard_error
from luthier.metrics.suite_averages import Average, Measured, suite_scores
from luthier.records import Prediction

TWO = {"a": Measured(0.5, 0.03, 100, 0.25), "b": Measured(0.7, 0.04, 300, 0.5)}


def average(*members: str, name: str = "suite", published: str = "macro", tasks: tuple[str, ...] = ()) -> Average:
    return Average(name, members, tasks or members, "micro" if published == "micro" else "macro", {})


def test_macro_and_micro_by_hand() -> None:
    macro, micro = suite_scores([average("a", "b")], TWO)
    assert (macro.over, macro.published, macro.n, macro.measured, macro.tasks) == ("macro", True, 400, 2, 2)
    assert macro.value == pytest.approx(0.6)
    assert macro.error == pytest.approx(math.sqrt(0.03**2 + 0.04**2) / 2)  # 0.025
    assert macro.low == pytest.approx(0.6 - 1.959964 * 0.025, abs=1e-6)
    assert macro.chance == pytest.approx(0.375)
    assert micro.value == pytest.approx((100 * 0.5 + 300 * 0.7) / 400)
    assert micro.error == pytest.approx(math.sqrt((100 * 0.03) ** 2 + (300 * 0.04) ** 2) / 400)
    assert micro.chance == pytest.approx((100 * 0.25 + 300 * 0.5) / 400)


def test_a_group_counts_once() -> None:
    """GLUE: the two sets of MNLI are one member of nine."""
    mnli, glue = average("a", "b", name="mnli"), average("mnli", "c", name="glue", tasks=("a", "b", "c"))
    found = suite_scores([mnli, glue], {**TWO, "c": Measured(0.2, 0.1, 50)})
    glue_macro = next(one for one in found if one.name == "glue" and one.over == "macro")
    assert glue_macro.value == pytest.approx((0.6 + 0.2) / 2)
    assert glue_macro.error == pytest.approx(math.sqrt(0.025**2 + 0.1**2) / 2)
    assert glue_macro.chance is None, "of c it is not known what guessing gets"


def test_a_part_of_the_tasks_is_said() -> None:
    (macro, _) = suite_scores([average("a", "b", "missing")], TWO)
    assert (macro.measured, macro.tasks) == (2, 3)
    assert macro.value == pytest.approx(0.6)
    assert suite_scores([average("missing")], TWO) == ()


def test_where_nothing_varies_there_is_no_interval() -> None:
    (macro, _) = suite_scores([average("a", "b")], {"a": Measured(0.0, 0.0, 50), "b": Measured(0.0, 0.0, 50)})
    assert (macro.value, macro.error) == (0.0, 0.0)
    assert math.isnan(macro.low)
    assert math.isnan(macro.high)


def test_the_published_average_is_first() -> None:
    assert [one.over for one in suite_scores([average("a", published="micro")], TWO)] == ["micro", "macro"]


def predictions(right: list[int], groups: list[str] | None = None) -> list[Prediction]:
    return [
        Prediction(str(n), "t", "yes" if one else "no", ("yes",), group="" if groups is None else groups[n])
        for n, one in enumerate(right)
    ]


def test_the_standard_error_of_a_mean() -> None:
    """1, 1, 0, 0: mean 0.5, s² = 4·0.25/3, error √(s²/4) = 0.288675."""
    assert standard_error(predictions([1, 1, 0, 0]), "accuracy", ["accuracy"]) == pytest.approx(math.sqrt(1 / 12))
    values = np.array([1, 1, 0, 1, 0, 1, 1])
    assert standard_error(predictions(values.tolist()), "accuracy", ["accuracy"]) == pytest.approx(
        values.std(ddof=1) / math.sqrt(len(values)), abs=1e-15
    )


def test_examples_of_one_group_are_one() -> None:
    """Two passages of two equal answers each: as uncertain as two answers."""
    found = standard_error(predictions([1, 1, 0, 0], ["p", "p", "q", "q"]), "accuracy", ["accuracy"])
    assert found == pytest.approx(standard_error(predictions([1, 0]), "accuracy", ["accuracy"]))
    assert math.isnan(standard_error(predictions([1, 1], ["p", "p"]), "accuracy", ["accuracy"]))
