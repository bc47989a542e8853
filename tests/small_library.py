"""An installation whose built-in tasks have a few short rows each: the documented commands end in seconds on it."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

import luthier
from luthier.tasks.task_sets import task_sets

PACKAGE = Path(luthier.__file__).parent
ROWS = {"train": 4, "validation": 1, "test": 2, "heldout": 1}
RETAINED = ("dialogue_summary", "topic", "story_ending", "counting")
"""The tasks of the set ``everyday`` there."""


LESSON_ROWS = {"train": 24, "validation": 6, "test": 12, "heldout": 6}
"""Enough that an arm learns something and a metric has an interval."""


def write_small_library(site: Path, rows: Mapping[str, int] | None = None) -> Path:
    """Write a folder for ``PYTHONPATH``: the package as links to its files, with few rows; return its library.

    Args:
        site: The folder.
        rows: Rows of each split; the shortest few when not given.
    """
    package = site / "luthier"
    unwanted = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, package, copy_function=os.symlink, ignore=unwanted)
    library = package / "tasks" / "library"
    for path in (library / "builtin").glob("*/*.jsonl.gz"):
        lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
        path.unlink()
        kept = sorted(lines, key=len)[: ROWS[split_of(path)]] if rows is None else lines[: rows[split_of(path)]]
        path.write_bytes(gzip.compress(b"".join(kept)))
    sets = yaml.safe_load((library / "sets.yaml").read_text(encoding="utf-8"))
    sets["everyday"]["tasks"] = list(RETAINED)
    (library / "sets.yaml").unlink()
    (library / "sets.yaml").write_text(yaml.safe_dump(sets), encoding="utf-8")
    return library


def split_of(path: Path) -> str:
    """Return the split of which a file has the rows."""
    return path.name.split(".")[0]


def use_library(library: Path, patch: pytest.MonkeyPatch) -> None:
    """Let this process and the workers that it starts find a library instead of their own."""
    patch.setattr("luthier.tasks.names.LIBRARY", library / "builtin")
    patch.setattr("luthier.tasks.loader.LIBRARY", library / "builtin")
    patch.setattr("luthier.tasks.held_out_text.LIBRARY", library / "builtin")
    patch.setattr("luthier.tasks.build._LIBRARY", library)
    patch.setattr("luthier.tasks.task_sets.SETS", library / "sets.yaml")
    patch.setenv("PYTHONPATH", str(library.parents[2]))
    task_sets.cache_clear()
