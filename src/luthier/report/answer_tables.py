"""The tables of what each arm answers: how often each answer, scores of each class, and confusion matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from luthier.report import formatting
from luthier.report.tables import Cell, Column, Table, Tone
from luthier.results.answers import AnswerSummary
from luthier.results.records import ArmResult, RunResults

MOST_COLUMNS = 8
"""Answers that have a column of their own; the rest stand together in one."""
_LONGEST = 24


def answers_table(results: RunResults) -> Table | None:
    """One row for each arm, and first one for the targets: the share of each answer.

    ``None`` where no arm's answers are known, or where they are free text that is different for every example.
    """
    known = _known(results)
    names = _columns(known)
    if not names:
        return None
    others = any(sum(one.given for one in own.counts if one.answer in names) < own.n for _, own in known)
    first = known[0][1]
    targets = {one.answer: one.target for one in first.counts}
    rows = [_row("targets", targets, first.n, names, others=others, distinct=None)]
    for arm, own in known:
        given = {one.answer: one.given for one in own.counts}
        rows.append(_row(arm.name, given, own.n, names, others=others, distinct=own.distinct))
    titles = (*(_short(name) for name in names), *(["others"] if others else []), "Different")
    columns = (Column("Arm", number=False), *(Column(title) for title in titles))
    note = (
        "Share of each answer to the test split, the targets' above. Different: how many different answers there are."
    )
    return Table("answers", "Answers given", columns, tuple(rows), note)


def _known(results: RunResults) -> list[tuple[ArmResult, AnswerSummary]]:
    return [(arm, arm.answers) for arm in results.arms if arm.answers and arm.answers.n]


def _columns(known: Sequence[tuple[ArmResult, AnswerSummary]]) -> list[str]:
    """Return the answers that have a column: the classes, or what comes up often in some arm."""
    if not known:
        return []
    classes = known[0][1].labels
    if classes:
        order = sorted(known[0][1].counts, key=lambda one: -one.target)
        most = {one.answer for one in order[:MOST_COLUMNS]}
        return [label for label in classes if label in most]
    often = {one.answer for _, own in known for one in own.counts if 10 * max(one.given, one.target) >= own.n}
    shown = [one.answer for _, own in known for one in own.counts if one.answer in often]
    return list(dict.fromkeys(shown))[:MOST_COLUMNS]


def _row(
    name: str, counts: Mapping[str, int], n: int, names: Sequence[str], *, others: bool, distinct: int | None
) -> tuple[Cell, ...]:
    """Write the shares of the named answers, of all others, and the number of different answers (None: the targets)."""
    tone: Tone = "muted" if distinct is None else ""
    shares = [counts.get(answer, 0) for answer in names]
    values = [_percent(share, n) for share in [*shares, *([n - sum(shares)] if others else [])]]
    values.append("" if distinct is None else f"{distinct:,}")
    return (Cell(name, tone=tone), *(Cell(value, tone=tone) for value in values))


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else formatting.ABSENT


def _short(text: str) -> str:
    line = " ".join(text.split()) or "(empty)"
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def classes_table(results: RunResults) -> Table | None:
    """One row for each class and arm: precision, recall, F1 and support; ``None`` where the answers are no classes."""
    known = [(arm, own) for arm, own in _known(results) if own.classes]
    if not known:
        return None
    rows = []
    for index, label in enumerate(known[0][1].labels):
        for turn, (arm, own) in enumerate(known):
            one = own.classes[index]
            numbers = (formatting.decimal(value, 3) for value in (one.precision, one.recall, one.f1))
            head = Cell(_short(label), f"{one.support:,} targets") if turn == 0 else Cell("")
            rows.append((head, Cell(arm.name), *(Cell(number) for number in numbers)))
    columns = (Column("Class", number=False), Column("Arm", number=False))
    heads = (*columns, *(Column(title) for title in ("Precision", "Recall", "F1")))
    note = (
        "Precision: share of the answers of this class that are right. Recall: share of its targets that are found. "
        "F1: their harmonic mean."
    )
    return Table("classes", "Scores of each class", heads, tuple(rows), f"{note}{_runs_note(results)}")


def class_f1_table(results: RunResults) -> Table | None:
    """One row for each arm with the F1 of each class: the compact form of :func:`classes_table`, for terminals."""
    known = [(arm, own) for arm, own in _known(results) if own.classes]
    if not known:
        return None
    most = _columns(known)
    rows = tuple(
        (Cell(arm.name), *(Cell(formatting.decimal(one.f1, 3)) for one in own.classes if one.label in most))
        for arm, own in known
    )
    columns = (Column("Arm", number=False), *(Column(_short(one)) for one in known[0][1].labels if one in most))
    all_classes = len(known[0][1].labels)
    rest = f" The {len(most)} most frequent of {all_classes} classes." if len(most) < all_classes else ""
    return Table("class_f1", "F1 of each class", columns, rows, f"The page has precision and recall too.{rest}")


def shown_confusion(results: RunResults) -> Table | None:
    """Return one confusion matrix for a terminal: of the recommended arm, else of the one with the best score."""
    better = 1 if results.task.higher_is_better else -1
    known = {arm.name: (arm, own) for arm, own in _known(results) if 1 < len(own.labels) <= MOST_COLUMNS and arm.scores}
    if not known:
        return None
    best = max(known, key=lambda name: better * known[name][0].scores[0].value)
    arm = results.recommendation.arm if results.recommendation.arm in known else best
    return _confusion(results, *known[arm or best])


def confusion_tables(results: RunResults) -> list[Table]:
    """One table for each arm: targets in rows, answers in columns; none where the answers are no classes."""
    return [_confusion(results, arm, own) for arm, own in _known(results) if own.confusion]


def _confusion(results: RunResults, arm: ArmResult, own: AnswerSummary) -> Table:
    none = any(row[-1] for row in own.confusion)
    rows = tuple(
        (
            Cell(_short(label)),
            *(Cell(f"{count:,}" if count else "·", tone="" if count else "muted") for count in row[:-1]),
            *([Cell(f"{row[-1]:,}")] if none else []),
        )
        for label, row in zip(own.labels, own.confusion, strict=True)
    )
    titles = [*(_short(label) for label in own.labels), *(["no class"] if none else [])]
    columns = (Column("Target", number=False), *(Column(title) for title in titles))
    note = f"Rows: what was right; columns: what {arm.name} answered.{_runs_note(results)}"
    return Table(f"confusion-{results.arms.index(arm)}", f"Confusion matrix of {arm.name}", columns, rows, note)


def _runs_note(results: RunResults) -> str:
    most = max((len(arm.per_seed) for arm in results.arms), default=0)
    return f" Counted over the {most} training runs of an arm together." if most > 1 else ""
