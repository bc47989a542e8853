"""How well the model predicts the reference: token loss, perplexity and bits per byte, from logged probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from luthier.errors import DataError
from luthier.metrics.answer_extraction import choice_logprobs
from luthier.metrics.metric import FloatArray, Metric, divide
from luthier.records import Prediction


def _statistics(predictions: Sequence[Prediction]) -> FloatArray:
    """Compute the columns: nats, tokens and UTF-8 bytes of the reference, float64 ``(n, 3)``."""
    return np.array([_row(prediction) for prediction in predictions], dtype=np.float64)


def _row(prediction: Prediction) -> tuple[float, int, int]:
    values = choice_logprobs(prediction, "perplexity")
    if prediction.targets[0] not in prediction.choices or len(prediction.choice_tokens) != len(values):
        raise DataError(
            "The log-probability or the token count of the first target was not logged.",
            where=f"prediction '{prediction.id}'",
            fix="Log the target among `choices`, with its `choice_logprobs` and `choice_tokens`.",
        )
    at = prediction.choices.index(prediction.targets[0])
    return -float(values[at]), prediction.choice_tokens[at], len(prediction.choices[at].encode("utf-8", "replace"))


def _aggregate(sums: FloatArray) -> FloatArray:
    nats, tokens, size = sums[..., 0], sums[..., 1], sums[..., 2]
    token_loss = divide(nats, tokens)
    with np.errstate(over="ignore"):
        perplexity = np.exp(token_loss)
    return np.stack([token_loss, perplexity, divide(nats, size) / math.log(2)], axis=-1)


def perplexity_metric() -> Metric:
    """Nats per token, perplexity (end token included) and bits per UTF-8 byte of the first target, over the corpus.

    Only bits per byte can be compared between models with different tokenisers.
    """
    outputs = ("token_loss", "perplexity", "bits_per_byte")
    return Metric("perplexity", outputs, "bits_per_byte", False, "", _statistics, _aggregate, scale=None)
