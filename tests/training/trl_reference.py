"""What tests share that hold a training against one of ``trl``: its loss and gradient, and its weights after steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import transformers
from torch import Tensor

# TRL recomputes activations unless told otherwise; transformers has renamed the setting within version 5.
RECOMPUTING = next(
    name
    for name in ("activation_checkpointing", "gradient_checkpointing")
    if name in transformers.TrainingArguments.__dataclass_fields__
)


def weights_of(made: Any) -> dict[str, Tensor]:
    """Return a copy of the weights of a trainer's model."""
    return {key: weight.detach().clone() for key, weight in made.model.named_parameters()}


def loss_and_gradient(made: Any, batch: Any, weights: Mapping[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
    """Return the loss that a trainer gives to a batch at some weights, and their gradient."""
    theirs = dict(made.model.named_parameters())
    _put(theirs, weights)
    loss = made.compute_loss(made.model, batch)
    loss.backward()
    return float(loss.detach()), {key: theirs[key].grad for key in weights}


def weights_after(
    made: Any, batch: Any, start: Mapping[str, Tensor], trained: Iterable[str], *, rate: float, steps: int
) -> dict[str, Tensor]:
    """Return the trained weights of a trainer's model after some steps of one batch, by the AdamW of our settings."""
    theirs = dict(made.model.named_parameters())
    _put(theirs, start)
    optimizer = torch.optim.AdamW([theirs[key] for key in trained], lr=rate, eps=1e-2, weight_decay=0.0)
    for _ in range(steps):
        optimizer.zero_grad()
        made.compute_loss(made.model, batch).backward()
        optimizer.step()
    return {key: theirs[key].detach() for key in trained}


@torch.no_grad()
def _put(theirs: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    for key, weight in weights.items():
        theirs[key].copy_(weight)
