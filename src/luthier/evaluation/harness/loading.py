"""Tasks of lm-eval by name: a task, group or tag of its own, or a YAML or a folder of YAMLs of the user's."""

from __future__ import annotations

import contextlib
import difflib
import io
import logging
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets.exceptions import DatasetsError
from lm_eval.tasks import TaskManager
from lm_eval.tasks._index import Entry, Kind, TaskIndex
from lm_eval.tasks._yaml_loader import load_yaml

from luthier.errors import DataError, LuthierError, TaskError, collecting, first_line, raise_faults
from luthier.evaluation.harness.library import add_members, library, members_of
from luthier.evaluation.programs.code_eval import CodeEval, instead_of_evaluates, judges_by_it
from luthier.evaluation.programs.run import require_confinement
from luthier.tasks.names import HARNESS, YAML, is_path
from luthier.user_path import user_path

_RANDOM_SEED, _NUMPY_SEED = 0, 1234
"""Those of `lm_eval.simple_evaluate`: some tasks shuffle their choices when they are made."""
_SUGGESTED = 5


@dataclass(frozen=True)
class Loaded:
    """What a list of names stands for.

    Attributes:
        tasks: lm-eval's tasks, each once.
        groups: Its groups that have an aggregate, members before those that hold them.
    """

    tasks: tuple[Any, ...]
    groups: tuple[Any, ...]


def load_tasks(names: Sequence[str], *, data: Path | None, run_code: bool = False) -> Loaded:
    """Load tasks of lm-eval with their documents.

    Args:
        names: Without ``lm_eval:``.
        data: Folder in which the files of local YAMLs, and copies of data sets of the Hub, are found first.
        run_code: Whether answers that are programs may be run.

    Raises:
        TaskError: A name is not known, or its task cannot be used here.
        DataError: A data set cannot be read.
        Faults: Several of them.
    """
    faults: list[LuthierError] = []
    tasks: dict[str, Any] = {}
    groups: dict[str, Any] = {}
    for name in names:
        with collecting(faults), quiet():
            manager, wanted = _open(name)
            found = _build(manager, wanted, name, data, run_code=run_code)
            tasks |= found["tasks"]
            groups |= {group.name: group for group in _from_the_leaves(found["groups"])}
    raise_faults("tasks of lm-eval cannot be used", faults)
    return Loaded(tuple(tasks.values()), tuple(group for group in groups.values() if group.has_aggregation))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let lm-eval and `datasets` write nothing: what matters of it is in the errors."""
    sink, before = io.StringIO(), logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with contextlib.redirect_stderr(sink), contextlib.redirect_stdout(sink), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def as_seeded_by_lm_eval() -> Iterator[None]:
    """Draw as `simple_evaluate` does with its default seeds, for a single task; what was before is restored."""
    own, theirs = random.getstate(), np.random.get_state()  # lm-eval's tasks draw from the global state
    random.seed(_RANDOM_SEED)
    np.random.seed(_NUMPY_SEED)
    try:
        yield
    finally:
        random.setstate(own)
        np.random.set_state(theirs)


def _open(name: str) -> tuple[TaskManager, list[str]]:
    """Return an index that knows a name, and the names in it that are meant."""
    if not is_path(name):
        if name not in library():
            raise _unknown(name, list(library()))
        manager = TaskManager(include_defaults=False)
        add_members(manager.task_index, [name])
        return manager, [name]
    path = user_path(name)
    if not path.exists():
        raise TaskError("there is no such file or folder", where=f"{HARNESS}{name}", fix="Check the path.")
    return _open_folder(path, name) if path.is_dir() else _open_file(path, name)


def _open_folder(path: Path, name: str) -> tuple[TaskManager, list[str]]:
    local = TaskManager(include_path=str(path), include_defaults=False)
    wanted = [*local.all_groups, *local.all_subtasks]
    if not wanted:
        fix = f"A task of lm-eval is a file that ends in {YAML[0]} and has `task:` or `group:`."
        raise TaskError("no task of lm-eval is in this folder", where=f"{HARNESS}{name}", fix=fix)
    return _with_members(local, wanted, path), wanted


def _open_file(path: Path, name: str) -> tuple[TaskManager, list[str]]:
    try:
        entry = TaskIndex.entry_from_path(path)
        config = load_yaml(path, resolve_func=False)
    except Exception as error:  # lm-eval raises whatever its YAML reader does
        raise TaskError(f"not a task of lm-eval: {first_line(error)}", where=f"{HARNESS}{name}") from None
    own = config.get("group") if entry is not None and entry.kind is Kind.GROUP else config.get("task")
    if entry is None or not isinstance(own, str):
        fix = "Give it a name: `task: my_task`."
        raise TaskError("not a task of lm-eval: it has no name", where=f"{HARNESS}{name}", fix=fix)
    local = TaskManager(include_defaults=False)
    local.task_index[own] = replace(entry, name=own, cfg=config)
    return _with_members(local, [own], path.parent), [own]


def _with_members(local: TaskManager, wanted: Sequence[str], folder: Path) -> TaskManager:
    """Return an index that has the members of groups too: those beside them, and lm-eval's own."""
    if _missing(local, wanted):
        local = TaskManager(include_path=str(folder), include_defaults=False)
    add_members(local.task_index, _missing(local, wanted))
    return local


def _missing(local: TaskManager, wanted: Sequence[str]) -> list[str]:
    return [child for own in wanted for child in members_of(local.task_index[own]) if child not in local.task_index]


def _unknown(name: str, known: Sequence[str]) -> TaskError:
    near = difflib.get_close_matches(name, known, n=_SUGGESTED, cutoff=0.6)
    hint = f"Did you mean {', '.join(repr(own) for own in near)}? " if near else ""
    return TaskError(
        f"lm-eval has no task, group or tag '{name}'",
        where=f"{HARNESS}{name}",
        fix=f"{hint}`lm_eval ls tasks` lists them.",
    )


def _build(
    manager: TaskManager, wanted: Sequence[str], name: str, data: Path | None, *, run_code: bool
) -> dict[str, Any]:
    """Make the tasks and groups of some names, their data found in ``data`` first."""
    members = {task: entry for own in wanted for task, entry in _members(manager.task_index, own)}
    unsafe = [task for task, entry in members.items() if (entry.cfg or {}).get("unsafe_code")]
    if unsafe:
        _require_leave(name, unsafe, run_code=run_code)
    for task, entry in members.items():
        manager.task_index[task] = _with_data(entry, data, local=is_path(name))
    found: dict[str, Any] = {"tasks": {}, "groups": {}}
    for own in wanted:
        if own in found["tasks"] or own in found["groups"]:
            continue  # a member of a group of the same folder
        try:
            with as_seeded_by_lm_eval(), instead_of_evaluates(lambda: _code_eval(name, wanted, run_code=run_code)):
                built = manager.load([own])
        except Exception as error:  # whatever a task, its functions or its data raise
            raise _fault(name, error, [_data_set(entry) for entry in members.values()]) from None
        found["tasks"] |= built["tasks"]
        found["groups"] |= built["groups"]
    if not found["tasks"]:
        raise TaskError("no task is in this group", where=f"{HARNESS}{name}", fix="Name its tasks: `task: [a, b]`.")
    _require_known_judges(name, found["tasks"], run_code=run_code)
    if seeing := [task for task, built in found["tasks"].items() if getattr(built, "MULTIMODAL", False)]:
        what = f"images or sound are a part of {_listed(seeing)}, and models here read text"
        raise TaskError(what, where=f"{HARNESS}{name}", fix="Leave it out.")
    return found


def _members(index: Mapping[str, Entry], name: str) -> Iterator[tuple[str, Entry]]:
    """Yield the tasks that a name stands for."""
    entry = index.get(name)
    if entry is None:
        return
    if entry.kind in (Kind.TAG, Kind.GROUP):
        for child in members_of(entry):
            yield from _members(index, child)
    else:
        yield name, entry


def _with_data(entry: Entry, data: Path | None, *, local: bool) -> Entry:
    """Return a task whose relative files are found: in the folder of data, then beside its YAML."""
    if entry.yaml_path is None:
        return entry
    config = entry.cfg or {}
    folders = [folder for folder in (data, entry.yaml_path.parent if local else None) if folder is not None]
    found = dict(config)
    if isinstance(config.get("dataset_path"), str):
        found["dataset_path"] = _first(folders, config["dataset_path"])
    arguments = config.get("dataset_kwargs")
    if isinstance(arguments, dict):
        placed = {key: _placed(folders, arguments[key]) for key in ("data_files", "data_dir") if key in arguments}
        found["dataset_kwargs"] = {**arguments, **placed}
    changed = {key: value for key, value in found.items() if value != config.get(key)}
    if not changed:
        return entry
    return replace(entry, yaml_path=None, cfg=load_yaml(entry.yaml_path) | changed)


def _placed(folders: Sequence[Path], files: Any) -> Any:
    if isinstance(files, str):
        return _first(folders, files)
    if isinstance(files, list):
        return [_placed(folders, item) for item in files]
    if isinstance(files, dict):
        return {split: _placed(folders, item) for split, item in files.items()}
    return files


def _first(folders: Sequence[Path], name: str) -> str:
    """Return a relative path in the first folder that has it; others, and names that are no files, as they are."""
    if not name or "://" in name:
        return name
    for folder in folders:
        with contextlib.suppress(OSError, ValueError):
            if any(folder.glob(name)) if "*" in name else (folder / name).exists():
                return str(folder / name)
    return name


def _data_set(entry: Entry) -> str:
    config = entry.cfg or {}
    files = (config.get("dataset_kwargs") or {}).get("data_files")
    return str(files if files else config.get("dataset_path"))


def _fault(name: str, error: Exception, data_sets: Sequence[str]) -> LuthierError:
    """Say what lm-eval, a function of a task or `datasets` raised."""
    where, said = f"{HARNESS}{name}", first_line(error)
    if isinstance(error, LuthierError):
        return error
    if isinstance(error, ImportError):
        missing = getattr(error, "name", None)
        fix = f"pip install {missing}" if missing else "Install what it needs."
        return TaskError(f"lm-eval cannot make it without a package: {said}", where=where, fix=fix)
    if isinstance(error, OSError | DatasetsError):
        named = [own for own in dict.fromkeys(data_sets) if own in said] or list(dict.fromkeys(data_sets))
        return DataError(
            f"the data set {_listed(named)} cannot be read: {said}",
            where=where,
            fix="Load it once with network (it stays in the cache of `datasets`), put a copy of the Hub's data set at "
            "that path in a folder and give the folder by --data, or write a YAML that includes the task's and names "
            "`dataset_path: json` and `data_files`.",
        )
    return TaskError(f"lm-eval cannot make it: {type(error).__name__}: {said}", where=where)


def _require_leave(name: str, tasks: Sequence[str], *, run_code: bool) -> None:
    """Check that programs may be run, and can be without harm."""
    if run_code:
        require_confinement()
        return
    raise TaskError(
        f"the answers to {_listed(tasks)} are programs, and judging them runs code that a model wrote",
        where=f"{HARNESS}{name}",
        fix="Allow it by `luthier eval --run-code`: each program runs in a process of its own, without network, "
        "within limits of time, memory and files.",
    )


def _code_eval(name: str, tasks: Sequence[str], *, run_code: bool) -> CodeEval:
    _require_leave(name, tasks, run_code=run_code)
    return CodeEval()


def _require_known_judges(name: str, tasks: Mapping[str, Any], *, run_code: bool) -> None:
    """Check that tasks whose answers are programs run them by ours, and not in this process."""
    unsafe = {task: built for task, built in tasks.items() if getattr(built, "UNSAFE_CODE", False)}
    if unsafe:
        _require_leave(name, list(unsafe), run_code=run_code)
    others = [task for task, built in unsafe.items() if not any(map(judges_by_it, built._metric_fn_list.values()))]
    if others:
        raise TaskError(
            f"{_listed(others)} would run programs in this process: it does not judge by `code_eval`",
            where=f"{HARNESS}{name}",
            fix="In a container without network: `lm_eval run --confirm_run_unsafe_code`.",
        )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:_SUGGESTED])
    return shown + (f" and {len(names) - _SUGGESTED} more" if len(names) > _SUGGESTED else "")


def _from_the_leaves(groups: Mapping[str, Any]) -> Iterator[Any]:
    """Yield groups after those that they hold."""
    seen: set[str] = set()

    def visit(group: Any) -> Iterator[Any]:
        if group.name not in seen:
            seen.add(group.name)
            for below in group.get_all_groups(recursive=False):
                yield from visit(below)
            yield group

    for group in groups.values():
        yield from visit(group)
