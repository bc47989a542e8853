"""The files of a run's folder, read as the records that they hold; what is missing or damaged is named."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from luthier.errors import StoreError, did_you_mean, listed
from luthier.results.earlier_versions import upgraded


def read_record(run: Path, name: str, kind: type[Any], *, made: str) -> Any:
    """Read a file of a run's folder as the record that it holds.

    Args:
        run: The folder.
        name: Of the file.
        kind: Class of the record.
        made: Name of the file that every finished run has.

    Raises:
        StoreError: When it is missing or damaged, or this is no run.
    """
    path = run / name
    schema: Any = kind  # classes have a hash, which mypy cannot see of type[Any]
    if not path.exists():
        raise _no_run(run, path, made)
    try:
        return _reader(schema).validate_python(upgraded(from_json(path.read_bytes())))
    except OSError as fault:
        raise StoreError(f"cannot be read ({fault.strerror})", where=str(path), fix="Check the file.") from None
    except ValidationError as invalid:
        item = invalid.errors()[0]
        key = ".".join(str(part) for part in item["loc"])
        what = f"damaged: {key}: {item['msg']}" if key else f"damaged: {item['msg']}"
        raise StoreError(what, where=str(path), fix="Run the same command again.") from None
    except ValueError as broken:
        raise StoreError(f"damaged: {broken}", where=str(path), fix="Run the same command again.") from None


@functools.cache
def _reader(kind: type[Any]) -> TypeAdapter[Any]:
    """Return what reads a class of records: it takes longer to make than to use."""
    return TypeAdapter(kind)


def _no_run(run: Path, path: Path, made: str) -> StoreError:
    """Return what is wrong with a folder that has no results: it is none, it is a file, or runs lie in it or beside."""
    if run.is_file():
        fix = f"Give the folder that it lies in: {run.parent}." if run.suffix == path.suffix else "Give a run's folder."
        return StoreError("this is a file, and a run is a folder", where=str(run), fix=fix)
    if not run.is_dir():
        beside = (
            did_you_mean(run.name, names) if (names := _runs_in(run.parent, made)) else "Run `luthier compare` first."
        )
        return StoreError("there is no such folder", where=str(run), fix=beside)
    inside = _runs_in(run, made)
    fix = f"Give one of the runs in it: {listed(inside)}." if inside else "Run `luthier compare` first."
    return StoreError("no finished results here", where=str(path), fix=fix)


def _runs_in(folder: Path, made: str) -> list[str]:
    return sorted(path.parent.name for path in folder.glob(f"*/{made}"))
