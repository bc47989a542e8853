"""How well a model compresses the right answer: no accuracy is so fine, and none needs other choices."""

from __future__ import annotations

import math
from collections.abc import Sequence

from luthier.metrics.answer_extraction import choice_logprobs
from luthier.metrics.metric import FloatArray, Metric, mean_of, with_count
from luthier.records import Prediction

NAME = "answer_bits_per_byte"


def answer_bits_metric() -> Metric:
    """Mean of −log₂ p of the right choice ÷ its UTF-8 bytes; of several right choices the likeliest counts."""

    def statistics(predictions: Sequence[Prediction]) -> FloatArray:
        return with_count([_bits(prediction) for prediction in predictions])

    return Metric(NAME, (NAME,), NAME, False, "", statistics, mean_of, scale=None)


def _bits(prediction: Prediction) -> float:
    found = zip(prediction.choices, choice_logprobs(prediction, NAME), strict=True)
    right = [
        -float(logprob) / math.log(2) / max(len(choice.encode("utf-8", "surrogatepass")), 1)
        for choice, logprob in found
        if choice in prediction.targets
    ]
    return min(right, default=math.nan)
