"""A scenario: one authored situation with its slots, its variants (which differ in what happens) and its lines.

A file holds many of them::

    == lost_keys                      name; ``food/jam`` puts it in the group "food"
    item = house keys | bike keys     a slot; ``a, b = x, y | u, v`` ties two slots together
    girls = B                         who must be a girl (or ``boys``)
    strangers = yes                   the speakers have no reason to chat
    A: Have you seen my {item}?       a line: tag and text
    1) B: Here they are.              a line that only variant 1 has
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

TEXTS = Path(__file__).parent / "texts"
SLOT_LINE = re.compile(r"^([a-z_0-9]+(?:, [a-z_0-9]+)*) = (.+)$")
TEXT_LINE = re.compile(r"^(?:(\d+)\) )?([A-Za-z]+|[+-]): (.+)$")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a scenario. ``variants`` is "" where every variant has it."""

    tag: str
    text: str
    variants: str = ""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One authored situation. ``slots`` ties names to lists of values that are chosen together."""

    name: str
    slots: tuple[tuple[tuple[str, ...], tuple[tuple[str, ...], ...]], ...]
    girls: tuple[str, ...]
    boys: tuple[str, ...]
    lines: tuple[Line, ...]

    @property
    def group(self) -> str:
        """What stands before the slash in the name, or ""."""
        return self.name.partition("/")[0] if "/" in self.name else ""

    @property
    def variants(self) -> tuple[str, ...]:
        """The variants, in order; one where no line names any."""
        return tuple(sorted({digit for line in self.lines for digit in line.variants})) or ("1",)

    @property
    def strangers(self) -> bool:
        """Whether the speakers have no reason to chat."""
        return any(names == ("strangers",) for names, _ in self.slots)

    def having(self, tag: str, variant: str = "") -> list[str]:
        """Texts of the lines with this tag that the variant has (every variant where it is "")."""
        return [line.text for line in self.lines if line.tag == tag and self._has(line, variant)]

    def of_variant(self, variant: str) -> list[Line]:
        """The lines that the variant has."""
        return [line for line in self.lines if self._has(line, variant)]

    @staticmethod
    def _has(line: Line, variant: str) -> bool:
        return not line.variants or not variant or variant in line.variants


def read_scenarios(*files: str) -> list[Scenario]:
    """Read scenario files of the folder ``texts``, in order.

    Raises:
        ValueError: A line is neither a slot nor a text line, or a name is used twice.
    """
    found: list[Scenario] = []
    for file in files:
        for block in (TEXTS / file).read_text(encoding="utf-8").split("== ")[1:]:
            found.append(_parse(block, file))
    names = [scenario.name for scenario in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(files)}: scenario names used twice: {', '.join(twice)}")
    return found


def _parse(block: str, file: str) -> Scenario:
    name, *rest = block.strip().splitlines()
    slots, cast, lines = [], {"girls": (), "boys": ()}, []
    for number, raw in enumerate(rest, start=1):
        text = raw.strip()
        if match := SLOT_LINE.match(text):
            if match[1] in cast:
                cast[match[1]] = tuple(match[2].split())
            else:
                slots.append(_slot(match[1], match[2]))
        elif match := TEXT_LINE.match(text):
            lines.append(Line(match[2], match[3], match[1] or ""))
        elif text:
            raise ValueError(f"{file}, {name}, line {number}: not a slot and not a line: {text!r}")
    return Scenario(name, tuple(slots), cast["girls"], cast["boys"], tuple(lines))


def _slot(names: str, values: str) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    keys = tuple(names.split(", "))
    rows = [tuple(value.split(", ")) if len(keys) > 1 else (value,) for value in values.split(" | ")]
    if any(len(row) != len(keys) for row in rows):
        raise ValueError(f"slot {names!r}: every value needs {len(keys)} parts: {values!r}")
    return keys, tuple(rows)
