"""Full fine-tuning: every weight is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import torch
from safetensors import safe_open
from torch import Tensor, nn

from luthier.config.base import Settings
from luthier.config.interpolation import TRAINED
from luthier.errors import ModelError
from luthier.files.safetensors_models import read_module, tensor_shapes, weight_files
from luthier.methods.base import SearchedSetting, freeze_all_but, load_weights, require_fit
from luthier.methods.interpolation import put_between
from luthier.models.language_model import LanguageModel

_NOT_STORED = "the trained weights of a whole model were not stored"


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
        self._base: dict[str, nn.Parameter] = {}
        freeze_all_but(model.module, self.trainable())

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return every parameter; tied ones once."""
        return dict(self.model.module.named_parameters())

    def detach(self) -> None:
        """Read the base weights again from the model's folder."""
        self._base = {}
        self.model.restore()
        freeze_all_but(self.model.module, {})

    def reattach(self) -> None:
        """Read the trained weights again: a second copy of a whole model is not kept in memory.

        Raises:
            ModelError: When they were never stored.
        """
        if self.folder is None:
            raise ModelError(_NOT_STORED, fix="Save them, then load them.")
        load_weights(self, _read(self.model, self.folder), where=str(self.folder))
        freeze_all_but(self.model.module, self.trainable())

    @torch.no_grad()
    def interpolate(self, at: float) -> None:
        """Mix the base's weights and the trained ones.

        The base is kept in memory from the first time on, so that no later point reads it again; trained weights are
        read from their file, tensor by tensor.

        Raises:
            ModelError: When the trained weights were never stored.
        """
        own = self.trainable()
        if not self._base:
            if at == TRAINED:
                return
            base = read_module(type(self.model.module), self.model.folder, dtype=self.model.module.dtype)
            self._base = dict(base.named_parameters())
        for name, trained in self._stored():
            put_between(own[name], self._base[name], trained, at)

    def _stored(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the trained weights by name; one after another, where the file has the names that the module has."""
        if self.folder is None:
            raise ModelError(_NOT_STORED, fix="Save them, then load them.")
        if tensor_shapes(self.folder) != {name: tuple(weight.shape) for name, weight in self.trainable().items()}:
            yield from _read(self.model, self.folder).items()
            return
        for path in weight_files(self.folder):
            with safe_open(path, framework="pt") as file:
                yield from ((name, file.get_tensor(name)) for name in file.keys())  # noqa: SIM118

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
    starts_as_base: ClassVar[bool] = True
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
