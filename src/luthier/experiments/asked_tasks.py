"""The tasks that an evaluation is asked for, by their own names or as members of sets and suites."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from luthier.config.data import EncodingConfig
from luthier.errors import ConfigError, DataError, LuthierError, collecting
from luthier.experiments.named import ALL
from luthier.progress import say
from luthier.tasks.loader import load_task, with_data_settings
from luthier.tasks.names import library_names
from luthier.tasks.schema import Task
from luthier.tasks.suites import suite_tasks
from luthier.tasks.task_sets import PLAIN_TEXT, NamedTask, expand


@dataclass(frozen=True, slots=True)
class AskedTask:
    """A task, and whether it was asked for by its own name: as a member of a set it may be left out."""

    task: Task
    by_name: bool


def named_tasks(names: Sequence[str], folder: Path | None) -> tuple[NamedTask, ...]:
    """Put the members of sets of tasks, and all built-in tasks for the word for them, in their place.

    Args:
        names: What was asked for.
        folder: Of the original files of benchmarks, or None.
    """
    return expand([name for asked in names for name in (_builtin() if asked == ALL else (asked,))], folder)


def load_asked(
    names: Sequence[NamedTask], data: EncodingConfig, faults: list[LuthierError], *, where: str = "tasks"
) -> list[AskedTask]:
    """Load tasks by name.

    Args:
        names: From :func:`named_tasks`.
        data: How their rows are read, and the folder of their files.
        faults: Takes what is wrong with each.
        where: The setting that names them.
    """
    members = [named.name for named in names if not named.by_name and named.name not in library_names()]
    if data.folder is None and members and not suite_tasks().keys().isdisjoint(members):
        # Each of its tasks would say the same.
        what = "the tasks of benchmark suites take their rows from original files, and no folder is named"
        fix = "Name the folder that holds them: --data DIR. `luthier tasks list` and docs/suites.md say which files."
        faults.append(ConfigError(what, where="data.folder", fix=fix))
        return []
    loaded: list[AskedTask] = []
    for named in names:
        with collecting(faults), left_out(named):
            task = with_data_settings(load_task(named.name, data.folder), data)
            loaded.append(AskedTask(task, named.by_name))
    faults += repeated_names([asked.task for asked in loaded], where)
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


def repeated_names(tasks: Sequence[Task], where: str) -> list[LuthierError]:
    """Return a fault for each name that several tasks have: their scores could not be told apart."""
    counts = Counter(task.name for task in tasks)
    return [
        ConfigError(f"{count} tasks are called '{name}'", where=where, fix="Leave one out, or rename it in its YAML.")
        for name, count in counts.items()
        if count > 1
    ]
