"""Paths as a user writes them."""

from __future__ import annotations

from pathlib import Path


def user_path(name: str | Path) -> Path:
    """Return a path with ``~`` replaced by the home folder; where there is no such user, the path as it is written."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)
