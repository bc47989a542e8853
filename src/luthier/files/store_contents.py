"""What lies in the run store: listed, measured and removed, safely while runs use it.

A run holds a file in ``store/running`` while it lasts. An entry that was used since the oldest of these runs began is
not removed, and neither is one that a process is making. Whatever is removed is made again when it is needed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias

from filelock import FileLock, Timeout

from luthier.errors import ConfigError
from luthier.files.atomic import writing
from luthier.files.store import RECORD, STORE, WORK, About, damage, read_record
from luthier.progress import say

RUNNING = "running"
ANSWERS = "answers"
"""The kind whose entries are single files: the answers of earlier evaluations."""
State: TypeAlias = Literal["finished", "unfinished"]


@dataclass(frozen=True, slots=True)
class Stored:
    """One entry of the store.

    Attributes:
        path: Its folder or file.
        kind: Models, predictions, texts …
        state: Unfinished where a run is making it, or was stopped while it did.
        about: What it was made for; empty where that is not recorded.
        made: When it was finished; None where that is not known.
        used: When it was last made or read.
        size: In bytes.
    """

    path: Path
    kind: str
    state: State
    about: About
    made: datetime | None
    used: datetime
    size: int


@dataclass(frozen=True, slots=True)
class Unwanted:
    """What is to be removed: entries that fulfil every condition.

    Attributes:
        kind: Of this kind; "" for any.
        run: Made for this run; "" for any.
        unused_days: Not used for so many days.
        unfinished: Left by runs that were stopped.
        damaged: Whose files are not what was written.
    """

    kind: str = ""
    run: str = ""
    unused_days: float = 0.0
    unfinished: bool = False
    damaged: bool = False

    def names(self, item: Stored, now: datetime) -> bool:
        """Whether an entry is unwanted; the dearest question comes last."""
        return (
            (not self.kind or item.kind == self.kind)
            and (not self.run or item.about.run == self.run)
            and (now - item.used).total_seconds() >= self.unused_days * 86400
            and (not self.unfinished or item.state == "unfinished")
            and (not self.damaged or (item.state == "finished" and item.kind != ANSWERS and bool(damage(item.path))))
        )


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What was removed, and what was not because a run may need it."""

    removed: tuple[Stored, ...]
    in_use: tuple[Stored, ...]


def stored(out: Path) -> list[Stored]:
    """Return the entries of the store below ``out``, by kind and then by age; what vanishes meanwhile is left out."""
    found = []
    for kind in sorted(path for path in (out / STORE).glob("*") if path.is_dir() and path.name != RUNNING):
        for path in kind.iterdir():
            with contextlib.suppress(FileNotFoundError):
                found += _stored(path, kind.name)
    return sorted(found, key=lambda item: (item.kind, item.made or item.used))


def _stored(path: Path, kind: str) -> list[Stored]:
    state: State = "unfinished" if path.suffix == WORK else "finished"
    is_entry = path.is_dir() if kind != ANSWERS else path.suffix == ".jsonl"
    if not is_entry or path.name.startswith("."):
        return []
    about, made = About(), None
    if (path / RECORD).exists():
        with contextlib.suppress(ValueError):
            record = read_record(path)
            about, made = record.about, record.made
    files = [path] if path.is_file() else [inner for inner in path.rglob("*") if inner.is_file()]
    found = [file.stat() for file in files]
    # The time of a finished entry's folder is that of its last use; in one that is being made, files are written.
    used = max([path.stat().st_mtime, *(one.st_mtime for one in found if state == "unfinished")])
    size = sum(one.st_size for one in found)
    return [Stored(path, kind, state, about, made, datetime.fromtimestamp(used, UTC), size)]


def refuse_place_in_store(place: Path, key: str) -> None:
    """Check that a user's own files are not to be written into a store.

    Args:
        place: A folder that is to be made.
        key: The setting that names it.

    Raises:
        ConfigError: When it lies in a store.
    """
    resolved = place.absolute()
    for folder in (resolved, *resolved.parents):
        if folder.name.casefold() == STORE and (folder / RUNNING).is_dir():
            what = f"{place} lies in the store of results that runs share ({folder})"
            raise ConfigError(
                what, where=key, fix="Choose another folder: what lies there is removed by `store clean`."
            )


@contextlib.contextmanager
def using_store(out: Path, *, remake_damaged: bool = False) -> Iterator[None]:
    """Say to whoever cleans the store that a run is using it.

    Args:
        out: Folder of runs.
        remake_damaged: First remove the entries whose files are not what was written.

    Raises:
        ConfigError: When the folder lies in the store of another one.
        StoreError: When a damaged entry cannot be removed.
    """
    refuse_place_in_store(out, "runs")
    folder = out / STORE / RUNNING
    lock = FileLock(folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.lock")
    with contextlib.suppress(OSError):  # a store that may only be read cannot be cleaned either
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        if remake_damaged:
            for item in clean(out, Unwanted(damaged=True), running=lock).removed:
                say(f"{item.path}: its files are not what was written; removed, to be made again")
        yield
    finally:
        with contextlib.suppress(OSError):
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def clean(out: Path, unwanted: Unwanted, *, only_say: bool = False, running: FileLock | None = None) -> Cleaned:
    """Remove what is unwanted from the store.

    Args:
        out: Folder of runs.
        unwanted: What is removed.
        only_say: Find out what would be removed, and remove nothing.
        running: The caller's own, where it is itself a run.

    Raises:
        StoreError: When it cannot be removed.
    """
    oldest = _oldest_run(out / STORE / RUNNING, running)
    now = datetime.now(UTC)
    removed: list[Stored] = []
    in_use: list[Stored] = []
    for half in () if only_say else (out / STORE).glob("*/.removing-*"):
        shutil.rmtree(half, ignore_errors=True)  # what a killed process was removing
    for item in stored(out):
        if unwanted.names(item, now):
            may_be_needed = oldest is not None and item.used >= oldest and not unwanted.damaged
            gone = not may_be_needed and (only_say or _remove(item))
            (removed if gone else in_use).append(item)
    return Cleaned(tuple(removed), tuple(in_use))


def _oldest_run(folder: Path, own: FileLock | None) -> datetime | None:
    """Return when the oldest of the present runs began; what runs that were killed left is removed."""
    began = []
    for path in folder.glob("*.lock"):
        if own is not None and path == Path(own.lock_file):
            continue
        lock = FileLock(path)
        with contextlib.suppress(FileNotFoundError):
            since = path.stat().st_mtime
            try:
                lock.acquire(timeout=0)
            except Timeout:
                began.append(datetime.fromtimestamp(since, UTC))
            else:
                path.unlink(missing_ok=True)
                lock.release()
    return min(began, default=None)


def _remove(item: Stored) -> bool:
    """Remove an entry, unless a process is making it, or has used it since we looked."""
    name = item.path.name.removesuffix(WORK)
    lock = FileLock(item.path.with_name(f"{name}.lock"))
    with writing(item.path):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        try:
            if not item.path.exists() or datetime.fromtimestamp(item.path.stat().st_mtime, UTC) > item.used:
                return False
            if item.path.is_file():
                item.path.unlink()
            else:
                # First another name, so that nobody finds half of it.
                going = item.path.with_name(f".removing-{item.path.name}-{os.getpid()}")
                item.path.rename(going)
                shutil.rmtree(going)
            return True
        finally:
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()
