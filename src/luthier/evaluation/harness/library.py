"""lm-eval's own tasks, groups and tags by name, from an index that is made once and kept: making it reads 14,000 files.

<cache>/lm_eval/index-<digest of the files' names, sizes and times>.json     name → [kind, YAML, members]
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lm_eval.tasks
from lm_eval.tasks import TaskManager
from lm_eval.tasks._index import Entry, Kind
from lm_eval.tasks._yaml_loader import load_yaml

from luthier.errors import StoreError
from luthier.files.atomic import write_atomically
from luthier.files.digests import digest
from luthier.user_path import cache_root

_TASKS = Path(lm_eval.tasks.__file__).parent
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Known:
    """What the index keeps of a name.

    Attributes:
        kind: ``TASK``, ``PY_TASK``, ``GROUP`` or ``TAG``.
        yaml: Its file below lm-eval's tasks; "" for a tag.
        members: Names that a group or a tag stands for.
    """

    kind: str
    yaml: str
    members: tuple[str, ...]

    def entry(self, name: str) -> Entry:
        """Return it as lm-eval has it in its own index."""
        if not self.yaml:
            return Entry(name, Kind[self.kind], None, tags=set(self.members))
        path = _TASKS / self.yaml
        return Entry(name, Kind[self.kind], path, cfg=load_yaml(path, resolve_func=False))


def add_members(index: dict[str, Entry], names: Sequence[str]) -> None:
    """Add tasks, groups and tags of lm-eval's own to an index, with all that they stand for.

    Args:
        index: Of a :class:`lm_eval.tasks.TaskManager`; what is in it stays.
        names: What is added; names that are not lm-eval's are passed over.
    """
    known, left = library(), list(names)
    while left:
        name = left.pop()
        if name not in index and name in known:
            index[name] = known[name].entry(name)
            left += known[name].members


@functools.cache
def library() -> Mapping[str, Known]:
    """Return everything that lm-eval knows by name."""
    path = cache_root() / "lm_eval" / f"index-{digest([_FORMAT, *_files()])}.json"
    with contextlib.suppress(OSError, ValueError, TypeError):
        found = json.loads(path.read_text(encoding="utf-8"))
        return {name: Known(kind, yaml, tuple(members)) for name, (kind, yaml, members) in found.items()}
    known = {name: _known(entry) for name, entry in TaskManager().task_index.items()}
    text = json.dumps({name: [own.kind, own.yaml, own.members] for name, own in known.items()})
    with contextlib.suppress(StoreError):  # a cache that cannot be written is made again
        write_atomically(path, text)
    return known


def members_of(entry: Entry) -> Iterator[str]:
    """Yield the names that a group or a tag stands for, those of groups that are spelled out inside it too."""
    if entry.kind is Kind.TAG:
        yield from sorted(entry.tags)
    elif entry.kind is Kind.GROUP:
        yield from _named_in(entry.cfg or {})


def _named_in(group: Mapping[str, Any]) -> Iterator[str]:
    listed = group.get("task") or []
    for child in listed if isinstance(listed, list) else [listed]:
        if isinstance(child, dict):
            yield from (child[key] for key in ("task", "group") if isinstance(child.get(key), str))
            yield from _named_in(child) if isinstance(child.get("task"), list) else ()
        elif isinstance(child, str):
            yield child


def _known(entry: Entry) -> Known:
    yaml = "" if entry.yaml_path is None else entry.yaml_path.relative_to(_TASKS).as_posix()
    return Known(entry.kind.name, yaml, tuple(members_of(entry)))


def _files() -> Iterator[tuple[str, int, int]]:
    """Yield name, size and time of each YAML that may hold a task, or a part of one."""
    for folder, below, names in os.walk(_TASKS):
        below.sort()
        for name in sorted(names):
            if not name.endswith((".py", ".pyc", ".md")):
                status = os.stat(os.path.join(folder, name))  # noqa: PTH116, PTH118  # 14,000 files
                yield f"{folder}/{name}", status.st_size, status.st_mtime_ns
