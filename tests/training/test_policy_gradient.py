"""Objectives on rewards: advantages and losses by hand, what a step is divided by, and bad settings."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from attempts import ADVANTAGES, LENGTHS, answers, asked, drawn, logprobs

from luthier.data.attempts import Attempt
from luthier.errors import LuthierError
from luthier.objectives.objective import LearnsFromOwnAnswers, MicroBatch
from luthier.objectives.registry import find_objective
from preferences import begin, gradient, moved, worst
from tiny_models import tiny_folder

NAN = math.nan


def objective(name: str, **settings: Any) -> Any:
    return find_objective(name, {"reward": "exact_match", "samples": 4, **settings}, where="test")


def test_the_model_is_asked_for_its_own_answers() -> None:
    found = {name: isinstance(find_objective(name, {}, where="test"), LearnsFromOwnAnswers) for name in ("dpo", "kto")}
    assert not any(found.values())
    assert all(isinstance(objective(name), LearnsFromOwnAnswers) for name in ("grpo", "rloo"))


@pytest.mark.parametrize(
    ("name", "rewards", "expected"),
    [
        ("rloo", [1, 0, 0, 0], [1, -1 / 3, -1 / 3, -1 / 3]),
        ("rloo", [4, 2, NAN, 0], [3, 0, 0, -3]),
        ("rloo", [4, NAN, NAN, NAN], [0, 0, 0, 0]),
        ("rloo", [0.1, 0.1, 0.1, 0.1], [0, 0, 0, 0]),
        ("grpo", [1, 0, 0, 0], [0.75 / 0.5001, -0.25 / 0.5001, -0.25 / 0.5001, -0.25 / 0.5001]),
        ("grpo", [4, 2, NAN, 0], [2 / 2.0001, 0, 0, -2 / 2.0001]),
        ("grpo", [0.1, 0.1, NAN, 0.1], [0, 0, 0, 0]),
        ("grpo", [NAN, NAN, NAN, NAN], [0, 0, 0, 0]),
    ],
)
def test_advantages_by_hand(name: str, rewards: list[float], expected: list[float]) -> None:
    """Of 1, 0, 0, 0 the mean is 0.25 and the standard deviation, by Bessel, 0.5; of 4, 2, 0 they are 2 and 2."""
    found = objective(name).advantages(np.array([rewards, [0.0, 1.0, 0.0, 1.0]]))
    assert found[0].tolist() == pytest.approx(expected, rel=1e-12, abs=1e-15)
    assert found[1].any(), "a group does not feel its neighbours"


def losses(name: str, ratio: float, advantages: list[float], clip: float = 0.2) -> float:
    """Return the loss of eight answers whose tokens have all become so much likelier."""
    model, _ = begin(tiny_folder("llama"))
    old = [(own - math.log(ratio)).tolist() for own in logprobs(model, drawn())]
    records = drawn(advantages, old)
    made = objective(name, clip=clip, updates=2)
    found = made.loss(model, MicroBatch(records, records))
    return float(found.total.detach()) / float(made.normaliser(records))


def test_clipped_ratios_of_tokens_by_hand() -> None:
    """A ratio of 1.5 counts as 1.2 where an answer is good, and as it is where it is bad."""
    tokens = sum(LENGTHS)
    for sign, counts in ((1.0, 1.2), (-1.0, 1.5)):
        advantages = [sign * value for value in (1.0, 2.0, 1.0, 1.0, 0.5, 1.0, 1.0, 3.0)]
        weighted = sum(length * value for length, value in zip(LENGTHS, advantages, strict=True))
        assert losses("grpo", 1.5, advantages) == pytest.approx(-counts * weighted / tokens, rel=1e-5)


def test_clipped_ratios_of_answers_by_hand() -> None:
    """The ratio of an answer is the product of those of its tokens: 1.1 to the power of its length."""
    advantages = [1.0, 1.0, -1.0, 0.0, 1.0, -1.0, 1.0, 1.0]
    each = [
        -min(1.1**length * value, min(1.1**length, 1.2) * value)
        for length, value in zip(LENGTHS, advantages, strict=True)
    ]
    assert losses("rloo", 1.1, advantages) == pytest.approx(sum(each) / 8, rel=1e-4)


def test_the_gradient_of_one_update_is_that_of_reinforce() -> None:
    model, attached = begin(tiny_folder("llama"))
    records = drawn()
    for name, normaliser in (("grpo", sum(LENGTHS)), ("rloo", 8)):
        _, found = gradient(objective(name), model, attached, records, [])
        for weight in attached.trainable().values():
            weight.grad = None
        parts = [
            value * model.target_logprobs([record.answer]).sum()
            for record, value in zip(records, ADVANTAGES, strict=True)
        ]
        (-torch.stack(parts).sum() / normaliser).backward()
        plain = {key: weight.grad for key, weight in attached.trainable().items() if weight.grad is not None}
        assert worst(found, plain) < 1e-5, name


@pytest.mark.parametrize("settings", [{}, {"updates": 2}, {"beta": 0.3}, {"beta": 0.3, "updates": 2}])
@pytest.mark.parametrize("name", ["grpo", "rloo"])
def test_passes_and_order_change_nothing(name: str, settings: dict[str, Any]) -> None:
    """A step of 8 answers is one of 2 or of 8 passes, also where a pass has one answer without signal."""
    model, attached = begin(tiny_folder("llama"))
    start = logprobs(model, drawn())
    moved(model, attached, 5e-3)
    records = drawn(ADVANTAGES, [own.tolist() for own in start] if "updates" in settings else None)
    reference = start if "beta" in settings else []
    made = objective(name, **settings)
    loss, whole = gradient(made, model, attached, records, reference)
    for passes, turned in ((2, False), (8, False), (4, True)):
        order = slice(None, None, -1 if turned else 1)
        other, cut = gradient(made, model, attached, records[order], reference[order], passes=passes)
        assert other == pytest.approx(loss, rel=1e-4, abs=1e-6)
        assert worst(cut, whole) < 1e-4


def test_divergence_is_that_of_each_token_and_zero_at_the_start() -> None:
    model, attached = begin(tiny_folder("llama"))
    records = drawn([0.0] * 8)
    start = logprobs(model, records)
    for name in ("grpo", "rloo"):
        found = objective(name, beta=0.5).loss(model, MicroBatch(records, records, start))
        assert found.quantities["kl"] == pytest.approx(0, abs=1e-6)
    moved(model, attached, 5e-3)
    gaps = torch.cat(start) - torch.cat(logprobs(model, records))
    expected = float((gaps.exp() - gaps - 1).sum())
    for name, normaliser in (("grpo", sum(LENGTHS)), ("rloo", 8)):
        made = objective(name, beta=0.5)
        found = made.loss(model, MicroBatch(records, records, start))
        assert float(found.total.detach()) == pytest.approx(0.5 * expected, rel=1e-3)
        assert found.quantities["kl"] / made.normaliser(records) == pytest.approx(expected / sum(LENGTHS), rel=1e-3)
        assert made.normaliser(records) == normaliser


def test_before_answers_are_drawn_the_loss_is_that_of_the_targets() -> None:
    """So the validation loss is in nats per token, as that of supervised tuning."""
    model, _ = begin(tiny_folder("llama"))
    records = [Attempt(item.id, asked(item.id), item) for item in answers()]
    expected = -float(torch.cat(logprobs(model, records)).mean())
    for name in ("grpo", "rloo"):
        made = objective(name)
        found = made.loss(model, MicroBatch(records, records))
        assert float(found.total.detach()) / made.normaliser(records) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"samples": 1}, "key 'samples'"),
        ({"beta": -0.1}, "key 'beta'"),
        ({"beta": math.nan}, "key 'beta'"),
        ({"clip": 0}, "key 'clip'"),
        ({"updates": 0}, "key 'updates'"),
        ({"reward": " "}, "key 'reward'"),
        ({"rewards": "x"}, "Did you mean 'reward'"),
    ],
)
@pytest.mark.parametrize("name", ["grpo", "rloo"])
def test_wrong_settings_are_said(name: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(LuthierError, match="arm 'a'") as fault:
        find_objective(name, {"reward": "rougeL", **settings}, where="arm 'a'")
    assert said in str(fault.value)


def test_a_reward_is_wanted() -> None:
    with pytest.raises(LuthierError) as fault:
        find_objective("grpo", {}, where="arm 'a'")
    assert "arm 'a': key 'reward'" in str(fault.value)
