"""Contamination: how much of an evaluation set stands in the training data, word for word.

An item is contaminated where at least four in five of its word 13-grams stand in some training text; of an item that
has fewer than 13 words, its 8-grams. (Brown et al. 2020, "Language Models are Few-Shot Learners", appendix C, look for
n-grams of 8 to 13 words too, and count an item with a single one.) N-grams that stand in more than a tenth of the items
are the wording of the task and say nothing.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from luthier.records import Example

LONG, SHORT = 13, 8
"""Words of an n-gram, for items of so many words at least, and for shorter ones."""
SHARE = 0.8
"""Of an item's n-grams, from which on it is contaminated."""
COMMON = 0.1
"""Share of the items above which an n-gram that they have in common is left out."""
_WORD = re.compile(r"[^\W_]+")
Verdict: TypeAlias = Literal["clean", "dirty", "unknown"]
"""``unknown`` where an item is too short, or all of its n-grams are common."""
_Grams: TypeAlias = set[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Overlap:
    """How much of each item stands in the training data.

    Attributes:
        shares: Of each item's n-grams, those that stand there; NaN where it has none that count.
        verdicts: What follows, item by item.
    """

    shares: tuple[float, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def dirty(self) -> int:
        """Contaminated items."""
        return self.verdicts.count("dirty")

    @property
    def unknown(self) -> int:
        """Items that nothing can be said of."""
        return self.verdicts.count("unknown")


def overlap(items: Sequence[str], training: Iterable[str]) -> Overlap:
    """Hold the items of an evaluation against training texts.

    Args:
        items: The text of each item, without instructions and exemplars.
        training: Texts, in any number: only n-grams that some item has are kept of them.
    """
    own = [_item_grams(words(item)) for item in items]
    common = _common(own)
    counted = [grams - common for grams in own]
    wanted = set[tuple[str, ...]]().union(*counted)
    found = _found(wanted, training)
    shares = tuple(len(grams & found) / len(grams) if grams else math.nan for grams in counted)
    return Overlap(shares, tuple(map(_verdict, shares)))


def item_text(example: Example) -> str:
    """Return what an item is, without instructions and exemplars: its input text, or the prompt where it has none."""
    return example.prompt if example.input_span is None else example.prompt[slice(*example.input_span)]


def training_text(example: Example) -> str:
    """Return all that a model learns from an example: earlier turns, prompt and answers."""
    said = [text for turn in example.turns for text in (turn.prompt, turn.reply)]
    said += [message.content for message in example.messages]
    return " ".join((*said, example.prompt, *example.targets))


def words(text: str) -> list[str]:
    """Return a text's words in lower case, without punctuation."""
    return _WORD.findall(text.lower())


def _item_grams(item: list[str]) -> _Grams:
    return _grams(item, LONG if len(item) >= LONG else SHORT)


def _grams(text: list[str], size: int) -> _Grams:
    return set(zip(*(text[place:] for place in range(size)), strict=False))


def _common(own: Sequence[_Grams]) -> _Grams:
    """Return the n-grams of more than a tenth of the items, and of two at least."""
    counts = Counter(gram for grams in own for gram in grams)
    return {gram for gram, count in counts.items() if count > max(1, COMMON * len(own))}


def _found(wanted: _Grams, training: Iterable[str]) -> _Grams:
    sizes = {len(gram) for gram in wanted}
    found: _Grams = set()
    for text in training:
        read = words(text)
        for size in sizes:
            found |= _grams(read, size) & wanted
    return found


def _verdict(share: float) -> Verdict:
    return "unknown" if math.isnan(share) else "dirty" if share >= SHARE else "clean"
