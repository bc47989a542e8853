"""How a task is judged."""

from __future__ import annotations

from luthier.comparison.measure import Yardstick
from luthier.tasks.task import Task


def yardstick_of(task: Task) -> Yardstick:
    """Return the task's metrics, primary output and chance level."""
    return Yardstick(task.name, tuple(task.metrics), task.primary, task.chance)


def context_of(task: Task, shots: int) -> dict[str, str]:
    """Return what a score depends on besides the metric; it joins the signature."""
    return {"task": f"{task.name}-v{task.version}", "split": "test", "shots": str(shots), "prompt": task.digest[:8]}
