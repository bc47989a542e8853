"""Ways from the base to an adapter of ``peft``, each by what its kind allows: scaled updates, scaled vectors, weights.

LoRA's update is linear in its scale, and IA3's change is linear in its vectors. Any other change that can be folded
into the weights (DoRA's magnitudes, PiSSA's residual base, layers trained whole) is interpolated there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from luthier.config.interpolation import TRAINED
from luthier.methods.interpolation import between, put_between

Way: TypeAlias = Callable[[float], None]
"""Lets the model compute at a point of the way from the base (0) to the adapter (1)."""


@dataclass(frozen=True)
class Folded:
    """An adapter that was folded into weights.

    Attributes:
        weights: Those that it changes.
        base: What they are without the adapter, on their own.
        undo: Restores the base bit for bit and attaches the adapter again.
    """

    weights: Sequence[nn.Parameter | Tensor]
    base: Sequence[Tensor]
    undo: Callable[[], None]


def way_of(
    trainable: Mapping[str, nn.Parameter], layers: Sequence[nn.Module], *, writes: bool, fold: Callable[[], Folded]
) -> Way:
    """Return the way from the base to an attached adapter.

    Args:
        trainable: Its parameters by name.
        layers: Every module that it put into the base.
        writes: Whether it changes the base's own weights too.
        fold: Folds it into the base's weights.
    """
    own = [layer for layer in layers if getattr(layer, "adapter_layer_names", ())]
    if not writes and all("ia3_l" in name for name in trainable):
        return _scaled_vectors(list(trainable.values()))
    if not writes and all("lora_" in name for name in trainable) and all(map(_is_plain_lora, own)):
        return _scaled_updates(own)
    return FoldedWay(fold)


def _is_plain_lora(layer: Any) -> bool:
    """Whether a layer adds an update to its base layer's output, and nothing else."""
    return bool(getattr(layer, "scaling", None)) and not getattr(layer, "lora_variant", None)


def _scaled_updates(layers: Sequence[Any]) -> Way:
    known = [(layer, dict(layer.scaling)) for layer in layers]

    def move(at: float) -> None:
        for layer, scaling in known:
            layer.scaling.update({name: scale * at for name, scale in scaling.items()})

    return move


def _scaled_vectors(vectors: Sequence[nn.Parameter]) -> Way:
    trained = [vector.detach().clone() for vector in vectors]

    @torch.no_grad()
    def move(at: float) -> None:
        for vector, own in zip(vectors, trained, strict=True):
            vector.copy_(between(torch.ones_like(own), own, at))

    return move


class FoldedWay:
    """The way through weights into which the adapter is folded, away from its ends: there it is unfolded again."""

    def __init__(self, fold: Callable[[], Folded]) -> None:
        self._fold = fold
        self._folded: Folded | None = None
        self._trained: list[Tensor] = []

    @property
    def folded(self) -> bool:
        """Whether the adapter is in the weights at present."""
        return self._folded is not None

    @torch.no_grad()
    def __call__(self, at: float) -> None:
        """Move to a point.

        Raises:
            ModelError: When ``peft`` cannot fold this kind into weights.
        """
        if at == TRAINED:
            self._unfold()
            return
        if self._folded is None:
            self._folded = self._fold()
            self._trained = [weight.detach().clone() for weight in self._folded.weights]
        for weight, base, trained in zip(self._folded.weights, self._folded.base, self._trained, strict=True):
            put_between(weight, base, trained, at)

    def _unfold(self) -> None:
        if self._folded is not None:
            for weight, trained in zip(self._folded.weights, self._trained, strict=True):
                weight.copy_(trained)
            self._folded.undo()
        self._folded, self._trained = None, []
