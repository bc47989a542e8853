"""Statistics of a set of texts that show whether a score on it is meaningful."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from recipes.tasks.splits import Row

WORD = re.compile(r"[A-Za-zÀ-ÿ]+(?:['’-][A-Za-zÀ-ÿ]+)*|\d+")
BOOKKEEPING = ("id", "scenario", "unseen")


def words(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return WORD.findall(text.lower())


def word_types(texts: Iterable[str]) -> set[str]:
    """The different words of many texts."""
    return {word for text in texts for word in words(text)}


def texts_of(row: Row) -> list[str]:
    """The texts of a row, without its bookkeeping."""
    return [str(value) for key, value in row.items() if key not in BOOKKEEPING]


def frame_share(rows: Sequence[Row]) -> float:
    """Share of the rows that the commonest scenario makes."""
    return max(Counter(row["scenario"] for row in rows).values()) / len(rows)


def describe(name: str, splits: Mapping[str, Sequence[Row]]) -> str:
    """A few lines about one task."""
    rows = [row for split in splits.values() for row in split]
    test = splits["test"]
    sizes = ", ".join(f"{split} {len(part)}" for split, part in splits.items())
    shared = {row["scenario"] for row in splits["train"]} & {row["scenario"] for row in test}
    lines = [
        f"{name}: {sizes}; {len({row['scenario'] for row in rows})} scenarios",
        f"  word types {len(word_types(text for row in rows for text in texts_of(row)))}; "
        f"commonest scenario {frame_share(rows):.1%} of all rows; "
        f"test rows of unseen scenarios {sum(bool(row['unseen']) for row in test) / len(test):.0%}; "
        f"scenarios in train and test {len(shared)}",
    ]
    for key in (key for key in rows[0] if key not in BOOKKEEPING):
        counts = sorted(len(words(str(row[key]))) for row in rows)
        lines.append(f"  {key}: {counts[0]}–{counts[-1]} words, median {counts[len(counts) // 2]}")
    return "\n".join(lines)
