"""Full fine-tuning: every weight is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

from torch import nn

from luthier.config.base import Settings
from luthier.errors import ModelError
from luthier.files.safetensors_models import read_module
from luthier.methods.base import SearchedSetting, freeze_all_but, load_weights, require_fit
from luthier.models.language_model import LanguageModel


class FullSettings(Settings):
    """Full fine-tuning has no settings of its own."""


class AttachedFull:
    """The model itself, trainable.

    Args:
        model: The model.
        folder: Where its trained weights are stored, if they are.
    """

    in_place: ClassVar[bool] = True

    def __init__(self, model: LanguageModel, folder: Path | None = None) -> None:
        self.model = model
        self.folder = folder
        freeze_all_but(model.module, self.trainable())

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return every parameter; tied ones once."""
        return dict(self.model.module.named_parameters())

    def detach(self) -> None:
        """Read the base weights again from the model's folder."""
        self.model.restore()
        freeze_all_but(self.model.module, {})

    def reattach(self) -> None:
        """Read the trained weights again: a second copy of a whole model is not kept in memory.

        Raises:
            ModelError: When they were never stored.
        """
        if self.folder is None:
            raise ModelError("the trained weights of a whole model were not stored", fix="Save them, then load them.")
        load_weights(self, _read(self.model, self.folder), where=str(self.folder))
        freeze_all_but(self.model.module, self.trainable())

    def merge(self) -> Callable[[], None]:
        """Stop training: the change is in the model's weights already. Undone, they are trainable again."""
        freeze_all_but(self.model.module, {})
        return lambda: freeze_all_but(self.model.module, self.trainable())

    def save(self, folder: Path) -> None:
        """Write a whole model that loads in plain ``transformers``."""
        self.model.module.save_pretrained(folder)
        self.model.tokenizer.save_pretrained(folder)


class Full:
    """See the module."""

    name: ClassVar[str] = "full"
    learning_rate: ClassVar[float] = 1e-4
    settings_class: ClassVar[type[Settings]] = FullSettings
    space: ClassVar[Mapping[str, SearchedSetting]] = {}

    def attach(self, model: LanguageModel, settings: Settings, *, seed: int) -> AttachedFull:
        """Make every weight trainable."""
        return AttachedFull(model)

    def load(self, model: LanguageModel, folder: Path) -> AttachedFull:
        """Put the weights of a stored whole model in place of the base's."""
        tensors = _read(model, folder)
        require_fit(dict(model.module.named_parameters()), tensors, where=str(folder))
        attached = AttachedFull(model, folder)
        load_weights(attached, tensors, where=str(folder))
        return attached


def _read(model: LanguageModel, folder: Path) -> dict[str, nn.Parameter]:
    stored = read_module(type(model.module), folder, dtype=model.module.dtype, refuse_foreign=True)
    return dict(stored.named_parameters())
