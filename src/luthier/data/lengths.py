"""Lengths of texts in tokens, summed up for a reader."""

from __future__ import annotations

import numpy as np

PERCENTILES = (0, 50, 90, 99, 100)


def percentiles(lengths: np.ndarray[tuple[int], np.dtype[np.uint32]]) -> tuple[int, ...]:
    """Return the percentiles (:data:`PERCENTILES`) of some lengths; nothing of none."""
    if not len(lengths):
        return ()
    return tuple(int(value) for value in np.percentile(lengths, PERCENTILES, method="higher"))


def joined(values: tuple[int, ...]) -> str:
    """Write percentiles in a cell of a table."""
    return " / ".join(f"{value:,}" for value in values) or "–"
