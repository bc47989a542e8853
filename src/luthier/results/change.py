"""A paired difference, with its interval and what a test says of it."""

from __future__ import annotations

from dataclasses import dataclass

from luthier.records import Variance


@dataclass(frozen=True, slots=True)
class Change:
    """A paired difference, ``after - before`` or ``arm - other``.

    Attributes:
        value: The difference, in the metric's unit; over seeds, the mean of the differences at each seed.
        low: Lower end of its confidence interval; NaN when there is none. Never corrected for other comparisons.
        high: Upper end; NaN when there is none.
        p_value: Two-sided; after Holm's correction where several comparisons are made together. NaN when not tested.
        n: Pairs of examples.
        significant: Whether ``p_value`` is below ``1 - confidence``.
        confidence: Level of the interval, as a share.
        variance: What the interval and the test hold.
        spread: Standard deviation of the difference over training runs (seeds); None for a single run.
        detectable: Smallest true difference that would have been found with 80 % power, at the level that is left
            after correction; NaN when unknown, None where it was not recorded.
    """

    value: float
    low: float
    high: float
    p_value: float
    n: int
    significant: bool
    confidence: float = 0.95
    variance: Variance = "examples"
    spread: float | None = None
    detectable: float | None = None
