"""Elastic weight consolidation: weights that other tasks rest on are held more firmly than others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from luthier.config.base import Settings
from luthier.files.atomic import writing
from luthier.files.code_digest import code_digest
from luthier.files.store import open_entry, reading
from luthier.models.language_model import LanguageModel
from luthier.objectives.fisher import diagonal_fisher
from luthier.objectives.penalty import Distance, PenaltyTerm, Start
from luthier.records import Encoded

ENTRY_MODULES = ("luthier.objectives.elastic_weights",)
_FILE = "fisher.safetensors"


class ElasticWeightsSettings(Settings):
    """Settings of elastic weight consolidation."""

    weight: float = Field(default=100.0, ge=0)
    """Lambda of the paper; 0 adds nothing."""
    fisher: Literal["sampled", "empirical"] = "sampled"
    """Whether the labels of the Fisher information are sampled from the model, or those of the examples."""
    seed: int = 0
    """Of sampled labels."""


@dataclass(frozen=True)
class ElasticWeights:
    """Half of ``weight`` times the sum of F_i (w_i − w0_i)² over the trained weights of the base (EWC).

    F is the diagonal of the base's Fisher information, per target token, on examples of other tasks (Kirkpatrick et al.
    2017, arXiv:1612.00796, equation 3). It is defined for the base's own weights alone.

    Attributes:
        settings: See there.
        records: The examples of other tasks.
        digest: Of them.
    """

    name: ClassVar[str] = "ewc"
    settings_class: ClassVar[type[Settings]] = ElasticWeightsSettings
    settings: ElasticWeightsSettings = field(default_factory=ElasticWeightsSettings)
    records: Sequence[Encoded] = ()
    digest: str = ""

    def key_inputs(self) -> list[Any]:
        """Return its name and settings, and the digest of the examples."""
        return [self.name, self.settings.model_dump(mode="json"), self.digest]

    def start(self, training: Start) -> PenaltyTerm:
        """Estimate the Fisher information of the base's trained weights, or find it in the store; copy their values."""
        settings, own = self.settings, training.trained.trainable() if training.in_place else {}
        if not settings.weight:
            return Distance((), (), ())
        if training.out is None:
            fisher: Mapping[str, Tensor] = {name: torch.ones_like(weight) for name, weight in own.items()}
        else:
            fisher = self._fisher(training.model, own, training.computation, training.out)
        factors = [settings.weight * fisher[name].to(weight.device) for name, weight in own.items()]
        return Distance(list(own.values()), [weight.detach().clone() for weight in own.values()], factors)

    def _fisher(
        self, model: LanguageModel, weights: Mapping[str, nn.Parameter], computation: Mapping[str, Any], out: Path
    ) -> Mapping[str, Tensor]:
        settings = self.settings
        inputs = {
            "model": model.digest,
            "weights": list(weights),
            "records": self.digest,
            "fisher": settings.model_dump(mode="json", exclude={"weight"}),
            "computation": dict(computation),
            "code": code_digest(ENTRY_MODULES),
        }
        entry = open_entry(out, "fisher", inputs)
        with entry.held("the Fisher information"):
            if not entry.finished:
                found = diagonal_fisher(
                    model, weights, self.records, seed=settings.seed, empirical=settings.fisher == "empirical"
                )
                with writing(entry.work):
                    save_file({name: own.cpu() for name, own in found.items()}, entry.work / _FILE)
                    entry.finish()
        with reading(entry):
            return load_file(entry.checked(_FILE))
