"""Points between the base and a trained model, without training: at 0 the base, at 1 what was trained.

WiSE-FT (Wortsman et al. 2022, arXiv:2109.01903, section 3) mixes the weights of both. A method whose change is linear
is scaled instead, which gives the same model: the update of LoRA, the vectors of IA3, what bottleneck adapters add.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from luthier.config.interpolation import BASE, TRAINED
from luthier.errors import ModelError
from luthier.methods.base import Attached


@runtime_checkable
class Interpolable(Protocol):
    """An attached method that can stand between the base and what was trained."""

    def interpolate(self, at: float) -> None:
        """Let the model compute at a point of the way; at 0 and 1 it is bit for bit the base and what was trained."""


def between(base: Tensor, trained: Tensor, at: float) -> Tensor:
    """Return the tensor at a point of the way from one to the other.

    ``base + at · (trained - base)`` would miss what was trained by a rounding error; the ends here are exact.
    """
    if at == BASE:
        return base
    return trained if at == TRAINED else torch.lerp(base, trained, at)


@torch.no_grad()
def put_between(weight: Tensor, base: Tensor, trained: Tensor, at: float) -> None:
    """Write :func:`between` into a weight, without a tensor of its size beside it where all are on one device."""
    if at in (BASE, TRAINED) or {base.device, trained.device} != {weight.device}:
        weight.copy_(between(base, trained, at))
    else:
        torch.lerp(base, trained, at, out=weight.data)


def interpolable(attached: Attached, *, where: str) -> Interpolable:
    """Return an attached method as one that can stand between base and trained model.

    Raises:
        ModelError: When it has no way to the base.
    """
    if isinstance(attached, Interpolable):
        return attached
    raise ModelError(
        "virtual tokens cannot be interpolated: no values of theirs give the base, which has none",
        where=where,
        fix="Leave `interpolate` out, or use full, selective, lora, adapter or IA3.",
    )
