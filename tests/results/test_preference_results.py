"""What is known of held-out pairs, from log-probabilities written down by hand."""

from __future__ import annotations

import pytest

from luthier.config.evaluation import ScoringConfig
from luthier.records import Prediction
from luthier.results.preferences import pair_change, preference_pairs, preference_result

CONFIG = ScoringConfig(resamples=200)


def log(*pairs: tuple[float, float], group: str = "") -> tuple[Prediction, ...]:
    """Records of answers of 2 and 8 tokens, with these log-probabilities."""
    return tuple(
        Prediction(
            id=f"pair-{number}",
            task="pairs",
            text="chosen" if chosen > rejected else "rejected",
            targets=("chosen",),
            choices=("chosen", "rejected"),
            choice_logprobs=(chosen, rejected),
            choice_tokens=(2, 8),
            finish="choice",
            group=group or f"prompt-{number}",
        )
        for number, (chosen, rejected) in enumerate(pairs)
    )


BASE = log((-4, -5), (-4, -3), (-6, -2), (-1, -9))
ARM = log((-5, -7), (-3, -4), (-7, -2), (-1, -9))


def test_every_number_by_hand() -> None:
    found = preference_result({0: ARM}, BASE, CONFIG, {"split": "test"})
    assert (found.before.value, found.accuracy.value) == (0.5, 0.75)
    assert found.change.value == 0.25
    # By token -2.5 against -7/8, -1.5 against -0.5, -3.5 against -0.25, -0.5 against -9/8: the last pair alone.
    assert found.accuracy_by_token.value == 0.25
    # Margins: (-1) - (-2) = 1; 1 - (-1) = 2; -1 - 0 = -1; 0.
    assert found.margin.value == pytest.approx((1 + 2 - 1 + 0) / 4)
    assert found.gained.value == 0.5
    assert found.chosen_fell.value == 0.5
    assert (found.margin.metric, found.chosen_fell.metric) == ("margin", "chosen_fell")
    assert found.margin.low < found.margin.value < found.margin.high
    assert "split:test" in found.accuracy.signature


def test_one_training_each_is_compared_by_mcnemar() -> None:
    """Nine pairs became right and one wrong: two-sided, 2 · (1 + 10) / 2^10."""
    before = log(*[(-2, -1)] * 9, (-1, -2), *[(-1, -2)] * 10)
    after = log(*[(-1, -2)] * 9, (-2, -1), *[(-1, -2)] * 10)
    found = pair_change({0: after}, {0: before}, CONFIG)
    assert found.value == pytest.approx(8 / 20)
    assert found.p_value == pytest.approx(22 / 1024)
    assert found.significant


def test_pairs_of_one_prompt_are_kept_together() -> None:
    """All pairs have one prompt, so nothing is known of other prompts."""
    before, after = log(*[(-2, -1)] * 9, group="one"), log(*[(-1, -2)] * 9, group="one")
    assert not pair_change({0: after}, {0: before}, CONFIG).significant


def test_several_trainings_have_a_spread_and_arms_are_compared_in_pairs() -> None:
    found = preference_result({0: ARM, 1: BASE}, BASE, CONFIG, {})
    assert found.accuracy.value == pytest.approx((0.75 + 0.5) / 2)
    assert found.accuracy.spread is not None
    (pair,) = preference_pairs({"lora": {0: BASE}, "dpo": {0: ARM}}, CONFIG)
    assert (pair.a, pair.b, pair.change.value) == ("dpo", "lora", 0.25)
