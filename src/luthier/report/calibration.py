"""How far each arm's confidence can be trusted, from the logged probabilities of choices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from luthier.errors import LuthierError
from luthier.metrics.choice.calibration import ReliabilityBin, reliability
from luthier.records import Prediction

BINS = 10
"""Bins of equal width; more of them hold too few of a test split's examples."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """One arm's reliability diagram, from the lowest confidence to the highest."""

    bins: tuple[ReliabilityBin, ...]

    @property
    def n(self) -> int:
        """Predictions in all bins."""
        return sum(one.n for one in self.bins)

    @property
    def ece(self) -> float:
        """Expected calibration error over these bins (Guo et al. 2017): the mean distance from the diagonal."""
        return sum(one.n * abs(one.accuracy - one.confidence) for one in self.bins if one.n) / self.n


def calibrations(
    logs: Mapping[str, Mapping[str, Prediction]],
) -> tuple[dict[str, Calibration], tuple[str, ...]]:
    """Measure every arm whose predictions carry the log-probabilities of choices.

    Args:
        logs: For each arm its predictions by id.

    Returns:
        The arms that could be measured, and what is wrong with the predictions of those that could not. Free text has
        no confidence and is passed over.
    """
    found, gaps = {}, []
    for arm, log in logs.items():
        predictions = list(log.values())
        if not any(prediction.choice_logprobs for prediction in predictions):
            continue
        try:
            found[arm] = Calibration(reliability(predictions, bins=BINS))
        except LuthierError as fault:
            gaps.append(f"The calibration of {arm} is left out. {fault}")
    return found, tuple(gaps)
