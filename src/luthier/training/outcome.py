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
    """Say that the loss of the last tenth of the steps is above that of the first tenth; "" where it is not.

    Where there are rewards, they are compared, of which more is better: the loss is about 0 at every step then.
    """
    lines = read_log(log)
    of = "reward" if any("reward" in line for line in lines) else "loss"
    values = [float(value) for line in lines if isinstance(value := line.get(of), int | float)]
    if len(values) < _ENOUGH_STEPS:
        return ""
    part = max(1, len(values) // 10)
    first, last = sum(values[:part]) / part, sum(values[-part:]) / part
    if (last <= first) if of == "loss" else (last >= first):
        return ""
    figures = f"{of} {first:.3f} at first, {last:.3f} at the end"
    return f"training ended worse than it began ({figures}). {lower_rate()}, or train longer."
