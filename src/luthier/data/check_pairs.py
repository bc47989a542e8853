"""What a preference objective would learn from: pairs of answers, counted before any step is made."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from luthier.data.encoding import Encoder
from luthier.data.lengths import PERCENTILES, joined, percentiles
from luthier.data.preferences import TIE, Pair, pairs_of
from luthier.records import Dropped, Example

_TOGETHER = 256


@dataclass(frozen=True, slots=True)
class PairCheck:
    """The pairs of one split, counted.

    Attributes:
        split: Its name.
        prompts: Different prompts.
        pairs: Pairs that fit the model.
        dropped: Pairs that cannot be learned from, by reason; ties are among them.
        cut: Pairs whose prompt lost input text, alike on both sides.
        chosen_tokens: Percentiles of the lengths of the chosen answers in tokens; empty without pairs.
        rejected_tokens: The same of the rejected ones.
        longer: Pairs whose chosen answer is the longer one.
        margins: Pairs that have a margin.
    """

    split: str
    prompts: int
    pairs: int
    dropped: Mapping[str, int]
    cut: int
    chosen_tokens: tuple[int, ...]
    rejected_tokens: tuple[int, ...]
    longer: int
    margins: int


class PairMeter:
    """Counts the pairs of one split as its examples come by.

    Args:
        split: Name of the split.
        encoder: Encodes them.
    """

    def __init__(self, split: str, encoder: Encoder) -> None:
        self._split, self._encoder = split, encoder
        self._waiting: list[Example] = []
        self._groups: set[str] = set()
        self._dropped: Counter[str] = Counter()
        self._chosen, self._rejected = array("I"), array("I")
        self._cut = self._margins = 0

    def add(self, example: Example) -> None:
        """Take an example; one without rejected answers is no pair, and is passed over."""
        if not example.rejected:
            return
        self._groups.add(example.group)
        self._waiting.append(example)
        if len(self._waiting) >= _TOGETHER:
            self._flush()

    def _flush(self) -> None:
        for item in pairs_of(self._waiting, self._encoder):
            if isinstance(item, Dropped):
                self._dropped[item.reason] += 1
            else:
                self._count(item)
        self._margins += sum(len(example.margins) for example in self._waiting)
        self._waiting.clear()

    def _count(self, pair: Pair) -> None:
        self._chosen.append(len(pair.chosen.target_ids))
        self._rejected.append(len(pair.rejected.target_ids))
        self._cut += pair.chosen.cut_tokens > 0

    def finish(self) -> PairCheck:
        """Return the figures."""
        self._flush()
        chosen, rejected = (np.frombuffer(own, dtype=np.uint32) for own in (self._chosen, self._rejected))
        return PairCheck(
            split=self._split,
            prompts=len(self._groups),
            pairs=len(chosen),
            dropped=dict(self._dropped.most_common()),
            cut=self._cut,
            chosen_tokens=percentiles(chosen),
            rejected_tokens=percentiles(rejected),
            longer=int((chosen > rejected).sum()),
            margins=self._margins,
        )


def notes_of_pairs(checks: Sequence[PairCheck]) -> Iterator[str]:
    """Yield what is not wrong with pairs, but worth knowing."""
    for own in checks:
        if ties := own.dropped.get(TIE, 0):
            yield f"{own.split}: {ties:,} pairs are ties, two answers of the same tokens: they are left out."
        total = own.pairs + sum(own.dropped.values())
        if total > own.prompts:
            yield f"{own.split}: {total:,} pairs have {own.prompts:,} prompts; those of one prompt stay in one split."


def pair_figures(checks: Sequence[PairCheck]) -> Table:
    """Return the table of the pairs of each split."""
    table = Table(title="pairs of a preference objective")
    table.add_column("")
    for own in checks:
        table.add_column(own.split, justify="right")
    names = " / ".join({0: "least", 100: "most"}.get(p, f"{p} %") for p in PERCENTILES)
    reasons = dict.fromkeys(reason for own in checks for reason in own.dropped)
    rows = [
        ("pairs", [f"{own.pairs:,}" for own in checks]),
        ("prompts", [f"{own.prompts:,}" for own in checks]),
        ("cut, both sides alike", [f"{own.cut:,}" for own in checks]),
        *((f"dropped: {reason}", [f"{own.dropped.get(reason, 0):,}" for own in checks]) for reason in reasons),
        (f"chosen tokens ({names})", [joined(own.chosen_tokens) for own in checks]),
        (f"rejected tokens ({names})", [joined(own.rejected_tokens) for own in checks]),
        ("the chosen answer is longer", [f"{own.longer:,}" for own in checks]),
        ("with a margin", [f"{own.margins:,}" for own in checks]),
    ]
    for name, cells in rows:
        table.add_row(name, *cells)
    return table
