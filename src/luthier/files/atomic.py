"""Writing files and folders whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from safetensors import SafetensorError

from luthier.errors import StoreError


@contextlib.contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turn what the file system refuses into an error that says where and what to do."""
    try:
        yield
    except OSError as fault:
        raise _refused(fault.strerror or str(fault), Path(fault.filename or place)) from None
    except SafetensorError as fault:  # how safetensors reports a full disk
        raise _refused(str(fault), place) from None


def _refused(reason: str, place: Path) -> StoreError:
    fix = "Free space, or choose another place (--runs, --save, --out); what is finished is kept, and found again."
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


@contextlib.contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that takes its place when all is written: a reader sees the old content or the new.

    Raises:
        OSError: When it cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with part.open("wb") as file:
            yield file
        _sync(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never half.

    Raises:
        StoreError: When it cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_atomically(path) as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
