"""Verify that a fast, merged, converted or stored form of a model gives the numbers of its reference: one policy.

Many architectures accept what a fast path hands to them and silently compute something else with it, so every path is
compared with a slow reference before it is used. This module is the only place that says how two sets of numbers are
compared and how far apart they may be; each entry of the policy below states what it is for and why its share is what
it is. A wrong path is off by tenths, so all of them leave a wide gap between rounding and error.

============================  =======================================  =================  =====
policy                        quantity compared                        relative to        share
============================  =======================================  =================  =====
:data:`LAYER`                 outputs of one layer, float32            one                1e-5
:data:`LOGPROBS`              log-probabilities (nats), float32        each value         1e-4
:data:`LOGITS`                logits of one token, float32             the largest logit  1e-3
:data:`LOGITS_LOW_PRECISION`  logits of one token, bf16 products       the largest logit  5e-2
============================  =======================================  =================  =====

Values below one are taken as one in every case, so that a share is also an absolute bound near zero. Quantised weights
(CTranslate2's int8) have no entry: they change the numbers on purpose, so the converted model is verified in float32,
and its quality in int8 is what an evaluation measures.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from luthier.errors import first_line

COMPUTATION_ERRORS = (
    TypeError,
    ValueError,
    RuntimeError,
    AttributeError,
    NotImplementedError,
    IndexError,
    KeyError,
)
"""What a foreign architecture raises when it is asked for something that it cannot compute."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How two tensors of one shape are compared.

    Attributes:
        share: The greatest difference that is accepted, in the unit that ``relative_to`` gives.
        relative_to: ``"one"``: the absolute difference; ``"each value"``: each difference is divided by the expected
            value at its place; ``"the largest"``: by the largest expected value. Magnitudes below one count as one.
    """

    share: float
    relative_to: Literal["one", "each value", "the largest"]


LAYER = Tolerance(1e-5, "one")
"""One layer of eight units, with inputs near one: a single rounding of float32 is 1e-7."""
LOGPROBS = Tolerance(1e-4, "each value")
"""Log-probabilities of the same float32 weights through another path: other kernels, other batches, another library.

Each value is a score that users read, so each is bounded by itself. Rounding over dozens of layers stays below 1e-5.
"""
LOGITS = Tolerance(1e-3, "the largest")
"""Logits in float32 of weights that were rounded anew by a merge, or logits that another machine has stored.

A logit near zero is a difference of large terms and carries their rounding, so all are bounded by the largest.
"""
LOGITS_LOW_PRECISION = Tolerance(5e-2, "the largest")
"""The same where matrix products are computed in bf16, which differ in the third digit."""


def logits_tolerance(device: torch.device) -> Tolerance:
    """Return the tolerance for logits on a device: models compute in float32 on the CPU, in bf16 on accelerators."""
    return LOGITS if device.type == "cpu" else LOGITS_LOW_PRECISION


@dataclass(frozen=True, slots=True)
class Verification:
    """What a comparison with the reference found.

    Attributes:
        difference: The greatest difference, in the unit of ``allowed``; NaN where a value is not a number, infinity
            where nothing could be compared.
        allowed: The greatest difference that is accepted. It is absolute, save for a tolerance that is relative to each
            value.
        place: Index of the worst value in the flattened tensors; None where nothing could be compared.
        failure: Why nothing could be compared; "" otherwise.
    """

    difference: float
    allowed: float
    place: int | None = None
    failure: str = ""

    @property
    def agrees(self) -> bool:
        """Whether the numbers are those of the reference; values that are not numbers never are."""
        return self.difference <= self.allowed


def compare(found: Tensor, expected: Tensor, tolerance: Tolerance) -> Verification:
    """Compare two tensors.

    Args:
        found: Of any shape, with at least one value.
        expected: Of the reference; another shape than that of ``found`` is a failure.
        tolerance: An entry of the policy of this module.
    """
    if found.shape != expected.shape:
        failure = f"it gives {len(found.flatten())} values instead of {len(expected.flatten())}"
        return Verification(float("inf"), tolerance.share, failure=failure)
    apart = (found - expected).abs()
    allowed = tolerance.share
    if tolerance.relative_to == "each value":
        apart = apart / expected.abs().clamp(min=1)
    elif tolerance.relative_to == "the largest":
        allowed *= max(1.0, float(expected.abs().max()))
    return Verification(float(apart.max()), allowed, int(apart.argmax()))


def verify(compute: Callable[[], Tensor], expected: Tensor, tolerance: Tolerance) -> Verification:
    """Compute something by the path under test and compare it; an error of the path is a failed verification."""
    try:
        found = compute()
        return compare(found, expected, tolerance)
    except COMPUTATION_ERRORS as error:
        return Verification(float("inf"), tolerance.share, failure=first_line(error))


@contextlib.contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Compute without dropout and gradients inside; afterwards the module is in the mode that it was in."""
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(training)
