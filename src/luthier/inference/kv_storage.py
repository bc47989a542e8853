"""Keys and values of running sequences in slots of one size: written in place, resized when a batch outgrows them."""

from __future__ import annotations

import torch
from torch import Tensor

from luthier.inference.custom_attention import KeyValues


class KVStorage:
    """One tensor of keys and one of values for each layer, ``(slots, key heads, slot size, head size)``.

    Attributes:
        rows: Number of slots.
        size: Tokens that a slot holds.
        keys: By layer; a layer's tensor is allocated when the layer is first written to.
        values: The same.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.size = 0
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}

    def resize(self, rows: int, size: int, *, used_rows: int, used: int) -> None:
        """Reallocate the slots.

        Args:
            rows: New number of slots.
            size: New number of tokens of a slot.
            used_rows: The first slots, whose contents are kept.
            used: The first tokens of each slot, which are kept.
        """
        self.rows, self.size = rows, size
        for tensors in (self.keys, self.values):
            for layer, old in tensors.items():
                # Layer by layer, so that only one layer is ever held twice.
                new = old.new_zeros(rows, old.shape[1], size, old.shape[3])
                new[:used_rows, :, :used] = old[:used_rows, :, :used]
                tensors[layer] = new

    def write(self, slot: int, new: KeyValues) -> None:
        """Write the first tokens of a slot."""
        for tensors, own in ((self.keys, new.keys), (self.values, new.values)):
            for layer, part in own.items():
                if layer not in tensors:
                    tensors[layer] = part.new_zeros(self.rows, part.shape[0], self.size, part.shape[2])
                tensors[layer][slot, :, : part.shape[1]] = part

    def copy(self, into: Tensor, source: Tensor, used: int) -> None:
        """Copy the first tokens of slots, ``source``, to other slots, ``into``: int64 ``(moved,)``."""
        for tensors in (self.keys, self.values):
            for held in tensors.values():
                held[into, :, :used] = held[source, :, :used]


def device_index(places: list[int], device: torch.device) -> Tensor:
    """Return indices as an int64 tensor on a device."""
    return torch.tensor(places, dtype=torch.int64, device=device)
