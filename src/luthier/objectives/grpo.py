"""Group-relative policy optimisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from luthier.objectives.policy_gradient import FloatArray, PolicyGradient, deviations


@dataclass(frozen=True)
class GRPO(PolicyGradient):
    """Advantages in standard deviations of a prompt's rewards, ratios by token (Shao et al. 2024, arXiv:2402.03300).

    The loss is divided by the tokens of all answers of the optimizer step: what TRL calls ``loss_type="dapo"``, its
    default.
    """

    name: ClassVar[str] = "grpo"
    by_token: ClassVar[bool] = True

    def advantages(self, rewards: FloatArray) -> FloatArray:
        """(R − mean) / (std + 1e-4), with Bessel's correction."""
        above, count = deviations(rewards)
        std = np.sqrt((above**2).sum(axis=1, keepdims=True) / np.maximum(count - 1, 1))
        return np.asarray(above / (std + 1e-4))

    def log_ratios(self, tokens: Tensor, lengths: Sequence[int]) -> Tensor:
        """Return those of the tokens."""
        return tokens
