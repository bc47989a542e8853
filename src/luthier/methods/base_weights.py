"""The base's own weights while an adapter is on: whatever writes to them is taken off again, bit for bit.

Some adapters change the base. PiSSA and OLoRA subtract from it what they put into the adapter, ``bias: all`` trains its
biases, and a file may hold its whole embedding or head. While such an adapter is on, the parameters point at changed
tensors; the originals are never written to, and taking the adapter off points back at them. Nothing is copied for an
adapter that leaves the base alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from luthier.models.language_model import LanguageModel


@dataclass(frozen=True)
class _Held:
    """A tensor of the base as it was before: the parameter or buffer, its data, and a checksum of its bits."""

    name: str
    tensor: Tensor
    own: Tensor
    checksum: int

    @property
    def exchanged(self) -> bool:
        """Whether the parameter points at other data than its own."""
        return self.tensor.data_ptr() != self.own.data_ptr() or self.tensor.shape != self.own.shape


class BaseWeights:
    """The weights of a base, held before an adapter is put on it.

    Args:
        base: The module, without an adapter.
    """

    def __init__(self, base: nn.Module) -> None:
        tensors = (*base.named_parameters(), *base.named_buffers())
        self._held = [_Held(name, tensor, tensor.data, _checksum(tensor.data)) for name, tensor in tensors]
        self._adapted: list[tuple[Tensor, Tensor]] = []

    @property
    def exchanged(self) -> list[str]:
        """Names of the weights that are not the base's own at present."""
        return [held.name for held in self._held if held.exchanged]

    def own_of(self, tensor: Tensor, otherwise: Tensor) -> Tensor:
        """Return the base's own data of a tensor whose data was exchanged; of any other, what is given."""
        return next((held.own for held in self._held if held.tensor is tensor and held.exchanged), otherwise)

    def apart_from(self, tensors: Iterable[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Return the exchanged tensors that are none of these, each with the base's own data."""
        known = {id(tensor) for tensor in tensors}
        return [(held.tensor, held.own) for held in self._held if held.exchanged and id(held.tensor) not in known]

    def give_copies(self, tensors: Iterable[Tensor] | None = None) -> None:
        """Let those of the tensors that are the base's be written to, or all: they point at copies from now on."""
        wanted = None if tensors is None else {id(tensor) for tensor in tensors}
        for held in self._held:
            if (wanted is None or id(held.tensor) in wanted) and not held.exchanged:
                held.tensor.data = held.own.clone()

    def drop_equal_copies(self) -> None:
        """Point at the base's own weights where nothing wrote to the copy."""
        for held in self._held:
            if held.exchanged and _checksum(held.tensor) == held.checksum and torch.equal(held.tensor, held.own):
                held.tensor.data = held.own

    def take_off(self) -> None:
        """Point at the base's own weights, and remember the changed ones."""
        self._adapted = [(held.tensor, held.tensor.data) for held in self._held if held.exchanged]
        for held in self._held:
            if held.exchanged:
                held.tensor.data = held.own

    def put_on(self) -> None:
        """Point at the changed weights again."""
        for tensor, adapted in self._adapted:
            tensor.data = adapted
        self._adapted = []

    @property
    def written(self) -> list[str]:
        """Names of the base's own tensors that something wrote to: pointing at them does not bring the base back."""
        return [held.name for held in self._held if _checksum(held.own) != held.checksum]


def give_back(model: LanguageModel, weights: BaseWeights) -> None:
    """Leave a model as it was before something failed to be put on it; what was written to is read from its folder."""
    weights.take_off()
    if weights.written:
        model.restore()


def _checksum(tensor: Tensor) -> int:
    """Sum a tensor's bits, eight bytes at a time where they allow it: fast, and NaN is a number like any other."""
    flat = tensor.detach().reshape(-1).view(torch.uint8)
    whole = len(flat) % 8 == 0 and flat.storage_offset() % 8 == 0
    return int(flat.view(torch.int64).sum() if whole else flat.sum(dtype=torch.int64))
