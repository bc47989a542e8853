"""What all objectives on pairs of answers share: a new one names its settings, and gives the loss of each pair."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from luthier.config.base import Settings
from luthier.data.encoding import Encoder
from luthier.data.preferences import Pair, pairs_of
from luthier.models.language_model import LanguageModel
from luthier.objectives.objective import LossSum, MicroBatch, sums_of_answers
from luthier.objectives.pair_losses import PairLogprobs
from luthier.records import Dropped, Encoded, Example

P = TypeVar("P", bound="PairObjective")


class PairSettings(Settings):
    """Settings of every objective on pairs."""

    nll: float = Field(default=0.0, ge=0)
    """What the negative log-likelihood of the chosen answers, in nats per token, is multiplied by; it is added (RPO,
    Pang et al. 2024, arXiv:2404.19733)."""


class BetaSettings(PairSettings):
    """Settings of an objective whose margins are multiplied by β."""

    beta: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    """β: the smaller, the farther the model may go from the reference."""


@dataclass(frozen=True)
class PairObjective(ABC):
    """A loss of each pair, averaged over the pairs of a step, and ``nll`` times the loss of the chosen answers' tokens.

    The mean is over the pairs of the whole optimizer step, and that of tokens over all its chosen answers: passes of
    any size give the same gradient. Dropout is off.
    """

    name: ClassVar[str]
    settings_class: ClassVar[type[PairSettings]]
    settings: PairSettings

    learns_from: ClassVar[str] = "pairs"
    rate_factor: ClassVar[float] = 0.05
    needs_reference: ClassVar[bool] = True

    @abstractmethod
    def losses(self, pairs: PairLogprobs) -> Tensor:
        """Return the loss of each pair, without ``nll``: float32 ``(pairs,)``, differentiable."""

    def prepare(self, examples: Iterable[Example], encoder: Encoder) -> Iterator[Pair | Dropped]:
        """Encode the pairs of each example."""
        return pairs_of(examples, encoder)

    def sequences(self, record: Pair) -> Sequence[Encoded]:
        """Return both answers after their prompt, the chosen one first."""
        return (record.chosen, record.rejected)

    def tokens(self, record: Pair) -> int:
        """Return the tokens of both."""
        return sum(len(side.prompt_ids) + len(side.target_ids) for side in self.sequences(record))

    def fitted(self: P, records: Sequence[Pair], reference: Sequence[Tensor]) -> P:
        """Return itself: a pair's loss does not depend on the others."""
        return self

    def of_step(self: P, model: LanguageModel, batches: Sequence[MicroBatch[Pair]]) -> P:
        """Return itself, likewise."""
        return self

    def normaliser(self, step: Sequence[Pair]) -> float:
        """Return the pairs of a step."""
        return len(step)

    def loss(self, model: LanguageModel, batch: MicroBatch[Pair]) -> LossSum:
        """Return the sum of the losses of the pairs, and what the log shows of them."""
        pairs = self.logprobs(model, batch)
        total = self.losses(pairs).sum()
        nll = -pairs.chosen.sum()
        # The log and the step divide by pairs; this part is to be divided by the chosen answers' tokens.
        per_pair = len(batch.step) / sum(len(pair.chosen.target_ids) for pair in batch.step)
        quantities = _quantities(pairs) | {"chosen_nll": float(nll.detach()) * per_pair}
        if self.settings.nll:
            total = total + self.settings.nll * per_pair * nll
        return LossSum(total, quantities)

    @torch.no_grad()
    def gap_at_start(self, model: LanguageModel, batch: MicroBatch[Pair]) -> float:
        """Return how far the mean loss of a batch, without ``nll``, is from that of a model that is its reference.

        Relative to that loss where it is above 1, and to β where it is above 0.1, which multiplies rounding too.
        """
        zero, one = torch.zeros(1), torch.ones(1)
        expected = float(self.losses(PairLogprobs(zero, zero, zero, zero, one, one)))
        found = float(self.losses(self.logprobs(model, batch)).double().mean())
        beta = float(getattr(self.settings, "beta", 0.0))
        return abs(found - expected) / max(1.0, abs(expected), 10 * beta)

    def logprobs(self, model: LanguageModel, batch: MicroBatch[Pair]) -> PairLogprobs:
        """Compute the log-probabilities of the answers of a batch."""
        sides = [side for pair in batch.records for side in self.sequences(pair)]
        lengths = [len(side.target_ids) for side in sides]
        own = sums_of_answers(model.branch_logprobs([self.sequences(pair) for pair in batch.records]), lengths)
        compared = self.needs_reference and batch.reference
        reference = sums_of_answers(torch.cat(list(batch.reference)), lengths) if compared else torch.zeros_like(own)
        tokens = own.new_tensor(lengths)
        return PairLogprobs(own[::2], own[1::2], reference[::2], reference[1::2], tokens[::2], tokens[1::2])


def _quantities(pairs: PairLogprobs) -> dict[str, float]:
    """Return what the log shows, summed over the pairs: log-ratios to the reference, or log-probabilities without."""
    chosen, rejected = pairs.chosen_ratio.detach(), pairs.rejected_ratio.detach()
    return {
        "margin": float((chosen - rejected).sum()),
        "pair_accuracy": float((chosen > rejected).sum()),
        "chosen_ratio": float(chosen.sum()),
        "rejected_ratio": float(rejected.sum()),
    }
