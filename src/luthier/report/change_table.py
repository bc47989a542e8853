"""What changed in arms beside their scores: how far they went from the base, and what their answers became."""

from __future__ import annotations

from luthier.report import formatting
from luthier.report.formatting import ABSENT
from luthier.report.tables import Cell, Column, Table
from luthier.results.answer_changes import AnswerChanges
from luthier.results.records import ArmResult, RunResults

_NOTE = (
    "The divergence is KL(base || arm) at each token of the target's validation answers, over the base's 64 most "
    "probable tokens and the rest as one: a lower bound, and what forgetting elsewhere is best foretold by. "
    "Changed answers are those to the retained tasks with another text than the base's; of the written ones, some "
    "became empty, some run to the limit now, and some are one of the target's choices. Shares are of all "
    "training runs together."
)


def change_table(results: RunResults) -> Table | None:
    """One row for each trained arm; None where nothing of it was measured."""
    arms = [arm for arm in results.arms if arm.divergence is not None or arm.changes is not None]
    if not arms:
        return None
    titles = (
        "Divergence (nats a token)",
        "Answers changed (%)",
        "Became empty (%)",
        "Cut off (%)",
        "As the target's (%)",
    )
    columns = (Column("Arm", number=False), *(Column(title) for title in titles))
    return Table("changes", "What else changed", columns, tuple(_row(arm) for arm in arms), _NOTE)


def _row(arm: ArmResult) -> tuple[Cell, ...]:
    return (Cell(arm.name), _divergence(arm), *_shares(arm.changes))


def _divergence(arm: ArmResult) -> Cell:
    if arm.divergence is None:
        return Cell(ABSENT)
    own = arm.divergence
    return Cell(
        formatting.decimal(own.value, 4), f"{formatting.decimal(own.low, 4)}, {formatting.decimal(own.high, 4)}"
    )


def _shares(changes: AnswerChanges | None) -> tuple[Cell, ...]:
    if changes is None:
        return (Cell(ABSENT),) * 4
    written = changes.written
    return (
        _share(changes.changed, changes.answers),
        _share(changes.emptied, written),
        _share(changes.cut_off, written),
        _share(changes.as_target, written),
    )


def _share(count: int | None, whole: int) -> Cell:
    return Cell(ABSENT if count is None or not whole else f"{100 * count / whole:.1f}")
