"""The sentence that follows from the numbers, on numbers made for it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from luthier.records import Score
from luthier.results.change import Change
from luthier.results.recommendation import recommend
from luthier.results.records import ArmResult, Pair, RetentionResult
from luthier.results.summaries import Majority, TaskSummary

TASK = TaskSummary(primary="rougeL")


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
    change = Change(value, value - 0.01, value + 0.01, 0.01, 50, significant, detectable=0.0567)
    return RetentionResult("topic", "accuracy", higher, 0.25, score(0.6), score(0.6 + value), change)


ZERO, LORA, FULL = arm("zero_shot", 0.1), arm("lora", 0.3, weights=1000), arm("full", 0.4, weights=9000)
LEVEL = (
    pair("lora", "zero_shot", 0.2, significant=True),
    pair("full", "zero_shot", 0.3, significant=True),
    pair("full", "lora", 0.1, significant=False),
)
"""Both tuned arms beat the prompt, and are level with each other."""


def test_decided() -> None:
    pairs = [
        pair("lora", "zero_shot", 0.2, significant=True),
        pair("full", "zero_shot", 0.3, significant=True),
        pair("full", "lora", 0.1, significant=True),
    ]
    found = recommend([ZERO, LORA, FULL], pairs, TASK)
    assert (found.arm, found.decided) == ("full", True)
    assert found.sentence == (
        "Use full: its rougeL 0.4 [0.38, 0.42] beats every other arm; the nearest, lora, is 0.1 behind [0.08, 0.12]."
    )


def test_the_order_of_a_pair_does_not_matter() -> None:
    pairs = [pair("zero_shot", "full", -0.3, significant=True)]
    found = recommend([FULL, ZERO], pairs, TASK)
    assert found.decided
    assert "0.3 behind [0.28, 0.32]" in found.sentence


def test_an_interval_that_reaches_below_zero_is_said_so() -> None:
    pairs = [Pair("full", "zero_shot", Change(0.3, -0.05, 0.6, 0.01, 100, True))]
    assert "0.3 behind [-0.05, 0.6]" in recommend([ZERO, FULL], pairs, TASK).sentence


def test_undecided_names_the_cheapest_of_those_that_are_level() -> None:
    found = recommend([ZERO, LORA, FULL], LEVEL, TASK)
    assert (found.arm, found.decided) == ("lora", False)
    assert found.headline == "Tuning beats prompting"
    assert found.sentence == (
        "Tuning (lora and full) beats prompting: the smallest gap is 0.2 [0.18, 0.22], lora against zero_shot. "
        "The numbers do not decide between full and lora: the best of them, full, has rougeL 0.4 [0.38, 0.42]. "
        "Of these lora costs least (1,000 trained weights)."
    )


def test_between_prompts_the_shorter_costs_less() -> None:
    long = arm("few_shot", 0.12, prompt=400)
    found = recommend([ZERO, long], [pair("few_shot", "zero_shot", 0.02, significant=False)], TASK)
    assert found.arm == "zero_shot"
    assert "(nothing trained, 30 prompt tokens a request)" in found.sentence


def test_lower_is_better() -> None:
    found = recommend(
        [ZERO, FULL], [pair("full", "zero_shot", 0.3, significant=True)], replace(TASK, higher_is_better=False)
    )
    assert (found.arm, found.decided) == ("zero_shot", True)


_NONE_FOUND = (
    "; no forgetting was found on 1 other task (the smallest fall that would be found with 80 % power: 0.0567 accuracy "
    "on topic)."
)


@pytest.mark.parametrize(
    ("retained", "said"),
    [
        (kept(-0.2, significant=True), "; but it forgot topic (accuracy -0.2)."),
        (kept(-0.2, significant=False), _NONE_FOUND),
        (kept(+0.2, significant=True), _NONE_FOUND),
        (kept(+0.2, significant=True, higher=False), "; but it forgot topic (accuracy +0.2)."),
    ],
)
def test_forgetting_is_said(retained: RetentionResult, said: str) -> None:
    full = arm("full", 0.4, weights=9000, retained=(retained,))
    pairs = [pair("full", "zero_shot", 0.3, significant=True)]
    assert recommend([ZERO, full], pairs, TASK).sentence.endswith(said)


def test_a_single_arm() -> None:
    found = recommend([ZERO], [], TASK)
    assert (found.arm, found.decided) == (None, False)
    assert found.sentence == "Only zero_shot was measured (rougeL 0.1 [0.08, 0.12]); compare it with another arm."


def test_nothing_measured() -> None:
    found = recommend([arm("a", math.nan), arm("b", math.nan)], [], TASK)
    assert (found.arm, found.decided) == (None, False)
    assert found.sentence == "Nothing was measured, so nothing can be recommended."


def test_an_arm_that_could_not_be_measured_is_left_out() -> None:
    pairs = [pair("full", "zero_shot", 0.3, significant=True), pair("broken", "zero_shot", math.nan, significant=False)]
    found = recommend([ZERO, FULL, arm("broken", math.nan)], pairs, TASK)
    assert (found.arm, found.decided) == ("full", True)


def test_what_the_numbers_decide_comes_before_what_they_do_not() -> None:
    """Only some tuned arms beat every prompt; the banner says so instead of "no clear winner"."""
    soft = arm("prompt_tuning", 0.15, weights=100)
    pairs = [
        *LEVEL,
        pair("prompt_tuning", "zero_shot", 0.05, significant=False),
        pair("lora", "prompt_tuning", 0.15, significant=True),
        pair("full", "prompt_tuning", 0.25, significant=True),
    ]
    found = recommend([ZERO, LORA, FULL, soft], pairs, TASK)
    assert found.headline == "lora and full beat prompting"
    assert found.sentence.startswith("lora and full beat prompting: the smallest gap is 0.2 [0.18, 0.22], ")
    assert found.sentence.index("beat prompting") < found.sentence.index("do not decide")


def test_prompting_can_beat_tuning() -> None:
    few, long = arm("few_shot", 0.5), arm("many_shot", 0.52)
    pairs = [
        pair("few_shot", "lora", 0.2, significant=True),
        pair("many_shot", "lora", 0.22, significant=True),
        pair("many_shot", "few_shot", 0.02, significant=False),
    ]
    found = recommend([few, long, LORA], pairs, TASK)
    assert found.headline == "Prompting beats tuning"
    assert found.sentence.startswith(
        "Prompting beats tuning: the smallest gap is 0.2 [0.18, 0.22], few_shot against lora. "
    )


def test_where_nothing_is_significant_there_is_no_clear_winner() -> None:
    found = recommend([ZERO, LORA], [pair("lora", "zero_shot", 0.2, significant=False)], TASK)
    assert (found.headline, found.decided) == ("No clear winner", False)


CHANCE = replace(TASK, primary="accuracy", chance=0.25, majority=Majority("billing", 0.42, "train"))


def test_arms_at_chance_are_not_recommended() -> None:
    """Level arms whose intervals hold what always answering the same label gets: nothing is best, nothing is cheap."""
    found = recommend([ZERO, LORA, FULL], LEVEL, CHANCE)
    assert (found.arm, found.decided, found.headline) == (None, False, "Nothing beats guessing")
    assert found.sentence.startswith(
        "Nothing beats guessing: the best arm, full, has rougeL 0.4 [0.38, 0.42], and without any knowledge one gets "
        "chance 0.25, always 'billing' 0.42. No arm is recommended"
    )
    assert "costs least" not in found.sentence


def test_of_level_arms_only_those_that_beat_guessing_can_be_the_cheapest() -> None:
    task = replace(CHANCE, majority=Majority("billing", 0.3, "train"))
    found = recommend([ZERO, LORA, FULL], LEVEL, task)
    assert found.arm == "full"
    assert "Of those that beat guessing, full costs least" in found.sentence
    assert found.sentence.endswith(
        " zero_shot and lora are not better than guessing (chance 0.25, always 'billing' 0.3)."
    )


def test_below_guessing_is_above_it_where_lower_is_better() -> None:
    task = replace(TASK, higher_is_better=False, chance=0.5)
    found = recommend([ZERO, FULL], [pair("full", "zero_shot", 0.3, significant=True)], task)
    assert (found.arm, found.decided) == ("zero_shot", True)


def test_a_fall_that_could_not_be_seen_stands_beside_no_forgetting() -> None:
    one, other = kept(-0.01, significant=False), kept(-0.01, significant=False)
    bleu = replace(other, task="wmt", metric="bleu", scale=100.0, change=replace(other.change, detectable=3.0))
    blind = replace(other, task="four", change=replace(other.change, detectable=0.0))
    full = arm("full", 0.4, weights=9000, retained=(bleu, one, blind))
    sentence = recommend([ZERO, full], [pair("full", "zero_shot", 0.3, significant=True)], TASK).sentence
    assert sentence.endswith(
        "; no forgetting was found on 3 other tasks (the smallest falls that would be found with 80 % power: 0.0567 "
        "accuracy on topic, 3 bleu on wmt; of 1 task it is not known)."
    )
    alone = arm("full", 0.4, weights=9000, retained=(blind,))
    sentence = recommend([ZERO, alone], [pair("full", "zero_shot", 0.3, significant=True)], TASK).sentence
    assert sentence.endswith("(which fall could have been found is not known).")
