"""The tasks that an evaluation is asked for, by their own names or as members of sets and suites."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from luthier.config.evaluate import EvaluateConfig
from luthier.errors import DataError, LuthierError, collecting
from luthier.experiments.inputs import repeated_names
from luthier.experiments.named import ALL
from luthier.progress import say
from luthier.tasks.loader import load_task, with_data_settings
from luthier.tasks.names import library_names
from luthier.tasks.schema import Task
from luthier.tasks.task_sets import PLAIN_TEXT, NamedTask, expand


@dataclass(frozen=True, slots=True)
class AskedTask:
    """A task, and whether it was asked for by its own name: as a member of a set it may be left out."""

    task: Task
    by_name: bool


def load_asked(config: EvaluateConfig, faults: list[LuthierError]) -> list[AskedTask]:
    """Load tasks by name; sets of tasks, and the word for all built-in tasks, stand for their members.

    Args:
        config: Names them, and the folder of their files.
        faults: Takes what is wrong with each.
    """
    spelled = [name for asked in config.tasks for name in (_builtin() if asked == ALL else (asked,))]
    loaded: list[AskedTask] = []
    for named in expand(spelled, config.data.folder):
        with collecting(faults), left_out(named):
            task = with_data_settings(load_task(named.name, config.data.folder), config.data)
            loaded.append(AskedTask(task, named.by_name))
    faults += repeated_names([asked.task for asked in loaded], "tasks")
    if not loaded and not faults:
        faults.append(nothing_left(config.tasks))
    return loaded


@contextlib.contextmanager
def left_out(asked: AskedTask | NamedTask) -> Iterator[None]:
    """Leave out a member of a set whose rows are missing, and say so; a task asked for by its own name is an error."""
    try:
        yield
    except DataError as fault:
        if asked.by_name:
            raise
        name = asked.task.name if isinstance(asked, AskedTask) else asked.name
        say(f"{name}: left out: {fault.where}: {fault.what}. {fault.fix}")


def nothing_left(names: Sequence[str]) -> LuthierError:
    """Return the error for sets of which every member was left out."""
    what = f"no task of {', '.join(names)} has its rows here"
    return DataError(what, where="tasks", fix="The lines above say what is missing, and where to get it.")


def _builtin() -> tuple[str, ...]:
    return tuple(name for name in library_names() if name != PLAIN_TEXT)
