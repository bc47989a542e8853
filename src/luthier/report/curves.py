"""Training logs, read and thinned for drawing."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from luthier.errors import DataError
from luthier.files.jsonl import numbered_lines

RunKey: TypeAlias = tuple[str, int]
"""One training run: the arm's name and the seed."""
MOST_POINTS = 300
"""Points of one line; more cannot be told apart on a screen."""


@dataclass(frozen=True, slots=True)
class Curve:
    """What one arm's training log says, as ``(step, value)``; steps without the value are left out.

    Attributes:
        loss: Nats per supervised token, averaged over neighbouring steps where there are many.
        validation_loss: Nats per supervised token.
        validation_score: In the unit of ``metric``.
        metric: Name of the validation metric; "" when there was none.
    """

    loss: tuple[tuple[float, float], ...] = ()
    validation_loss: tuple[tuple[float, float], ...] = ()
    validation_score: tuple[tuple[float, float], ...] = ()
    metric: str = ""


def read_curve(path: Path) -> Curve:
    """Read a training log, one JSON object a line.

    Raises:
        DataError: When it cannot be read or a line is damaged; names the line.
    """
    columns: dict[str, list[tuple[float, float]]] = {"loss": [], "validation_loss": [], "validation_score": []}
    metric = ""
    try:
        lines = list(numbered_lines(path))
    except OSError:
        raise DataError("the training log cannot be read", where=str(path), fix="Train the arm again.") from None
    for number, line in lines:
        try:
            entry = json.loads(line)
            step = float(entry["step"])
            for name, points in columns.items():
                value = entry.get(name)
                if value is not None and math.isfinite(float(value)):
                    points.append((step, float(value)))
            metric = str(entry.get("validation_metric") or metric)
        except (ValueError, KeyError, TypeError, AttributeError):
            where = f"{path}, line {number}"
            raise DataError("not a line of a training log", where=where, fix="Train the arm again.") from None
    thinned = {name: tuple(thin(points)) for name, points in columns.items()}
    return Curve(thinned["loss"], thinned["validation_loss"], thinned["validation_score"], metric)


def thin(points: Sequence[tuple[float, float]], most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """Average neighbours until at most ``most`` points are left; each stands at the last step that it averages."""
    neighbours = math.ceil(len(points) / most)
    if neighbours <= 1:
        return list(points)
    parts = [points[start : start + neighbours] for start in range(0, len(points), neighbours)]
    return [(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts]
