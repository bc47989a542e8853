"""The duplicate index: what must leave training because it stands there already, or in validation or test.

All that is remembered of an example is a few 8-byte hashes: a million examples take some tens of megabytes.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from luthier.records import Example
from luthier.tasks.rows.splits import NAMES, TEST, TRAIN, VALIDATION, Hashes, hash64


@dataclass(frozen=True, slots=True)
class Overlaps:
    """What was found when the splits were laid side by side.

    Attributes:
        keep: bool ``(examples,)``: False for what was removed from training.
        duplicates: Removed from training: prompt and answers stand in training before, or in validation or test.
        prompts: Removed from training, unless they are kept on purpose: the prompt, with another target, stands in
            validation or test.
        held_out: Validation examples whose prompt stands in test; reported, not removed.
        repeated: Validation and test examples that repeat one of their own split; reported, not removed.
    """

    keep: npt.NDArray[np.bool_]
    duplicates: int
    prompts: int
    held_out: int
    repeated: int


class DuplicateIndex:
    """Remembers of each example its split and the hashes of its id, prompt, and prompt with target."""

    def __init__(self) -> None:
        self._splits = array("B")
        self._ids, self._prompts, self._pairs = array("Q"), array("Q"), array("Q")

    def __len__(self) -> int:
        return len(self._splits)

    def add(self, split: str, example: Example) -> None:
        """Remember an example; the order of the calls is the order of everything that is returned."""
        asked = "\x1e".join(
            [example.preamble + example.system, *(f"{t.prompt}\x1f{t.reply}" for t in example.turns), example.prompt]
        )
        asked += example.tools
        rejected = [f"\x1c{text}" for text in example.rejected]
        self._splits.append(NAMES.index(split))
        self._ids.append(hash64(example.id, "luthier id"))
        self._prompts.append(hash64(asked, "luthier prompt"))
        self._pairs.append(hash64("\x1d".join([asked, *example.targets, *rejected]), "luthier pair"))

    @property
    def splits(self) -> npt.NDArray[np.uint8]:
        """Split of each example, as an index of :data:`NAMES`: uint8 ``(examples,)``."""
        return np.frombuffer(self._splits, dtype=np.uint8)

    def repeated_ids(self) -> frozenset[int]:
        """Return the hashes of ids that more than one example has."""
        values, counts = np.unique(np.frombuffer(self._ids, dtype=np.uint64), return_counts=True)
        return frozenset(int(value) for value in values[counts > 1])

    def overlaps(self, *, keep_prompts: bool = False) -> Overlaps:
        """Find duplicates and overlaps, and decide what leaves training.

        Args:
            keep_prompts: Whether a prompt that stands in validation or test stays in training with another target.
        """
        splits = self.splits
        prompts = np.frombuffer(self._prompts, dtype=np.uint64)
        pairs = np.frombuffer(self._pairs, dtype=np.uint64)
        train = splits == TRAIN
        elsewhere = train & np.isin(pairs, pairs[~train])
        again = train & ~_first(pairs, train)
        duplicate = elsewhere | again
        overlap = train & ~duplicate & np.isin(prompts, prompts[~train])
        validation, test = splits == VALIDATION, splits == TEST
        repeated = sum(int(mask.sum() - _first(pairs, mask).sum()) for mask in (validation, test))
        return Overlaps(
            keep=~duplicate if keep_prompts else ~(duplicate | overlap),
            duplicates=int(duplicate.sum()),
            prompts=int(overlap.sum()),
            held_out=int(np.isin(prompts[validation], prompts[test]).sum()),
            repeated=repeated,
        )


def _first(hashes: Hashes, among: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Mark the first occurrence of each hash among the marked ones."""
    places = np.flatnonzero(among)
    _, first = np.unique(hashes[places], return_index=True)
    marked = np.zeros(len(hashes), dtype=np.bool_)
    marked[places[first]] = True
    return marked
