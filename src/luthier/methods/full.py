"""Full fine-tuning: every weight is trained."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from torch import nn

from luthier.config import Settings
from luthier.methods.base import freeze_all_but, load_weights, require_fit
from luthier.models.language_model import LanguageModel
from luthier.models.pretrained import read_module


class FullSettings(Settings):
    """Full fine-tuning has no settings of its own."""


class AttachedFull:
    """The model itself, trainable."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        freeze_all_but(model.module, self.trainable())

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return every parameter; tied ones once."""
        return dict(self.model.module.named_parameters())

    def detach(self) -> None:
        """Read the base weights again from the model's folder."""
        self.model.restore()
        freeze_all_but(self.model.module, {})

    def save(self, folder: Path) -> None:
        """Write a whole model that loads in plain ``transformers``."""
        self.model.module.save_pretrained(folder)
        self.model.tokenizer.save_pretrained(folder)


class Full:
    """See the module."""

    name: ClassVar[str] = "full"
    learning_rate: ClassVar[float] = 1e-4
    settings_class: ClassVar[type[Settings]] = FullSettings

    def attach(self, model: LanguageModel, settings: Settings, *, seed: int) -> AttachedFull:
        """Make every weight trainable."""
        return AttachedFull(model)

    def load(self, model: LanguageModel, folder: Path) -> AttachedFull:
        """Put the weights of a stored whole model in place of the base's."""
        stored = read_module(type(model.module), folder, dtype=model.module.dtype, refuse_foreign=True)
        tensors = dict(stored.named_parameters())
        require_fit(dict(model.module.named_parameters()), tensors, where=str(folder))
        attached = AttachedFull(model)
        load_weights(attached, tensors, where=str(folder))
        return attached
