"""What a training came to: weights that are numbers, and a loss that went down."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from luthier.config.advice import lower_rate
from luthier.errors import DivergenceError
from luthier.files.safetensors_models import all_finite
from luthier.training.log import read_log

# Below this many steps, the losses of single batches say nothing.
_ENOUGH_STEPS = 8


def require_finite(weights: Mapping[str, Tensor], *, step: int) -> None:
    """Check the weights that a step left: the loss of that step was computed before it.

    Raises:
        DivergenceError: When a weight is NaN or infinite.
    """
    for name, weight in weights.items():
        if not all_finite(weight):
            what = f"the weights are not finite after the step ({name})"
            raise DivergenceError(what, where=f"step {step}", fix=f"{lower_rate()}; the last checkpoint is kept.")


def ended_worse(log: Path) -> str:
    """Say that the loss of the last tenth of the steps is above that of the first tenth; "" where it is not."""
    found = [line.get("loss") for line in read_log(log)]
    losses = [float(loss) for loss in found if isinstance(loss, int | float)]
    if len(losses) < _ENOUGH_STEPS:
        return ""
    part = max(1, len(losses) // 10)
    first, last = sum(losses[:part]) / part, sum(losses[-part:]) / part
    if last <= first:
        return ""
    figures = f"loss {first:.3f} at first, {last:.3f} at the end"
    return f"training ended worse than it began ({figures}). {lower_rate()}, or train longer."
