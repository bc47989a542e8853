"""The policy by which a path is compared with its reference: bounds, what is not a number, and errors."""

from __future__ import annotations

import ast
import contextlib
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import luthier
from luthier.kernels.verification import (
    LAYER,
    LOGITS,
    LOGITS_LOW_PRECISION,
    LOGPROBS,
    Tolerance,
    compare,
    evaluation_mode,
    logits_tolerance,
    verify,
)

EXPECTED = torch.tensor([0.5, -2.0, 40.0], dtype=torch.float64)


@pytest.mark.parametrize(
    ("tolerance", "allowed"),
    [
        (LAYER, [1e-5, 1e-5, 1e-5]),
        (LOGPROBS, [1e-4, 2e-4, 4e-3]),
        (LOGITS, [4e-2, 4e-2, 4e-2]),
        (LOGITS_LOW_PRECISION, [2.0, 2.0, 2.0]),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_each_value_may_be_off_by_the_share_of_its_unit(tolerance: Tolerance, allowed: list[float], place: int) -> None:
    for factor in (0.99, -0.99, 1.01, -1.01):
        found = EXPECTED.clone()
        found[place] += factor * allowed[place]
        verified = compare(found, EXPECTED, tolerance)
        assert verified.agrees is (abs(factor) < 1)
        assert verified.place == place


def test_small_values_are_bounded_absolutely() -> None:
    tiny = torch.tensor([1e-6])
    for tolerance in (LAYER, LOGPROBS, LOGITS):
        assert compare(tiny + 0.9 * tolerance.share, tiny, tolerance).agrees
        assert not compare(tiny + 1.1 * tolerance.share, tiny, tolerance).agrees


@pytest.mark.parametrize("tolerance", [LAYER, LOGPROBS, LOGITS, LOGITS_LOW_PRECISION])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_a_finite_number_never_agrees(tolerance: Tolerance, value: float) -> None:
    found = EXPECTED.clone()
    found[1] = value
    verified = compare(found, EXPECTED, tolerance)
    assert not verified.agrees
    assert verified.place == 1


def test_a_path_that_fails_or_gives_another_shape_does_not_agree() -> None:
    def failing() -> Tensor:
        raise NotImplementedError("no mask is known here")

    assert verify(failing, EXPECTED, LOGPROBS).failure == "no mask is known here"
    assert not verify(failing, EXPECTED, LOGPROBS).agrees
    short = verify(lambda: EXPECTED[:2], EXPECTED, LOGPROBS)
    assert not short.agrees
    assert short.failure == "it gives 2 values instead of 3"
    assert verify(EXPECTED.clone, EXPECTED, LOGPROBS).agrees


def test_an_interruption_is_no_failed_verification() -> None:
    def interrupted() -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify(interrupted, EXPECTED, LOGPROBS)


def test_accelerators_compute_in_low_precision() -> None:
    assert logits_tolerance(torch.device("cpu")) is LOGITS
    assert logits_tolerance(torch.device("cuda")) is LOGITS_LOW_PRECISION


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_mode_is_left_as_it_was_entered(training: bool) -> None:
    module = nn.Sequential(nn.Dropout()).train(training)
    with contextlib.suppress(ValueError), evaluation_mode(module):
        assert not module[0].training
        assert not torch.is_grad_enabled()
        raise ValueError("inside")
    assert module[0].training is training
    assert torch.is_grad_enabled()


def test_no_other_module_compares_a_greatest_difference() -> None:
    """Whoever writes ``(a - b).abs().max() < 1e-3`` states a policy of its own."""
    own = [
        str(path)
        for path in Path(luthier.__file__).parent.rglob("*.py")
        if path.name != "verification.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".abs().max")
    ]
    assert not own
