"""Paths as a user writes them, and the folder of what Luthier keeps for all of a user's runs."""

from __future__ import annotations

import os
from pathlib import Path


def user_path(name: str | Path) -> Path:
    """Return a path with ``~`` replaced by the home folder; where there is no such user, the path as it is written."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def cache_root() -> Path:
    """Return Luthier's cache: ``$LUTHIER_CACHE``, or ``luthier`` in the user's cache."""
    given = os.environ.get("LUTHIER_CACHE")
    if given:
        return user_path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "luthier"
