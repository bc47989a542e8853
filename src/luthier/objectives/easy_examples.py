"""Cross-entropy with a weight for each example, greater where the base's loss is low."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from luthier.models.language_model import LanguageModel
from luthier.objectives.cross_entropy import CrossEntropy, cross_entropy
from luthier.objectives.objective import LossSum, MicroBatch
from luthier.records import Encoded


@dataclass(frozen=True)
class EasyExamples(CrossEntropy):
    """Cross-entropy times the weight ``exp(-l / tau)`` of the example, divided by the mean weight (FLOW).

    ``l`` is the base's loss on the example, in nats per target token, and tau the median of all (Sanyal et al. 2025,
    arXiv:2502.02797, algorithm 1): examples that the base already does well hold it where it is. The weights are found
    once, before the first step. Without them, as on the validation split, it is cross-entropy.

    Attributes:
        tau: Median loss of the base; 0 before it is known.
        mean: Mean of the weights before they are divided by it.
    """

    name: ClassVar[str] = "easy_examples"
    tau: float = 0.0
    mean: float = 1.0

    @property
    def needs_reference(self) -> bool:
        """It weighs by the base's log-probabilities."""
        return True

    def fitted(self, records: Sequence[Encoded], reference: Sequence[Tensor]) -> EasyExamples:
        """Return it with the median loss and the mean weight of these records."""
        losses = [_loss(own) for own in reference]
        tau = statistics.median(losses)
        if tau <= 0:  # the base knows every answer: all weigh the same
            return self
        return replace(self, tau=tau, mean=math.fsum(math.exp(-loss / tau) for loss in losses) / len(losses))

    def weight(self, reference: Tensor) -> float:
        """Return the weight of a record whose target tokens have these log-probabilities (nats) in the base."""
        return math.exp(-_loss(reference) / self.tau) / self.mean

    def loss(self, model: LanguageModel, batch: MicroBatch[Encoded]) -> LossSum:
        """Return the weighted sum of the negative log-probabilities (nats) of the target tokens."""
        if not self.tau or not batch.reference:
            return LossSum(cross_entropy(model, batch.records))
        weights = [self.weight(own) for own in batch.reference]
        lengths = [len(record.target_ids) for record in batch.records]
        losses = -model.target_logprobs(batch.records)  # (target tokens,)
        each = torch.repeat_interleave(losses.new_tensor(weights), losses.new_tensor(lengths, dtype=torch.int64))
        return LossSum((each * losses).sum(), {"unweighted_loss": float(losses.detach().sum())})


def _loss(reference: Tensor) -> float:
    return -float(reference.double().mean())
