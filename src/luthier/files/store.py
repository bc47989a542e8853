"""The run store: results keyed by everything that they depend on, finished atomically, found again.

    out/store/<kind>/<key>/          a finished entry: its files, and `entry.json` with what the key was made of
    out/store/<kind>/<key>.work/     one that is being made: checkpoints, half a log; a killed run goes on from it

An entry's folder gets its final name only when it is whole, so what exists is complete.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from luthier.errors import LuthierError, StoreError
from luthier.files.atomic import finish_folder, writing
from luthier.files.digests import digest
from luthier.progress import say


@dataclass(frozen=True, slots=True)
class Entry:
    """The place of one result.

    Attributes:
        folder: Where it lies once finished.
        work: Where it is made; survives a kill.
        inputs: Everything that the key was made of.
    """

    folder: Path
    work: Path
    inputs: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Digest of the inputs."""
        return self.folder.name

    @property
    def finished(self) -> bool:
        """Whether the result is there, whole."""
        return self.folder.is_dir()

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
            text = json.dumps(self.inputs, indent=2, sort_keys=True, ensure_ascii=False)
            (self.work / "entry.json").write_text(text + "\n", encoding="utf-8")
            finish_folder(self.work, self.folder)


def open_entry(out: Path, kind: str, inputs: Mapping[str, Any]) -> Entry:
    """Return the place of a result; nothing is written before it is made."""
    folder = out / "store" / kind / digest(inputs)
    return Entry(folder, folder.with_name(folder.name + ".work"), inputs)


@contextlib.contextmanager
def reading(entry: Entry) -> Iterator[None]:
    """Turn what is wrong with a finished entry into an error that says which folder to remove.

    Raises:
        StoreError: When a file of the entry is missing or damaged.
    """
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, LuthierError) as fault:
        reason = fault.what if isinstance(fault, LuthierError) and fault.what else str(fault)
        raise StoreError(
            f"the stored result is damaged ({reason.splitlines()[0]})",
            where=str(entry.folder),
            fix="Remove this folder; the same command makes it again.",
        ) from None
