"""Named sets of tasks: lists in ``tasks/library/sets.yaml`` that a name stands for."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from luthier.config.base import Settings
from luthier.config.validation import validate
from luthier.config.yaml_file import load_yaml
from luthier.errors import TaskError
from luthier.tasks.bigbench import bigbench_files
from luthier.tasks.names import BIGBENCH, library_names
from luthier.tasks.suites import averages, is_suite_file, may_name, members_of, read_suite
from luthier.user_path import user_path

SETS = Path(__file__).parent / "library" / "sets.yaml"
PLAIN_TEXT = "plain_text"
"""The built-in text on which token loss is measured; no set holds it."""
EVERYDAY = "everyday"
"""The set on which forgetting is measured when nothing else is asked for."""


class TaskSet(Settings):
    """One named set."""

    description: str
    """What the tasks have in common."""
    tasks: tuple[str, ...]
    """Names of built-in tasks, in order."""


@dataclass(frozen=True, slots=True)
class NamedTask:
    """A task that was asked for, by its own name or as a member of a set.

    Attributes:
        name: Built-in name, YAML, or data file.
        by_name: Whether it was asked for by its own name: then it must be usable, and is not left out in silence.
    """

    name: str
    by_name: bool


@functools.cache
def task_sets() -> dict[str, TaskSet]:
    """Return the named sets."""
    data, lines = load_yaml(SETS, TaskError)
    return {
        name: validate(TaskSet, content, source=f"{SETS}, {name}", lines=lines, error=TaskError)
        for name, content in data.items()
    }


def expand(names: Sequence[str], folder: Path | None = None) -> tuple[NamedTask, ...]:
    """Put the members of each named set in its place; what is named twice stands once, where it is first.

    Args:
        names: Of tasks, sets and suites.
        folder: Of the original files of benchmarks, whose tasks of BIG-bench ``bigbench`` stands for.
    """
    sets = {name: one.tasks for name, one in task_sets().items()}
    found: dict[str, NamedTask] = {}
    for name in names:
        of_suites = may_name(name) and name not in sets and name not in library_names()
        known = {one.name: one.tasks for one in averages().values()} if of_suites else sets
        members = known.get(name, (name,))
        if name == BIGBENCH and folder is not None:
            known, members = {name: bigbench_files(folder)}, bigbench_files(folder) or (name,)
        if is_suite_file(name):
            known, members = {name: ()}, members_of(read_suite(user_path(name)))
        for member in members:
            by_name = name not in known or (member in found and found[member].by_name)
            if member not in found or by_name:
                found[member] = NamedTask(member, by_name)
    return tuple(found.values())
