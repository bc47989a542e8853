"""What a step takes is timed on the training's own records, and nothing that is trained or drawn changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from rows import ROWS

from luthier.config.arms import Arm
from luthier.experiments.plan import read_plan
from luthier.experiments.trained_arms import job_of
from luthier.methods.base import snapshot
from luthier.objectives.cross_entropy import CrossEntropy
from luthier.training.stream import StepStream, TokenCounts, count_tokens, training_set
from luthier.training.timed_step import StepRates, affine, random_state_kept, time_step
from small_job import comparison, write_job
from tiny_models import same_bits, state


def test_two_timed_steps_give_the_time_of_any() -> None:
    # 100 tokens in 0.3 s and 900 in 1.1 s: 1 ms a token, and 0.2 s for the step itself.
    fixed, each = affine((100, 0.3), (900, 1.1))
    assert fixed == pytest.approx(0.2)
    assert each == pytest.approx(0.001)


def test_a_small_step_that_was_not_faster_says_nothing() -> None:
    assert affine((100, 1.2), (900, 0.9)) == (0.0, 0.001)
    assert affine((100, 0.1), (100, 0.1)) == (0.0, 0.001), "a pass of one record"


def test_tokens_that_are_read_again_may_be_cheaper() -> None:
    rates = StepRates(step=0.5, token=0.01, token_again=0.002, forward=0.001)
    # 4 steps x 0.5 + 100 x 0.01 + 200 x 0.002.
    assert rates.seconds(4, TokenCounts(read=300, distinct=100)) == pytest.approx(3.4)


class _InTurn:
    """Three steps of two records each, over three records."""

    steps, passes, digest = 3, 2.0, ""

    def indices(self, step: int) -> list[int]:
        """Return 0, 1; then 2, 0; then 1, 2."""
        return [(2 * step) % 3, (2 * step + 1) % 3]

    def visits(self, step: int) -> list[tuple[int, int]]:
        raise NotImplementedError


def test_the_tokens_of_steps_are_counted() -> None:
    stream = StepStream(training_set("rows", ROWS[:3]), _InTurn())  # 6 + 4, 9 + 2 and 3 + 7 tokens
    assert count_tokens(stream, CrossEntropy()) == TokenCounts(read=62, distinct=31)
    assert count_tokens(stream, CrossEntropy(), first=2) == TokenCounts(read=21, distinct=21)
    assert count_tokens(stream, CrossEntropy(), first=3) == TokenCounts(read=0, distinct=0)


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_nothing_is_trained_or_drawn(kind: str, method: str, tmp_path: Path) -> None:
    plan = read_plan(comparison(kind, write_job(tmp_path / "job"), tmp_path / "runs"))
    settings = {"rank": 4, "dropout": 0.1} if method == "lora" else {}
    arm = Arm(method, method, 0, settings, plan.config.training)
    job = job_of(plan, arm, 0)
    base = state(plan.model)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    with random_state_kept():
        attached = job.method.attach(plan.model, job.settings, seed=0)
    try:
        before = snapshot(attached)
        rates = time_step(plan.model, attached, job)
        assert same_bits(snapshot(attached), before)
        assert all(weight.grad is None for weight in attached.trainable().values())
        assert not plan.model.module.training
    finally:
        attached.detach()
    assert torch.equal(torch.rand(3), expected)
    assert same_bits(state(plan.model), base)
    assert rates.token > 0
    assert rates.forward > 0
    assert not (tmp_path / "runs").exists()
