"""Kahneman–Tversky optimisation: answers that were judged one by one, good or bad."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from luthier.config.base import Settings
from luthier.data.encoding import Encoder
from luthier.data.preferences import Judged, judged_of
from luthier.models.language_model import LanguageModel
from luthier.objectives.objective import LossSum, MicroBatch, sums_of_answers
from luthier.records import Dropped, Encoded, Example


class KTOSettings(Settings):
    """Settings of KTO."""

    beta: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    """β: the smaller, the farther the model may go from the reference."""
    good_weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Weight of a good answer."""
    bad_weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Weight of a bad answer; the two weights times the numbers of answers should be about equal."""


@dataclass(frozen=True)
class KTO:
    """Good answers are raised above z, bad ones lowered below it (Ethayarajh et al. 2024, arXiv:2402.01306, eq. 8).

    z estimates the divergence from the reference by answers to other prompts: the mean of their log-ratios over the
    whole optimizer step, computed first and without a gradient, and 0 where that is negative. Dropout is off.

    Attributes:
        settings: See there.
        z: Of the step; 0 before it is known.
    """

    name: ClassVar[str] = "kto"
    settings_class: ClassVar[type[Settings]] = KTOSettings
    settings: KTOSettings = field(default_factory=KTOSettings)
    z: float = 0.0

    learns_from: ClassVar[str] = "judged answers"
    rate_factor: ClassVar[float] = 0.05
    needs_reference: ClassVar[bool] = True

    def prepare(self, examples: Iterable[Example], encoder: Encoder) -> Iterator[Judged | Dropped]:
        """Encode the judged answers of each example: of pairs the chosen ones are good and the rejected ones bad."""
        return judged_of(examples, encoder)

    def sequences(self, record: Judged) -> Sequence[Encoded]:
        """Return the answer, and the mismatched one."""
        return (record.answer, record.mismatched)

    def tokens(self, record: Judged) -> int:
        """Return the tokens of both."""
        return sum(len(one.prompt_ids) + len(one.target_ids) for one in self.sequences(record))

    def fitted(self, records: Sequence[Judged], reference: Sequence[Tensor]) -> KTO:
        """Return itself: z is that of each step."""
        return self

    @torch.no_grad()
    def of_step(self, model: LanguageModel, batches: Sequence[MicroBatch[Judged]]) -> KTO:
        """Return it with z of all passes of a step."""
        ratios = [_ratios(model, batch, 1).double() for batch in batches]
        return replace(self, z=max(0.0, float(torch.cat(ratios).mean())))

    @torch.no_grad()
    def gap_at_start(self, model: LanguageModel, batch: MicroBatch[Judged]) -> float:
        """Return how far the mean loss of a batch is from that of a model that is its reference, where z is 0 too."""
        found = float(self.loss(model, batch).total.double()) / len(batch.records)
        weights = [(self.settings.good_weight if own.good else self.settings.bad_weight) for own in batch.records]
        expected = sum(weights) / len(weights) / 2
        return abs(found - expected) / max(1.0, expected, 10 * self.settings.beta)

    def normaliser(self, step: Sequence[Judged]) -> float:
        """Return the answers of a step."""
        return len(step)

    def loss(self, model: LanguageModel, batch: MicroBatch[Judged]) -> LossSum:
        """Return the sum over answers: good w(1 − σ(β(ρ−z))), bad w(1 − σ(β(z−ρ)))."""
        settings = self.settings
        ratios = _ratios(model, batch, 0)
        good = torch.tensor([record.good for record in batch.records], device=ratios.device)
        signs = torch.where(good, 1.0, -1.0)
        weights = torch.where(good, settings.good_weight, settings.bad_weight)
        losses = weights * (1 - torch.sigmoid(settings.beta * signs * (ratios - self.z)))
        found = ratios.detach()
        quantities = {
            "good_ratio": float(found[good].sum()),
            "bad_ratio": float(found[~good].sum()),
            "good_answers": float(good.sum()),
            "z": self.z * len(batch.records),
        }
        return LossSum(losses.sum(), quantities)


def _ratios(model: LanguageModel, batch: MicroBatch[Judged], which: int) -> Tensor:
    """Return the log-ratio (nats) of each record's answer (0) or mismatched answer (1) to the reference."""
    items = [(record.answer, record.mismatched)[which] for record in batch.records]
    lengths = [len(item.target_ids) for item in items]
    own = sums_of_answers(model.target_logprobs(items), lengths)
    if not batch.reference:
        return own * 0
    known = [
        reference[: len(record.answer.target_ids)] if which == 0 else reference[len(record.answer.target_ids) :]
        for record, reference in zip(batch.records, batch.reference, strict=True)
    ]
    return own - torch.stack([part.sum() for part in known])
