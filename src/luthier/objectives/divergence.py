"""The forward KL divergence from the base as a penalty: the trained model is held to what the base would say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from luthier.config.base import Settings
from luthier.kernels.verification import evaluation_mode
from luthier.models.language_model import LanguageModel
from luthier.objectives.base_distribution import (
    TopTokens,
    base_distributions,
    joined,
    kl_from_logits,
    kl_from_top,
    top_tokens,
)
from luthier.objectives.objective import MicroBatch
from luthier.objectives.penalty import PenaltyTerm, Start, Trained
from luthier.records import Encoded


class DivergenceSettings(Settings):
    """Settings of the divergence."""

    weight: float = Field(default=0.1, ge=0)
    """What the divergence, in nats per target token, is multiplied by; 0 adds nothing."""
    on: Literal["replay", "target"] = "replay"
    """The records whose target tokens it is measured at."""


@dataclass(frozen=True)
class Divergence:
    """``weight`` times KL(base || trained), averaged over the target tokens of the chosen records of a step.

    Where the method can be taken off, the base is computed beside the trained model, and the divergence is that over
    the whole vocabulary (Li and Hoiem 2016, arXiv:1606.09282, with the base's distribution for its temperature of 1).
    Where it writes to the base's own weights, the base's distributions are computed before, see
    :mod:`luthier.objectives.base_distribution`.
    """

    name: ClassVar[str] = "kl"
    settings_class: ClassVar[type[Settings]] = DivergenceSettings
    settings: DivergenceSettings = field(default_factory=DivergenceSettings)

    def key_inputs(self) -> list[Any]:
        """Return its name and settings."""
        return [self.name, self.settings.model_dump(mode="json")]

    def start(self, training: Start) -> PenaltyTerm:
        """Compute the base's distributions where that cannot be done later."""
        if not training.in_place:
            return _Divergence(self, training.trained)
        records = [record for record in training.records if self.applies(record)]
        if training.out is None or not self.settings.weight or not records:
            return _Divergence(self, None)
        found = base_distributions(training.model, records, training.computation, out=training.out)
        return _Divergence(self, None, {id(record): own for record, own in zip(records, found, strict=True)})

    def applies(self, record: Encoded) -> bool:
        """Whether it is measured on a record."""
        return bool(record.origin) == (self.settings.on == "replay")


@dataclass(frozen=True)
class _Divergence:
    """The term.

    Attributes:
        penalty: Says how much, and on what.
        trained: The trained weights, where they can be taken off; else None.
        known: The base's distributions by the identity of the record; empty where nothing is trained, and the model is
            its own base.
    """

    penalty: Divergence
    trained: Trained | None
    known: Mapping[int, TopTokens] = field(default_factory=dict)

    def on_weights(self) -> Tensor | None:
        return None

    def on_batch(self, model: LanguageModel, batch: MicroBatch[Any]) -> Tensor | None:
        weight, applies = self.penalty.settings.weight, self.penalty.applies
        records = [record for record in batch.records if applies(record)]
        if not weight or not records:
            return None
        tokens = sum(len(record.target_ids) for record in batch.step if applies(record))
        return weight * self._divergences(model, records).sum() / tokens

    def _divergences(self, model: LanguageModel, records: Sequence[Encoded]) -> Tensor:
        """Return the divergence at each target token: ``(S,)``, in nats."""
        if self.trained is not None:
            base = self._base_logits(model, self.trained, records)
            return kl_from_logits(base, model.target_logits(records))
        logits = model.target_logits(records)
        if not self.known:
            return kl_from_top(top_tokens(logits.detach()), logits)
        return kl_from_top(joined([self.known[id(record)] for record in records]).to(model.device), logits)

    @torch.no_grad()
    def _base_logits(self, model: LanguageModel, trained: Trained, records: Sequence[Encoded]) -> Tensor:
        """Compute the base, without dropout, by taking the trained weights off and putting them on again."""
        trained.detach()
        try:
            with evaluation_mode(model.module):
                return model.target_logits(records)
        finally:
            trained.reattach()
