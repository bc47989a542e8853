"""What ``luthier sample`` prints: what the best of n samples is worth, and what became of the samples."""

from __future__ import annotations

from collections.abc import Iterator

from luthier.report import formatting
from luthier.report.formatting import ABSENT
from luthier.report.tables import Cell, Column, Table
from luthier.results.samples import Sampled


def sample_table(found: Sampled) -> Table:
    """Return the curve of the best of n samples, with the counts below it."""
    gold = found.gold
    columns = [Column("Best of"), Column(f"{found.reward} ↑")]
    columns += [Column(f"{gold} ↑")] if gold is not None else []
    columns.append(Column("KL (nats) ≤"))
    digits = formatting.digits_for(own.proxy for own in found.best_of)
    rows = []
    for own in found.best_of:
        cells = [Cell(f"{own.k:,}"), _value(own.proxy, own.proxy_interval, digits)]
        if gold is not None:
            cells.append(_value(own.gold, own.gold_interval, digits))
        rows.append((*cells, Cell(formatting.decimal(own.kl_bound, 2))))
    return Table("sample", "The best of n samples", tuple(columns), tuple(rows), " ".join(_notes(found, gold)))


def _value(value: float | None, interval: tuple[float, float] | None, digits: int) -> Cell:
    if value is None or interval is None:
        return Cell(ABSENT, tone="muted")
    return Cell(formatting.decimal(value, digits), formatting.interval(*interval, digits))


def _notes(found: Sampled, gold: str | None) -> Iterator[str]:
    count = sum(map(len, found.samples))
    yield f"{count:,} answers to {len(found.examples):,} prompts; 95 % intervals in brackets are over prompts."
    yield "KL: upper bound of the divergence of the best answer from a single one."
    if gold is not None:
        yield f"{gold} chooses nothing; where it falls while the other rises, the best of more samples is no better."
    if found.alike:
        yield f"Of {found.alike:,} prompts all samples are worth the same."
    if found.cut:
        yield f"Cut at the limit of tokens, and not kept: {found.cut:,} samples."
    if found.unscored:
        yield f"Without a reward, and not kept: {found.unscored:,} samples."
    if found.dropped:
        yield f"Prompts that do not fit the model: {found.dropped:,}."
