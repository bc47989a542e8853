"""Settings: points between the base and a trained model."""

from __future__ import annotations

from collections.abc import Iterable

BASE, TRAINED = 0.0, 1.0
"""The ends of the way."""
FURTHEST = 1.5
"""The farthest point beyond what was trained that can be asked for."""


def check_points(points: Iterable[float], *, extrapolate: bool, key: str) -> None:
    """Check that points lie between the base and what was trained, or a little beyond it where that was asked for.

    Args:
        points: On the way: 0 is the base, 1 what was trained.
        extrapolate: Whether points up to `FURTHEST` may be asked for.
        key: What holds them, for the message.

    Raises:
        ValueError: One lies elsewhere; pydantic makes a fault of the settings of it.
    """
    most = FURTHEST if extrapolate else 1.0
    for point in points:
        if not 0 <= point <= most:
            further = "" if extrapolate else f"; `extrapolate: true` (--extrapolate) allows up to {FURTHEST:g}"
            raise ValueError(f"{key}: {point:g} is not from 0 (the base) to {most:g} (1 is what was trained){further}")
