"""How a task is judged, from its YAML."""

from __future__ import annotations

from luthier.comparison.measure import Yardstick
from luthier.tasks.task import Task


def yardstick_of(task: Task) -> Yardstick:
    """Return the task's metrics, primary output and chance level."""
    return Yardstick(task.name, tuple(task.metrics), task.primary, task.chance)
