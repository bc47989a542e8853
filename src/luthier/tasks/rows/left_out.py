"""Rows that are left out and counted, instead of being faults of the file."""

from __future__ import annotations

from luthier.errors import DataError


class LeftOut(DataError):
    """A row from which nothing can be learned (an empty target, a conversation without answer): counted, not fatal."""
