"""The run store: results keyed by everything that they depend on, finished atomically, found again.

    out/store/<kind>/<key>/          a finished entry: its files, and `entry.json` with what the key was made of
    out/store/<kind>/<key>.work/     one that is being made: checkpoints, half a log; a killed run goes on from it

An entry's folder gets its final name only when it is whole, so what exists is complete.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from luthier.errors import LuthierError, StoreError
from luthier.progress import say

_LIBRARIES = ("torch", "transformers", "tokenizers", "peft")


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


def digest(value: Any) -> str:
    """Return a digest of anything that JSON can hold; keys are sorted."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def file_digest(path: Path) -> str:
    """Return a digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


@functools.cache
def code_digest(rooms: Sequence[str]) -> str:
    """Return a digest of the source of some rooms and of the libraries that compute for them.

    Results of other code are not found again.
    """
    root = Path(__file__).parent
    hashed = hashlib.blake2b(digest_size=8)
    for library in _LIBRARIES:
        hashed.update(f"{library}=={version(library)}".encode())
    for room in rooms:
        for path in sorted((root / room).rglob("*.py")):
            hashed.update(str(path.relative_to(root)).encode())
            hashed.update(path.read_bytes())
    return hashed.hexdigest()


@contextlib.contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turn what the file system refuses into an error that says where and what to do."""
    try:
        yield
    except OSError as fault:
        raise _refused(fault.strerror or str(fault), Path(fault.filename or place)) from None
    except SafetensorError as fault:  # how safetensors reports a full disk
        raise _refused(str(fault), place) from None


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


def _refused(reason: str, place: Path) -> StoreError:
    fix = "Free space or choose another folder with --out; what is finished is kept, and the same command goes on."
    return StoreError(f"cannot write: {reason}", where=str(place), fix=fix)


@contextlib.contextmanager
def temporary_folder(beside: Path) -> Iterator[Path]:
    """Give a folder to write in; gone afterwards unless :func:`finish_folder` has renamed it.

    What a killed process left half-written beside it is removed first: one process writes there at a time.
    """
    beside.mkdir(parents=True, exist_ok=True)
    for half in beside.glob(".writing-*"):
        shutil.rmtree(half, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=".writing-", dir=beside))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def finish_folder(folder: Path, final: Path) -> None:
    """Force a folder's files to the disk and give it its final name in one step."""
    for path in folder.rglob("*"):
        if path.is_file():
            _sync(path)
    folder.chmod(0o755)
    if final.exists():
        shutil.rmtree(final)
    folder.rename(final)
    _sync(final.parent)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never half.

    Raises:
        StoreError: When it cannot be written.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            part.write_bytes(data)
            _sync(part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
