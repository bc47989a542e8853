"""Benchmark suites: folders of task files with the rule by which their scores are averaged."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from luthier.config.base import Settings
from luthier.config.validation import validate
from luthier.config.yaml_file import load_yaml
from luthier.errors import TaskError
from luthier.metrics.suite_averages import Average
from luthier.tasks.each import for_value, values_of
from luthier.user_path import user_path

LIBRARY = Path(__file__).parent / "library"
FILE = "suite.yaml"
_NAME = re.compile(r"[\w-]+")


class SuiteSpec(Settings):
    """What the file of a suite may say."""

    description: str
    """What the suite measures."""
    citation: str = ""
    """Whom to cite."""
    files: tuple[str, ...]
    """Task files beside this one, in order."""
    groups: Mapping[str, tuple[str, ...]] = {}
    """Named parts that are averaged by themselves: tasks, earlier groups, or files, which stand for all they hold."""
    members: tuple[str, ...] = ()
    """What the suite's own average is of: tasks, groups or files; every task when not given."""
    average: Literal["macro", "micro"] = "macro"
    """Which average is the suite's published one: over members, or over examples. Both are shown."""
    scores: Mapping[str, tuple[str, ...]] = {}
    """Tasks whose score is the mean of several numbers, with these; of others it is the primary one."""


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite.

    Attributes:
        name: Name of its folder.
        description: What it measures.
        citation: Whom to cite.
        tasks: For every task the file that holds it, and the value of the file's ``each`` ("" for none), in order.
        averages: By name: of its groups, and its own last.
    """

    name: str
    description: str
    citation: str
    tasks: Mapping[str, tuple[Path, str]]
    averages: Mapping[str, Average]


def read_suite(path: Path) -> Suite:
    """Read the file of a suite.

    Raises:
        TaskError: When something in it is wrong.
    """
    data, lines = load_yaml(path, TaskError)
    spec = validate(SuiteSpec, data, source=str(path), lines=lines, error=TaskError)
    by_file = {name: _tasks_of(path.parent / name) for name in spec.files}
    tasks = {name: place for held in by_file.values() for name, place in held.items()}
    name = path.parent.name
    members = {**spec.groups, name: spec.members or tuple(tasks)}
    averages: dict[str, Average] = {}
    for group, listed in members.items():
        resolved = tuple(one for item in listed for one in (by_file.get(item) or (item,)))
        unknown = [item for item in resolved if item not in tasks and item not in averages]
        if unknown:
            raise TaskError(f"'{unknown[0]}' is no task, file or earlier group of the suite", where=f"{path}, {group}")
        every = tuple(dict.fromkeys(one for item in resolved for one in _resolved(item, averages)))
        averages[group] = Average(group, resolved, every, spec.average, spec.scores)
    return Suite(name, spec.description, spec.citation, tasks, averages)


def _resolved(member: str, averages: Mapping[str, Average]) -> tuple[str, ...]:
    return averages[member].tasks if member in averages else (member,)


def _tasks_of(path: Path) -> dict[str, tuple[Path, str]]:
    """Return the names of the tasks that a file holds, with the value that each is made for."""
    data, _ = load_yaml(path, TaskError)
    _, values = values_of(data, str(path))
    head: dict[str, Any] = {key: data[key] for key in ("each", "name") if key in data}
    return {str(for_value(head, value, str(path))[0]["name"]): (path, value) for value in values or ("",)}


def is_suite_file(name: str) -> bool:
    """Whether a name is that of a suite's file."""
    return Path(name).name == FILE and user_path(name).is_file()


def members_of(suite: Suite) -> tuple[str, ...]:
    """Return the tasks of a suite as a list of tasks names them."""
    return tuple(f"{path}#{value}" if value else str(path) for path, value in suite.tasks.values())


def may_name(name: str) -> bool:
    """Whether a suite, a group or a task of one can be called so: what names a file needs none of them read."""
    return _NAME.fullmatch(name) is not None


@functools.cache
def library_suites() -> dict[str, Suite]:
    """Return the suites that come with Luthier, by name."""
    return {path.parent.name: read_suite(path) for path in sorted(LIBRARY.glob(f"*/{FILE}"))}


@functools.cache
def suite_tasks() -> dict[str, tuple[Path, str]]:
    """Return every benchmark task by name: the file that holds it, and the value of its ``each`` ("" for none).

    Those of a suite, and those of folders that are no suite.
    """
    apart = [path for path in sorted(LIBRARY.glob("*/*.yaml")) if not (path.parent / FILE).is_file()]
    held = [suite.tasks for suite in library_suites().values()]
    return {name: place for tasks in (*held, *map(_tasks_of, apart)) for name, place in tasks.items()}


@functools.cache
def averages() -> dict[str, Average]:
    """Return every average of the suites by its name, which stands for its tasks wherever tasks are listed."""
    return {name: average for suite in library_suites().values() for name, average in suite.averages.items()}
