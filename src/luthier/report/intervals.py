"""What a table or chart says of its intervals, from the records that it shows: their level, and the variance they hold.

The level stands once, in the heading or the caption, where all intervals shown share it; where they do not, it stands
beside each of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from luthier.records import Score, Variance
from luthier.report import formatting
from luthier.results.change import Change
from luthier.results.records import ArmResult

FEWEST_SEEDS = 3
"""Number of training runs from which an interval includes their variance; fewer do not estimate it."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """The intervals that one table or chart shows.

    Attributes:
        levels: Their levels, each once, ascending; empty where none is shown.
        variances: What they hold, each once.
    """

    levels: tuple[float, ...]
    variances: frozenset[Variance]

    def heading(self) -> str:
        """Return the heading of a column of intervals: ``"95 % interval"``, or ``"interval"`` where levels differ."""
        return f"{_percent(self.levels[0])} interval" if len(self.levels) == 1 else "interval"

    def words(self) -> str:
        """Return ``"95 % intervals"``, or the levels that there are; "" where no interval is shown."""
        if not self.levels:
            return ""
        if len(self.levels) == 1:
            return f"{_percent(self.levels[0])} intervals"
        named = ", ".join(_percent(level) for level in self.levels[:-1])
        return f"intervals of {named} or {_percent(self.levels[-1])}"

    def write(self, shown: Score | Change, digits: int, *, sign: bool = False) -> str:
        """Write one interval, with its level where the others' differ; "" where it is not known."""
        return self.beside(shown, formatting.interval(shown.low, shown.high, digits, sign=sign))

    def beside(self, shown: Score | Change, text: str) -> str:
        """Add the level to an interval that is written already, where the others' differ."""
        return f"{text} {_percent(shown.confidence)}" if text and len(self.levels) > 1 else text


def intervals_of(shown: Iterable[Score | Change | None]) -> Intervals:
    """Gather what is known of the intervals of some records; those without an interval do not count."""
    drawn = [record for record in shown if record is not None and not math.isnan(record.low)]
    return Intervals(
        tuple(sorted({record.confidence for record in drawn})), frozenset(record.variance for record in drawn)
    )


def variance_words(arms: Sequence[ArmResult], intervals: Intervals) -> str:
    """Say which variance the intervals of some arms hold; "" where none is shown.

    An arm that is trained with three seeds or more has intervals of examples and training runs. With fewer seeds they
    are of examples alone, and the words say so.
    """
    if not intervals.levels:
        return ""
    trained = [arm for arm in arms if arm.method is not None]
    if intervals.variances == {"examples"}:
        return "hold the variance of examples alone" + (
            f" (fewer than {FEWEST_SEEDS} training runs)" if trained else ""
        )
    if intervals.variances == {"examples and training runs"}:
        return "hold the variance of examples and training runs"
    return f"hold the variance of examples, and of training runs too where an arm has {FEWEST_SEEDS} or more"


def _percent(level: float) -> str:
    return f"{100 * level:.10g} %"
