"""REINFORCE, leave one out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from luthier.objectives.objective import sums_of_answers
from luthier.objectives.policy_gradient import FloatArray, PolicyGradient, deviations


@dataclass(frozen=True)
class RLOO(PolicyGradient):
    """Advantages over the mean of the other answers, ratios by answer (Ahmadian et al. 2024, arXiv:2402.14740).

    The loss is divided by the answers of the optimizer step. TRL subtracts β times the divergence from the reward;
    here it is a term of the loss, as it is with every objective on rewards.
    """

    name: ClassVar[str] = "rloo"
    by_token: ClassVar[bool] = False

    def advantages(self, rewards: FloatArray) -> FloatArray:
        """R − the mean of the others, which is n / (n − 1) times what it is above the mean of all n."""
        above, count = deviations(rewards)
        return np.asarray(above * count / np.maximum(count - 1, 1))

    def log_ratios(self, tokens: Tensor, lengths: Sequence[int]) -> Tensor:
        """Return the sum over each answer."""
        return sums_of_answers(tokens, lengths)
