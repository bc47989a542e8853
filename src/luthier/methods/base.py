"""The interface of methods: attach to a loaded model, name the trainable parameters, detach and attach again.

Freezing, counting, copying and checking tensors are written here once, for every method.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from luthier.config.base import Settings
from luthier.errors import LuthierError, ModelError, raise_faults
from luthier.files.foreign import foreign
from luthier.files.safetensors_models import all_finite
from luthier.models.language_model import LanguageModel

_FIX = "Load the base that it was trained on, or train it again."


class Attached(Protocol):
    """A method on a model. While it is attached, the model computes with it."""

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return the parameters that training changes, by a name that is stable across processes."""

    def detach(self) -> None:
        """Take the method off; the base is bit-identical to what it was."""

    def reattach(self) -> None:
        """Put the method on again, as it was when it was taken off; the same bits come out."""

    def save(self, folder: Path) -> None:
        """Write the method's own files into a folder, in the ecosystem's layout."""


@dataclass(frozen=True, slots=True)
class SearchedSetting:
    """A setting of a method that a hyper-parameter search may choose.

    Attributes:
        values: The candidates.
        default: The candidate that is used without a search.
        unless: Settings that exclude it from the search when they are given, because they replace it.
    """

    values: tuple[int, ...]
    default: int
    unless: tuple[str, ...] = ()


class Method(Protocol):
    """One way to adapt a model. A new one is one module, one line in ``methods/registry.py``, and its name.

    One whose untrained instance leaves the model as it is, whatever its settings and its seed, says ``starts_as_base =
    True``: what is known of the base is known of its start then.

    Attributes:
        name: What the user calls it.
        learning_rate: The peak learning rate when the user gives none.
        settings_class: Its own settings.
        space: The search space of its settings, by the setting's name.
    """

    name: ClassVar[str]
    learning_rate: ClassVar[float]
    settings_class: ClassVar[type[Settings]]
    space: ClassVar[Mapping[str, SearchedSetting]]

    def attach(self, model: LanguageModel, settings: Settings, *, seed: int) -> Attached:
        """Put a fresh, untrained instance on the model; its random weights come from the seed alone."""

    def load(self, model: LanguageModel, folder: Path) -> Attached:
        """Put a stored instance on the model."""


def writes_to_base(attached: Attached) -> bool:
    """Whether a method trains the base's own weights where they are, so that the base cannot be computed with."""
    return bool(getattr(attached, "in_place", False))


def base_weights_of(attached: Attached) -> dict[str, nn.Parameter]:
    """Return the base's own weights that a method trains where they are, by their names in the base; none of others."""
    return attached.trainable() if writes_to_base(attached) else {}


def virtual_tokens(settings: Settings) -> int:
    """Return how many tokens of context a method takes from every prompt: those of a soft prompt, else none."""
    return int(getattr(settings, "virtual_tokens", 0))


def freeze_all_but(module: nn.Module, trainable: Mapping[str, nn.Parameter]) -> None:
    """Let gradients flow to the given parameters only."""
    chosen = {id(parameter) for parameter in trainable.values()}
    for parameter in module.parameters():
        parameter.requires_grad_(id(parameter) in chosen)


def count(parameters: Mapping[str, nn.Parameter]) -> int:
    """Return the number of weights."""
    return sum(parameter.numel() for parameter in parameters.values())


def snapshot(attached: Attached) -> dict[str, Tensor]:
    """Copy the trainable weights to the CPU."""
    return {name: parameter.detach().to("cpu", copy=True) for name, parameter in attached.trainable().items()}


def load_weights(attached: Attached, tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Copy stored weights into the trainable parameters, bit for bit.

    Raises:
        ModelError: When tensors are missing, foreign or of another shape; all of them are listed.
    """
    own = attached.trainable()
    require_fit(own, tensors, where=where)
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(tensors[name])


@runtime_checkable
class InOtherUnits(Protocol):
    """A method that trains its weights in other units than it stores them in."""

    def in_units(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return stored tensors by the names of the trained ones, in their units."""


def begin_with(attached: Attached, stored: Mapping[str, Tensor], *, where: str) -> None:
    """Let a method begin with the weights of a stored one, bit for bit.

    Args:
        attached: Fresh.
        stored: What a snapshot of the stored one holds.
        where: For messages.

    Raises:
        ModelError: When tensors are missing, foreign or of another shape; all of them are listed.
    """
    load_weights(attached, attached.in_units(stored) if isinstance(attached, InOtherUnits) else stored, where=where)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file of trained weights.

    Raises:
        ModelError: When it is missing or damaged, or holds numbers that are not finite.
    """
    if not path.is_file():
        raise ModelError(f"no {path.name}", where=str(path.parent), fix="Give a whole adapter folder.")
    with foreign("damaged", where=str(path), fix="Fetch or train it again."):
        tensors = load_file(path)
    for name, tensor in tensors.items():
        if not all_finite(tensor):
            what = f"tensor '{name}' has numbers that are not finite"
            raise ModelError(what, where=str(path), fix="Fetch it again, or train it at a lower learning rate.")
    return tensors


def require_fit(own: Mapping[str, Tensor], stored: Mapping[str, Tensor], *, where: str) -> None:
    """Check that stored tensors have exactly the expected names and shapes.

    Raises:
        ModelError: When tensors are missing, foreign or of another shape; all of them are listed.
    """
    faults: list[LuthierError] = []
    for name in sorted(own.keys() - stored.keys()):
        faults.append(ModelError(f"tensor '{name}' {tuple(own[name].shape)} is missing", where=where, fix=_FIX))
    for name in sorted(stored.keys() - own.keys()):
        faults.append(ModelError(f"tensor '{name}' belongs to nothing in this model", where=where, fix=_FIX))
    for name in sorted(own.keys() & stored.keys()):
        if own[name].shape != stored[name].shape:
            shapes = f"{tuple(stored[name].shape)}, the model has {tuple(own[name].shape)}"
            faults.append(ModelError(f"tensor '{name}' has shape {shapes}", where=where, fix=_FIX))
    raise_faults(f"{where} does not fit the model", faults)
