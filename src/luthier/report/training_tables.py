"""What arms were trained on: steps, examples and supervised tokens, and the share of each source."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.report.tables import Cell, Column, Table
from luthier.results.records import RunResults
from luthier.shares import Share

_OF_SOURCES = (
    *("Examples", "Asked (%)", "In an epoch", "Of examples (%)", "Of supervised tokens (%)", "Passes"),
    *("Tokens a target", "Cut (%)", "Dropped (%)", "Left out"),
)
_NOTE = (
    "Asked is the share by the rule; an epoch has so many examples of each source, to the example. Cut and dropped are "
    "shares of a sample; for an example that does not fit, the next one of its source is read. Left out are examples "
    "whose text stands in a validation or test split of another task that is measured."
)


def trained_on_table(results: RunResults) -> Table | None:
    """One row for each trained arm: what it read; None where that was not recorded."""
    arms = [arm for arm in results.arms if arm.trained_on is not None]
    if not arms:
        return None
    rows = tuple(
        (
            Cell(arm.name),
            Cell(f"{arm.steps:,}"),
            Cell(f"{arm.trained_on.examples:,}"),
            Cell(f"{arm.trained_on.supervised_tokens:,}"),
            Cell(_sources(arm.trained_on.shares)),
        )
        for arm in arms
        if arm.trained_on is not None
    )
    columns = (
        Column("Arm", number=False),
        *(Column(title) for title in ("Steps", "Examples read", "Supervised tokens")),
        Column("Sources", number=False),
    )
    steps = {arm.steps for arm in arms}
    equal = "All arms took as many steps." if len(steps) == 1 else "The arms did not take as many steps as one another."
    note = f"{equal} An example counts each time that it is read; of several seeds the first is shown."
    return Table("trained-on", "What the arms were trained on", columns, rows, note)


def share_tables(results: RunResults) -> list[Table]:
    """One table for each arm that was trained on several sources."""
    return [
        share_table(arm.trained_on.shares, f"Sources of {arm.name}", key=f"shares-{arm.name}")
        for arm in results.arms
        if arm.trained_on is not None and arm.trained_on.shares
    ]


def mixture_table(name: str, shares: Sequence[Share]) -> Table:
    """One row for each source of a mixture, before it is trained on."""
    return share_table(shares, f"{name}: {sum(share.quota for share in shares):,} examples in an epoch")


def share_table(shares: Sequence[Share], title: str, *, key: str = "shares") -> Table:
    """One row for each source: its share as asked for, and as an epoch has it."""
    rows = tuple(
        (
            Cell(share.source),
            Cell(f"{share.examples:,}"),
            Cell(f"{100 * share.rate:.2f}"),
            Cell(f"{share.quota:,}"),
            Cell(f"{100 * share.share:.2f}"),
            Cell(f"{100 * share.token_share:.2f}"),
            Cell(f"{share.passes:.2f}"),
            Cell(f"{share.tokens:.1f}"),
            Cell(f"{100 * share.cut:.1f}"),
            Cell(f"{100 * share.dropped:.1f}"),
            Cell(f"{share.overlapping:,}"),
        )
        for share in shares
    )
    columns = (Column("Source", number=False), *(Column(name) for name in _OF_SOURCES))
    return Table(key, title, columns, rows, _NOTE)


def _sources(shares: Sequence[Share]) -> str:
    named = [f"{share.source} {100 * share.share:.3g} %" for share in shares]
    return ", ".join(named[:4]) + (f" and {len(named) - 4} more" if len(named) > 4 else "") if named else "the target"
