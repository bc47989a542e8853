"""Held-out pairs of answers: which of the two the arms find likelier, and what became of the chosen one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from luthier.records import Score
from luthier.report import formatting
from luthier.report.intervals import Intervals, intervals_of
from luthier.report.tables import CORRECTED, Cell, Column, Table, change_cell, interval_note, value_cell
from luthier.results.preference_records import PreferenceResult
from luthier.results.records import RunResults

_DIGITS, _NATS = 3, 2
_FALLEN = 0.5


def preference_table(results: RunResults) -> Table | None:
    """One row for the base and each trained arm; None where the task has no pairs."""
    found = [(arm.name, arm.preferences) for arm in results.arms if arm.preferences is not None]
    trained = [arm for arm in results.arms if arm.preferences is not None]
    return pairs_table(found, lambda intervals: interval_note(trained, intervals)) if found else None


def pairs_table(found: Sequence[tuple[str, PreferenceResult]], held: Callable[[Intervals], str]) -> Table:
    """One row for the base and each of some models, by name.

    Args:
        found: What is known of each, on the same pairs.
        held: Says what the intervals hold, as a continuation of a sentence.
    """
    before = found[0][1].before
    shown = [value for _, own in found for value in (own.accuracy, own.change, own.accuracy_by_token, own.margin)]
    intervals = intervals_of([before, *shown])
    titles = ("Pair accuracy ↑", "Change", "By token ↑", "Margin (nats) ↑", "Margin grew", "Chosen fell ↓")
    columns = (Column("Arm", number=False), *(Column(title) for title in titles))
    base = (Cell("base", tone="muted"), value_cell(before, _DIGITS, intervals), *[Cell("", tone="muted")] * 5)
    rows = (base, *(_row(name, own, intervals) for name, own in found))
    note = (
        f"{before.n:,} held-out pairs{held(intervals)}. Pair accuracy: the chosen answer is likelier "
        "than the rejected one, by the sum over its tokens; by token: by their mean, so that length counts for "
        "nothing. Margin: what the arm raised the chosen answer above the rejected one, against the base. Chosen "
        "fell: the chosen answer became less likely than the base finds it. Change: paired, from the base; ▲ and ▼ "
        "where the test says so (McNemar's, where no two pairs have one prompt and there is one seed)."
    )
    return Table("preferences", "Held-out pairs", columns, rows, note)


def _row(name: str, own: PreferenceResult, intervals: Intervals) -> tuple[Cell, ...]:
    fell = _share(own.chosen_fell)
    return (
        Cell(name),
        value_cell(own.accuracy, _DIGITS, intervals),
        change_cell(own.change, _DIGITS, intervals, higher_better=True),
        value_cell(own.accuracy_by_token, _DIGITS, intervals),
        value_cell(own.margin, _NATS, intervals),
        _share(own.gained),
        Cell(fell.main, "most fell" if own.chosen_fell.value > _FALLEN else "", fell.tone),
    )


def _share(score: Score) -> Cell:
    return Cell(f"{formatting.decimal(100 * score.value, 1)} %")


def preference_pairs_table(results: RunResults) -> Table | None:
    """Every two trained arms by pair accuracy; None where there are fewer than two."""
    if not results.preference_pairs:
        return None
    intervals = intervals_of(pair.change for pair in results.preference_pairs)
    rows = tuple(
        (
            Cell(f"{pair.a} − {pair.b}"),
            change_cell(pair.change, _DIGITS, intervals, higher_better=True),
            Cell(formatting.probability(pair.change.p_value)),
        )
        for pair in results.preference_pairs
    )
    columns = (Column("Arms", number=False), Column("Difference"), Column("p"))
    note = f"Paired differences of pair accuracy{interval_note(results.arms, intervals)}. {CORRECTED}"
    return Table("preference-pairs", "Every pair of arms on held-out pairs", columns, rows, note)
