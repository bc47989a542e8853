"""The faults of a file's rows, gathered and raised together, so that nobody mends a file one line at a time."""

from __future__ import annotations

from luthier.errors import LuthierError, raise_faults

FAULT_LIMIT = 20
"""Faults after which a file is given up."""


class RowFaults:
    """Faults of one file, raised together.

    Args:
        name: The file, as the user would write it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._faults: list[LuthierError] = []

    def add(self, fault: LuthierError) -> None:
        """Keep a fault; raise them all when there are :data:`FAULT_LIMIT`."""
        self._faults.append(fault)
        if len(self._faults) >= FAULT_LIMIT:
            self.finish(more=" or more")

    def finish(self, more: str = "") -> None:
        """Raise what was gathered, if anything was.

        Raises:
            LuthierError: The only fault, or :class:`~luthier.errors.Faults`.
        """
        raise_faults(f"{len(self._faults)}{more} rows of {self.name} cannot be used", self._faults)
