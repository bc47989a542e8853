"""The share of probability that a model gives to all true answers together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from luthier.metrics.choice.calibration import choice_probabilities
from luthier.metrics.metric import FloatArray, Metric, mean_of, with_count
from luthier.records import Prediction


def truth_mass_metric() -> Metric:
    """Probability of the choices that are targets, among all choices: MC2 of Lin et al. (2022), TruthfulQA, §3.2.

    A choice that stands twice is counted twice, above and below.
    """

    def statistics(predictions: Sequence[Prediction]) -> FloatArray:
        return with_count([_mass(prediction) for prediction in predictions])

    return Metric("truth_mass", ("truth_mass",), "truth_mass", True, "", statistics, mean_of)


def _mass(prediction: Prediction) -> float:
    true = np.array([choice in prediction.targets for choice in prediction.choices])
    return float(choice_probabilities(prediction)[true].sum())
