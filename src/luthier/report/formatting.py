"""Numbers as people read them: aligned, with units, and "–" for what was not measured."""

from __future__ import annotations

import math
from collections.abc import Iterable

ABSENT = "–"
"""Stands for what was not measured; 0 would be a claim."""

_COUNTS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
_BYTES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def absent(value: float | None) -> bool:
    """Say whether there is no number: ``None`` or NaN."""
    return value is None or math.isnan(value)


def digits_for(values: Iterable[float | None]) -> int:
    """Return the decimals for a column, so that all of its numbers have the same: 3 up to 1, 2 up to 10, 1 above."""
    largest = max((abs(v) for v in values if v is not None and math.isfinite(v)), default=0.0)
    return 3 if largest <= 1 else 2 if largest < 10 else 1


def decimal(value: float | None, digits: int) -> str:
    """Write ``0.412``; a true minus sign, and no negative zero."""
    if value is None or math.isnan(value):
        return ABSENT
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:,.{digits}f}"
    if float(text.replace(",", "")) == 0:
        text = text.removeprefix("-")
    return text.replace("-", "−")


def signed(value: float | None, digits: int) -> str:
    """Write ``+0.031`` or ``−0.031``; what rounds to zero has no sign."""
    text = decimal(value, digits)
    nothing = text == ABSENT or text.startswith("−") or not any(c in "123456789∞" for c in text)
    return text if nothing else f"+{text}"


def with_spread(text: str, spread: float | None, digits: int) -> str:
    """Add the spread to a number that is written already: ``0.324 ± 0.012``; nothing where it is not known."""
    return text if absent(spread) or text == ABSENT else f"{text} ± {decimal(spread, digits)}"


def interval(low: float | None, high: float | None, digits: int, *, sign: bool = False) -> str:
    """Write ``[0.391, 0.433]``, or "" when there is no interval."""
    if absent(low) or absent(high):
        return ""
    write = signed if sign else decimal
    return f"[{write(low, digits)}, {write(high, digits)}]"


def _significant(value: float, figures: int = 3) -> str:
    if value == 0:
        return "0"
    rounded = float(f"{value:.{figures}g}")
    decimals = max(0, figures - 1 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:,.{decimals}f}"


def _scaled(value: float, scales: tuple[tuple[float, str], ...], unit: str) -> str:
    for size, name in scales:
        # 999,600 is written with three figures as 1.00 M, not as 1,000 k.
        if abs(value) >= size * 0.9995:
            return f"{_significant(value / size)} {name}"
    return f"{value:,.0f} {unit}".rstrip()


def count(value: float | None) -> str:
    """Write ``8.19 k`` or ``1.54 M``."""
    return ABSENT if value is None or not math.isfinite(value) else _scaled(value, _COUNTS, "")


def size(value: float | None) -> str:
    """Write bytes in decimal units: ``1.04 MB``."""
    return ABSENT if value is None or not math.isfinite(value) else _scaled(value, _BYTES, "B")


def share(part: float, whole: float | None) -> str:
    """Write ``1.3 %``, or "" when there is no part or the whole is not known."""
    if not part or not whole or not math.isfinite(whole):
        return ""
    percent = 100 * part / whole
    if 0 < percent < 0.001:
        return "< 0.001 %"
    return f"{_significant(percent)} %" if percent < 99.95 else f"{percent:.0f} %"


def seconds(value: float | None) -> str:
    """Write ``12.4 s``, ``12.4 min`` or ``3.40 h``."""
    if value is None or not math.isfinite(value):
        return ABSENT
    if value < 600:
        return f"{_significant(value)} s"
    return f"{_significant(value / 60)} min" if value < 7200 else f"{_significant(value / 3600)} h"


def moment(value: float | None) -> str:
    """Write ``41.2 ms`` below a second, then as :func:`seconds`."""
    if value is None or not math.isfinite(value) or value >= 0.9995:
        return seconds(value)
    return f"{_significant(1000 * value)} ms"


def rate(value: float | None) -> str:
    """Write a rate: three figures below 1,000, whole numbers with thousands separators above."""
    if value is None or not math.isfinite(value):
        return ABSENT
    return _significant(value) if value < 1000 else f"{value:,.0f}"


def probability(value: float) -> str:
    """Write a p-value."""
    return "< 0.001" if 0 <= value < 0.001 else decimal(value, 3)
