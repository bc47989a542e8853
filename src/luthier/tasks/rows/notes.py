"""What the user must know of a task's rows, counted while they are read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RowNotes:
    """What is said of rows that are neither faults nor left out.

    Attributes:
        told: How often something happened, by what is said of it ("answers are marked as …").
        unread: Columns that hold something and are not read, with the rows in which they do.
    """

    told: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)

    def clear(self) -> None:
        """Begin anew."""
        self.told.clear()
        self.unread.clear()
