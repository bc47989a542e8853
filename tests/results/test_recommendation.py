"""The sentence that follows from the numbers, on numbers made for it."""

from __future__ import annotations

import math

import pytest

from luthier.records import Score
from luthier.results.recommendation import recommend
from luthier.results.records import ArmResult, Change, Pair, RetentionResult


def score(value: float, metric: str = "rougeL") -> Score:
    return Score(metric, value, 100, value - 0.02, value + 0.02, "made")


def arm(
    name: str, value: float, *, weights: int = 0, prompt: float = 30, retained: tuple[RetentionResult, ...] = ()
) -> ArmResult:
    return ArmResult(
        name=name,
        method="lora" if weights else None,
        shots=0,
        seed=0,
        settings={},
        training=None,
        trainable_parameters=weights,
        stored_bytes=4 * weights,
        prompt_tokens=prompt,
        scores=(score(value),),
        retained=retained,
    )


def pair(a: str, b: str, value: float, *, significant: bool) -> Pair:
    return Pair(a, b, Change(value, value - 0.02, value + 0.02, 0.001 if significant else 0.4, 100, significant))


def kept(value: float, *, significant: bool, higher: bool = True) -> RetentionResult:
    change = Change(value, value - 0.01, value + 0.01, 0.01, 50, significant)
    return RetentionResult("topic", "accuracy", higher, 0.25, score(0.6), score(0.6 + value), change)


ZERO, LORA, FULL = arm("zero_shot", 0.1), arm("lora", 0.3, weights=1000), arm("full", 0.4, weights=9000)


def test_decided() -> None:
    pairs = [
        pair("lora", "zero_shot", 0.2, significant=True),
        pair("full", "zero_shot", 0.3, significant=True),
        pair("full", "lora", 0.1, significant=True),
    ]
    found = recommend([ZERO, LORA, FULL], pairs, higher_is_better=True)
    assert (found.arm, found.decided) == ("full", True)
    assert found.sentence == (
        "Use full: its rougeL 0.4 [0.38, 0.42] beats every other arm; the nearest, lora, is 0.1 behind [0.08, 0.12]."
    )


def test_the_order_of_a_pair_does_not_matter() -> None:
    pairs = [pair("zero_shot", "full", -0.3, significant=True)]
    found = recommend([FULL, ZERO], pairs, higher_is_better=True)
    assert found.decided
    assert "0.3 behind [0.28, 0.32]" in found.sentence


def test_an_interval_that_reaches_below_zero_is_said_so() -> None:
    pairs = [Pair("full", "zero_shot", Change(0.3, -0.05, 0.6, 0.01, 100, True))]
    assert "0.3 behind [-0.05, 0.6]" in recommend([ZERO, FULL], pairs, higher_is_better=True).sentence


def test_undecided_names_the_cheapest_of_those_that_are_level() -> None:
    pairs = [
        pair("lora", "zero_shot", 0.2, significant=True),
        pair("full", "zero_shot", 0.3, significant=True),
        pair("full", "lora", 0.1, significant=False),
    ]
    found = recommend([ZERO, LORA, FULL], pairs, higher_is_better=True)
    assert (found.arm, found.decided) == ("lora", False)
    assert found.sentence == (
        "The numbers do not decide between full and lora: the best of them, full, has rougeL 0.4 [0.38, 0.42]. "
        "Of these lora costs least (1,000 trained weights)."
    )


def test_between_prompts_the_shorter_costs_less() -> None:
    long = arm("few_shot", 0.12, prompt=400)
    found = recommend([ZERO, long], [pair("few_shot", "zero_shot", 0.02, significant=False)], higher_is_better=True)
    assert found.arm == "zero_shot"
    assert "(nothing trained, 30 prompt tokens a request)" in found.sentence


def test_lower_is_better() -> None:
    found = recommend([ZERO, FULL], [pair("full", "zero_shot", 0.3, significant=True)], higher_is_better=False)
    assert (found.arm, found.decided) == ("zero_shot", True)


@pytest.mark.parametrize(
    ("retained", "said"),
    [
        (kept(-0.2, significant=True), "; but it forgot topic (accuracy -0.2)."),
        (kept(-0.2, significant=False), "; no forgetting was found on 1 other task."),
        (kept(+0.2, significant=True), "; no forgetting was found on 1 other task."),
        (kept(+0.2, significant=True, higher=False), "; but it forgot topic (accuracy +0.2)."),
    ],
)
def test_forgetting_is_said(retained: RetentionResult, said: str) -> None:
    full = arm("full", 0.4, weights=9000, retained=(retained,))
    pairs = [pair("full", "zero_shot", 0.3, significant=True)]
    assert recommend([ZERO, full], pairs, higher_is_better=True).sentence.endswith(said)


def test_a_single_arm() -> None:
    found = recommend([ZERO], [], higher_is_better=True)
    assert (found.arm, found.decided) == (None, False)
    assert found.sentence == "Only zero_shot was measured (rougeL 0.1 [0.08, 0.12]); compare it with another arm."


def test_nothing_measured() -> None:
    found = recommend([arm("a", math.nan), arm("b", math.nan)], [], higher_is_better=True)
    assert (found.arm, found.decided) == (None, False)
    assert found.sentence == "Nothing was measured, so nothing can be recommended."


def test_an_arm_that_could_not_be_measured_is_left_out() -> None:
    pairs = [pair("full", "zero_shot", 0.3, significant=True), pair("broken", "zero_shot", math.nan, significant=False)]
    found = recommend([ZERO, FULL, arm("broken", math.nan)], pairs, higher_is_better=True)
    assert (found.arm, found.decided) == ("full", True)
