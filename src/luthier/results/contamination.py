"""What is said of an evaluation whose items may stand in the training data."""

from __future__ import annotations

from dataclasses import dataclass

from luthier.records import Score


@dataclass(frozen=True, slots=True)
class Contamination:
    """How much of a task's items stands in what the model was tuned on, and the scores apart.

    Attributes:
        training: The training data, in words; "" where its rows cannot be read.
        why: Why they cannot; "" where they can.
        dirty: Items of whose n-grams at least 80 % stand in it.
        clean: Items of whose n-grams fewer do.
        unknown: Items that are too short, or all of whose n-grams are the task's own wording.
        on_clean: The primary number on the clean items; None where there are none.
        on_dirty: The same on the contaminated ones.
    """

    training: str
    why: str = ""
    dirty: int = 0
    clean: int = 0
    unknown: int = 0
    on_clean: Score | None = None
    on_dirty: Score | None = None

    @property
    def sentence(self) -> str:
        """What a reader must know, without the name of the task."""
        if self.why:
            return f"contamination is not known: {self.why}"
        items = self.dirty + self.clean + self.unknown
        rest = f"; {self.unknown:,} are too short to say" if self.unknown else ""
        return f"{self.dirty:,} of {items:,} items stand in the training data ({self.training}){rest}"
