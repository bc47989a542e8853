"""Records as a notebook shows them, and as they are printed: the tables of the page and of the terminal.

:mod:`luthier.display` names this module, and the records name their views. What lies above this package, or beside it,
is known here by its attributes alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from rich.console import RenderableType
from rich.text import Text

from luthier.console import printed
from luthier.records import Score
from luthier.report import tables
from luthier.report.contents import all_tables
from luthier.report.cost_tables import measured_table
from luthier.report.evaluation import evaluation_table, row_of
from luthier.report.helm_tables import helm_notes, helm_tables
from luthier.report.helm_wins import win_table
from luthier.report.html import resource, template
from luthier.report.learning_curve import curve_tables, notes_of, verdicts
from luthier.report.merged import combined_table, merged_table
from luthier.report.preference_tables import pairs_table
from luthier.report.record_tables import Described, answered_table, score_table, task_table, tuned_table
from luthier.report.sample_table import sample_table
from luthier.report.sequence_tables import sequence_tables, sequence_verdicts
from luthier.report.tables import Table
from luthier.report.terminal import draw, notes
from luthier.report.words import arm_in_words, settings_in_words
from luthier.results.curve_records import CurveResults
from luthier.results.records import ArmResult, RunCosts, RunResults
from luthier.results.sequence_records import SequenceResults
from luthier.results.seven import Seven

_OPEN = 30
"""Rows of a table that is not folded in a notebook."""


@dataclass(frozen=True, slots=True)
class View:
    """What is shown of a record.

    Attributes:
        tables: In order.
        head: What stands above them, in words.
        folded: Tables that a notebook shows on request, and that are not printed.
        texts: Titles and texts that are shown as they are.
        notes: What stands below, in words.
    """

    tables: Sequence[Table]
    head: Sequence[str] = ()
    folded: Sequence[Table] = ()
    texts: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()


def as_html(record: Any) -> str:
    """Return a record as HTML for a notebook: escaped, without a script, readable on light and dark."""
    style = Markup(resource("displays.css"))  # our own file
    return template("displays.html.j2").render(view=_view(record), style=style)


def as_text(record: Any) -> str:
    """Return a record as a terminal shows it, as wide as the terminal is, without colours."""
    return printed(parts(record), width=shutil.get_terminal_size().columns)


def _view(record: Any) -> View:
    return VIEWS[record.view](record)


def parts(record: Any) -> Iterable[RenderableType]:
    """Yield what a terminal shows of a record."""
    view = _view(record)
    yield from map(Text, filter(None, view.head))
    yield from map(draw, view.tables)
    for title, text in view.texts:
        yield Text(f"{title}:\n{text}\n")
    yield from map(Text, view.notes)


def _run(results: RunResults) -> View:
    """Show the recommendation and the tables of a run; the cost table needs its costs: see :func:`_costs`."""
    made = all_tables(results, None)
    shown = ("quality", "retention", "choice", "answers")
    first = [table for table in made if table.key in shown and len(table.rows) <= _OPEN]
    said = results.recommendation
    return View(
        first, (said.headline, said.sentence), [table for table in made if table not in first], (), notes(results)
    )


def _arm(arm: ArmResult) -> View:
    found = [score_table(arm.scores) if arm.scores else None, tables.retention_of([arm])]
    settings = ", ".join(f"{key} {value}" for key, value in settings_in_words(arm))
    below = [f"Failed: {arm.failed}"] * bool(arm.failed) + [f"Settings: {settings}."] * bool(settings)
    return View(
        [table for table in found if table is not None],
        (f"{arm.name}: {arm_in_words(arm)}",),
        notes=[*below, *arm.notes],
    )


def _score(score: Score) -> View:
    return View([score_table([score])], notes=(score.signature,))


def _costs(costs: RunCosts) -> View:
    return View([measured_table(costs)])


def _evaluation(measured: Sequence[Any]) -> View:
    """Show tasks as ``luthier eval`` does; of a single one every score."""
    first = evaluation_table([row_of(item) for item in measured], getattr(measured, "averages", ())).table
    more = [score_table(item.scores, of=item.task.name) for item in measured if len(item.scores) > 1]
    pairs = [
        pairs_table([(item.task.name, item.preferences)], lambda own: f"; {own.words()} in brackets")
        for item in measured
        if item.preferences is not None
    ]
    seven = [item.seven for item in measured if item.seven is not None]
    if not seven:
        return View([first, *pairs], folded=more)
    shown, *behind = helm_tables(seven)
    wins = [win_table(models)] if len(models := models_of(measured)) > 1 else []
    return View([first, *pairs, shown, *wins], folded=[*behind, *more], notes=helm_notes(seven))


def models_of(measured: Sequence[Any]) -> dict[str, list[Seven]]:
    """Return what the suite ``helm`` measured, by model: the first, and the second one where one was named."""
    found = {"first model": [item.seven for item in measured if item.seven is not None]}
    for item in measured:
        if item.seven_compared is not None and item.compared is not None:
            found.setdefault(item.compared.model, []).append(item.seven_compared)
    return found


def _task(task: Described) -> View:
    return View([task_table(task)], texts=list(task.wordings().items()))


def _curve(results: CurveResults) -> View:
    """Show what more examples would give, and the tables that it follows from."""
    return View(curve_tables(results), notes=[*notes_of(results), *verdicts(results)])


def _sequence(results: SequenceResults) -> View:
    """Show what the sequence left, and the matrix of each arm."""
    return View(sequence_tables(results), notes=sequence_verdicts(results))


VIEWS: dict[str, Callable[[Any], View]] = {
    "run": _run,
    "arm": _arm,
    "score": _score,
    "costs": _costs,
    "curve": _curve,
    "sequence": _sequence,
    "evaluation": _evaluation,
    "evaluated task": lambda found: _evaluation([found]),
    "answered rows": lambda found: View([answered_table(found)]),
    "samples": lambda found: View([sample_table(found)]),
    "tuned": lambda found: View([tuned_table(found.trained, found.folder)]),
    "merged": lambda found: View([merged_table(found)]),
    "combined": lambda found: View([combined_table(found)]),
    "task": _task,
}
"""What is shown of each kind of record, by the name of its view."""
