"""An installation whose built-in tasks have a few short rows each: the documented commands end in seconds on it."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

import pytest
import yaml

import luthier
from luthier.tasks.task_sets import task_sets

PACKAGE = Path(luthier.__file__).parent
ROWS = {"train": 4, "validation": 1, "test": 2, "heldout": 1}
RETAINED = ("dialogue_summary", "topic", "story_ending", "counting")
"""The tasks of the set ``everyday`` there."""


def write_small_library(site: Path) -> Path:
    """Write a folder for ``PYTHONPATH``: the package as links to its files, with few rows; return its library."""
    package = site / "luthier"
    unwanted = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, package, copy_function=os.symlink, ignore=unwanted)
    library = package / "tasks" / "library"
    for path in (library / "builtin").glob("*/*.jsonl.gz"):
        lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
        path.unlink()
        path.write_bytes(gzip.compress(b"".join(sorted(lines, key=len)[: ROWS[path.name.split(".")[0]]])))
    sets = yaml.safe_load((library / "sets.yaml").read_text(encoding="utf-8"))
    sets["everyday"]["tasks"] = list(RETAINED)
    (library / "sets.yaml").unlink()
    (library / "sets.yaml").write_text(yaml.safe_dump(sets), encoding="utf-8")
    return library


def use_library(library: Path, patch: pytest.MonkeyPatch) -> None:
    """Let this process and the workers that it starts find a library instead of their own."""
    patch.setattr("luthier.tasks.names.LIBRARY", library / "builtin")
    patch.setattr("luthier.tasks.loader.LIBRARY", library / "builtin")
    patch.setattr("luthier.tasks.held_out_text.LIBRARY", library / "builtin")
    patch.setattr("luthier.tasks.build._LIBRARY", library)
    patch.setattr("luthier.tasks.task_sets.SETS", library / "sets.yaml")
    patch.setenv("PYTHONPATH", str(library.parents[2]))
    task_sets.cache_clear()
