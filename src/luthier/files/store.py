"""The run store: results keyed by everything that they depend on, finished atomically, found again.

    out/store/<kind>/<key>/          a finished entry: its files, and `entry.json`
    out/store/<kind>/<key>.work/     one that is being made: checkpoints, half a log; a killed run goes on from it

An entry's folder gets its final name only when it is whole, so what exists is complete. `entry.json` holds what the key
was made of, what the entry was made for and when, and a digest of every file: nothing is read that does not match it.
The time of the folder is that of its last use.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from luthier.errors import LuthierError, StoreError
from luthier.files.atomic import finish_folder, writing
from luthier.files.digests import digest, file_digest
from luthier.progress import say

STORE = "store"
"""Name of the store's folder, inside the folder of the runs that share it."""
RECORD = "entry.json"
WORK = ".work"
REMAKE = "Remove this folder, or add --remake-damaged; the same command makes it again."


@dataclass(frozen=True, slots=True)
class About:
    """What an entry was made for; no part of its key.

    Attributes:
        task: Name of the task.
        arm: Name of the arm; "" where it belongs to none.
        run: Name of the run; others may use the entry as well.
    """

    task: str = ""
    arm: str = ""
    run: str = ""


UNSAID = About()
"""For nothing in particular."""


@dataclass(frozen=True, slots=True)
class Record:
    """What `entry.json` says.

    Attributes:
        about: What the entry was made for.
        made: When, in UTC.
        inputs: Everything that the key was made of.
        files: Digest of each file, by its path inside the entry.
    """

    about: About
    made: datetime
    inputs: dict[str, Any]
    files: dict[str, str]


@dataclass(frozen=True, slots=True)
class Entry:
    """The place of one result.

    Attributes:
        folder: Where it lies once finished.
        work: Where it is made; survives a kill.
        inputs: Everything that the key was made of.
        about: What it is made for.
    """

    folder: Path
    work: Path
    inputs: Mapping[str, Any]
    about: About = UNSAID

    @property
    def key(self) -> str:
        """Digest of the inputs."""
        return self.folder.name

    @property
    def finished(self) -> bool:
        """Whether the result is there, whole; who asks means to use it, and that is noted."""
        with contextlib.suppress(OSError):  # not there, or a store that may only be read
            os.utime(self.folder)
        return self.folder.is_dir()

    def checked(self, name: str) -> Path:
        """Return a file or a folder of the finished entry, after checking that it holds what was written.

        Raises:
            StoreError: When a file was changed, added or removed.
        """
        wrong = damage(self.folder, name)
        if wrong:
            raise StoreError(f"the stored result is damaged ({wrong})", where=str(self.folder), fix=REMAKE)
        return self.folder / name

    @contextlib.contextmanager
    def held(self, label: str) -> Iterator[None]:
        """Be the only process that makes this result; another one waits here, and may find it finished afterwards.

        Args:
            label: What is being made, for the message to the one that waits.

        Raises:
            StoreError: When the store cannot be written.
        """
        lock = FileLock(self.folder.with_name(self.folder.name + ".lock"))
        with writing(self.work):
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                say(f"{label}: another process is at it; waiting")
                lock.acquire()
        try:
            if not self.finished:
                with writing(self.work):
                    self.work.mkdir(exist_ok=True)
            yield
        finally:
            Path(lock.lock_file).unlink(missing_ok=True)  # before the release: who waits takes a file of its own
            lock.release()

    def finish(self) -> None:
        """Give the work its final name.

        Raises:
            StoreError: When the store cannot be written.
        """
        with writing(self.work):
            record = {
                "about": asdict(self.about) | {"made": datetime.now(UTC).isoformat(timespec="seconds")},
                "files": _digests(self.work),
                "inputs": self.inputs,
            }
            text = json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False)
            (self.work / RECORD).write_text(text + "\n", encoding="utf-8")
            finish_folder(self.work, self.folder)


def open_entry(out: Path, kind: str, inputs: Mapping[str, Any], about: About = UNSAID) -> Entry:
    """Return the place of a result; nothing is written before it is made.

    Args:
        out: Folder of runs.
        kind: Of the result.
        inputs: Everything that it depends on, as JSON can hold it.
        about: What it is made for.
    """
    folder = out / STORE / kind / digest(inputs)
    return Entry(folder, folder.with_name(folder.name + WORK), inputs, about)


def read_record(folder: Path) -> Record:
    """Read what a finished entry says of itself.

    Raises:
        ValueError: When it says nothing, or says what does not belong to its key.
    """
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        about, files, inputs = dict(found["about"]), dict(found["files"]), dict(found["inputs"])
        made = datetime.fromisoformat(about.pop("made"))
        record = Record(About(**about), made, inputs, files)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"{RECORD} is missing or unreadable") from None
    if digest(inputs) != folder.name:
        raise ValueError(f"{RECORD} does not belong to this folder")
    return record


def damage(folder: Path, name: str = "") -> str:
    """Say in a few words what is wrong with a finished entry, or with one file or folder in it; "" when nothing is."""
    try:
        recorded = read_record(folder).files
        found = _digests(folder, name)
    except (OSError, ValueError) as fault:
        return str(fault)
    expected = {file: known for file, known in recorded.items() if not name or _within(file, name)}
    if name and not expected:
        return f"{name} was never written"
    wrong = sorted(file for file in expected.keys() | found.keys() if expected.get(file) != found.get(file))
    if not wrong:
        return ""
    what = "is missing" if wrong[0] not in found else "was added" if wrong[0] not in expected else "was changed"
    return f"{wrong[0]} {what}" + (f", and {len(wrong) - 1} more" if len(wrong) > 1 else "")


def _digests(folder: Path, name: str = "") -> dict[str, str]:
    """Return the digests of the files of an entry, or of one file or folder in it."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {
        file: file_digest(path)
        for file, path in sorted(paths.items())
        if file != RECORD and (not name or _within(file, name))
    }


def _within(file: str, name: str) -> bool:
    return file == name or file.startswith(f"{name}/")


@contextlib.contextmanager
def reading(entry: Entry) -> Iterator[None]:
    """Turn what is wrong with a finished entry into an error that says which folder to remove.

    Raises:
        StoreError: When a file of the entry is missing or damaged.
    """
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, LuthierError) as fault:
        if isinstance(fault, StoreError) and fault.fix == REMAKE:
            raise
        reason = fault.what if isinstance(fault, LuthierError) and fault.what else str(fault)
        raise StoreError(
            f"the stored result is damaged ({next(iter(reason.splitlines()), type(fault).__name__)})",
            where=str(entry.folder),
            fix=REMAKE,
        ) from None
