"""What stands in the columns of a data file: how long, how many different values, and what they may be for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

from luthier.errors import LuthierError
from luthier.files.value_text import is_missing, value_text
from luthier.records import Row
from luthier.tasks.rows.messages import parsed

LABELS = ("label", "labels", "category", "class", "intent", "sentiment", "topic", "gold", "answer", "target", "rating")
"""Names of columns that hold the right answer, the surest first."""
CHOICES = ("choices", "options", "endings", "candidates")
ANSWERS = (
    "answer",
    "target",
    "summary",
    "highlights",
    "output",
    "response",
    "completion",
    "translation",
    "continuation",
)
"""Names of columns that hold a free answer."""
IDS = ("id", "idx", "index", "guid", "uid", "row_id", "example_id")
MOST_LABELS = 40
MOST_CHARACTERS = 40
READ = 20_000
"""Rows that are read to learn what stands in the columns."""


@dataclass(slots=True)
class Column:
    """What stands in one column.

    Attributes:
        name: Its name.
        filled: Rows in which something stands.
        characters: Of all its values together.
        longest: Characters of the longest.
        values: Its different values as texts, long ones by a hash, with their counts.
        lists: Rows in which it holds a list.
        numbers: Rows in which it holds a number.
    """

    name: str
    filled: int = 0
    characters: int = 0
    longest: int = 0
    values: dict[str, int] = field(default_factory=dict)
    lists: int = 0
    numbers: int = 0

    def add(self, value: object) -> None:
        """Take a row's value."""
        if is_missing(value) or value == "":
            return
        try:
            text = value_text(value)
        except LuthierError:  # bytes of a picture
            text = ""
        self.filled += 1
        self.characters += len(text)
        held = parsed(text) if text[:1] == "[" else value
        self.lists += isinstance(held, list | tuple)
        self.numbers += isinstance(value, int | float) and not isinstance(value, bool)
        self.longest = max(self.longest, len(text))
        # A long text is no label: that it is another is all that is remembered of it.
        key = text if len(text) <= MOST_CHARACTERS else str(hash(text))
        self.values[key] = self.values.get(key, 0) + 1

    @property
    def mean(self) -> float:
        """Characters of a value."""
        return self.characters / self.filled if self.filled else 0.0

    @property
    def closed(self) -> bool:
        """Whether its values are few, short, and repeat: a set of answers to choose from."""
        few = 2 <= len(self.values) <= min(MOST_LABELS, max(2, self.filled // 2))
        short = self.longest <= MOST_CHARACTERS and all(value.strip() == value for value in self.values)
        return few and short and not self.lists


def read_columns(rows: Iterable[Row]) -> tuple[dict[str, Column], int]:
    """Return what stands in the columns of the first rows, and how many rows were read."""
    found: dict[str, Column] = {}
    count = 0
    for row in islice(rows, READ):
        count += 1
        for name, value in row.items():
            found.setdefault(str(name), Column(str(name))).add(value)
    return found, count


def named(columns: Mapping[str, Column], names: tuple[str, ...]) -> list[Column]:
    """Return the columns that have one of some names, in the order of the names, whatever their capitals."""
    small = {name.lower(): column for name, column in columns.items()}
    return [small[name] for name in names if name in small]


def label_column(columns: Mapping[str, Column]) -> Column | None:
    """Return the column that holds a label of a closed set, or None."""
    known = [column for column in named(columns, LABELS) if column.closed]
    others = [column for column in columns.values() if column.closed and column.name.lower() not in IDS]
    return next(iter([*known, *reversed(others)]), None)


def text_columns(columns: Mapping[str, Column], answer: str) -> list[Column]:
    """Return the columns whose texts a prompt shows, in the order of the file; the longest alone where none is long."""
    shown = [
        column
        for column in columns.values()
        if column.name != answer and column.filled and not column.lists and column.name.lower() not in IDS
    ]
    texts = [column for column in shown if not column.numbers and not column.closed and len(column.values) > 1]
    longest = max((column.mean for column in texts), default=0.0)
    return [column for column in texts if column.mean >= min(12.0, longest)] or shown[:1]
