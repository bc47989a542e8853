"""The losses of one pair of answers, as functions of log-probabilities alone: no model, no tokens, no settings.

Written as c, r for the log-probabilities (nats, sums over the answer's tokens, its end token included) of the chosen
and the rejected answer, c0, r0 for the reference's, and |c|, |r| for their numbers of tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

_SURE = 1e-7
"""A mean log-probability is taken to be at most minus this: the odds of what is certain are not finite."""


@dataclass(frozen=True, slots=True)
class PairLogprobs:
    """Log-probabilities (nats) of some pairs: float32 ``(pairs,)`` each.

    Attributes:
        chosen: Of the better answers; differentiable.
        rejected: Of the others; differentiable.
        chosen_reference: What the reference gives the better answers; zeros where there is none.
        rejected_reference: What it gives the others.
        chosen_tokens: Tokens of the better answers.
        rejected_tokens: Tokens of the others.
    """

    chosen: Tensor
    rejected: Tensor
    chosen_reference: Tensor
    rejected_reference: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor

    @property
    def chosen_ratio(self) -> Tensor:
        """Log-ratio of the better answer to the reference, c − c0."""
        return self.chosen - self.chosen_reference

    @property
    def rejected_ratio(self) -> Tensor:
        """Log-ratio of the other answer to the reference, r − r0."""
        return self.rejected - self.rejected_reference

    @property
    def margin(self) -> Tensor:
        """(c − c0) − (r − r0)."""
        return self.chosen_ratio - self.rejected_ratio

    @property
    def margin_by_token(self) -> Tensor:
        """(c − c0) / |c| − (r − r0) / |r|."""
        return self.chosen_ratio / self.chosen_tokens - self.rejected_ratio / self.rejected_tokens


def preference(margin: Tensor, *, noise: float = 0.0) -> Tensor:
    """Minus the log-probability that the better answer is preferred (Rafailov et al. 2023, arXiv:2305.18290, eq. 7).

    Args:
        margin: β times a margin.
        noise: Share of the pairs that are labelled the wrong way round (cDPO, Mitchell 2023).
    """
    kept = -(1 - noise) * logsigmoid(margin)
    return kept - noise * logsigmoid(-margin) if noise else kept


def robust_preference(margin: Tensor, *, noise: float) -> Tensor:
    """The same, unbiased under labels that are wrong at a known rate (Chowdhury et al. 2024, arXiv:2403.00409)."""
    return (-(1 - noise) * logsigmoid(margin) + noise * logsigmoid(-margin)) / (1 - 2 * noise)


def squared_preference(margin: Tensor, *, beta: float) -> Tensor:
    """Squared distance of a margin from 1/(2β) (IPO, Azar et al. 2023, arXiv:2310.12036, eq. 17)."""
    return (margin - 1 / (2 * beta)).square()


def anchored_up(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Raise the better answer, lower the other: β times their log-ratios (APO-zero, arXiv:2408.06266, eq. 7)."""
    return 1 - torch.sigmoid(chosen) + torch.sigmoid(rejected)


def anchored_down(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Lower both answers, and the other one more (APO-down, D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 8)."""
    return torch.sigmoid(chosen) + 1 - torch.sigmoid(chosen - rejected)


def odds_ratio(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Minus the log-sigmoid of the log odds ratio (ORPO, Hong et al. 2024, arXiv:2403.07691, eq. 7).

    Args:
        chosen: Mean log-probability of a token of the better answer.
        rejected: The same of the other.
    """
    return -logsigmoid((chosen - rejected) - (log1mexp(chosen) - log1mexp(rejected)))


def log1mexp(values: Tensor) -> Tensor:
    """Return log(1 − e^x) of negative numbers without loss of digits (Mächler 2012)."""
    below = values.clamp(max=-_SURE)
    near, far = below.clamp(min=-math.log(2)), below.clamp(max=-math.log(2))
    return torch.where(below > -math.log(2), torch.log(-torch.expm1(near)), torch.log1p(-far.exp()))
