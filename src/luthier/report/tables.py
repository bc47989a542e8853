"""The tables of a report as plain cells, before anything decides how they look.

Terminal, Markdown and page draw the same tables, so that they say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from luthier.metrics.task_metrics import TOKEN_LOSS
from luthier.records import Score
from luthier.report import derived, formatting
from luthier.report.formatting import ABSENT
from luthier.report.intervals import Intervals, intervals_of, variance_words
from luthier.results.change import Change
from luthier.results.choice import point_name
from luthier.results.guessing import beats_guessing, guesses
from luthier.results.records import ArmResult, PointResult, RetentionResult, RunResults

Tone = Literal["", "good", "bad", "muted"]
MARKS: dict[Tone, str] = {"good": "▲", "bad": "▼", "": "", "muted": ""}
"""Shown beside significant differences, so that colour is never the only sign."""
CORRECTED = (
    "▲ and ▼ are Holm-corrected for the comparisons made together, the intervals are not: an interval may exclude 0 "
    "where no mark stands."
)
"""Why an interval may leave out zero and have no mark."""

_PRECISION_DIGITS = 4
LOSS_TITLE = "Token loss (nats) ↓"


@dataclass(frozen=True, slots=True)
class Cell:
    """``main`` is the value, ``below`` what qualifies it (an interval, a task's name), ``tone`` what it means."""

    main: str
    below: str = ""
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A heading; numbers are aligned to the right."""

    title: str
    number: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Attributes:
        key: Short name, for anchors.
        title: What it shows.
        columns: One heading for each cell of a row.
        rows: Cells.
        note: How to read it.
    """

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


def quality_table(results: RunResults) -> Table:
    """One row for each arm: primary score, difference from the first arm, forgetting, token loss."""
    scores = [derived.primary(results, arm) for arm in results.arms]
    digits = derived.score_digits(results)
    better = results.task.higher_is_better
    points = [point for arm in results.arms for point in derived.points_beside(arm)]
    beside = [shown for point in points for shown in (derived.primary(results, point), point.against_first)]
    intervals = intervals_of([*scores, *(arm.against_first for arm in results.arms), *beside])
    rows: tuple[tuple[Cell, ...], ...] = ()
    for index, (arm, score) in enumerate(zip(results.arms, scores, strict=True)):
        change = change_cell(arm.against_first, digits, intervals, higher_better=better)
        rows += (
            (
                Cell(arm.name),
                Cell("failed") if arm.failed else value_cell(score, digits, intervals),
                Cell("first arm", tone="muted") if index == 0 else change,
                _forgetting(arm),
                _token_loss(arm, derived.LOSS_DIGITS, intervals),
            ),
        )
        rows += tuple(_point_row(results, arm, point, digits, intervals) for point in derived.points_beside(arm))
    rows += tuple(_guessing_row(name, value, digits) for name, value in guesses(results.task))
    arrow = "↑" if better else "↓"
    titles = (f"{derived.primary_name(results)} {arrow}", "Difference", "Other tasks (points)", LOSS_TITLE)
    columns = (Column("Arm", number=False), *(Column(title) for title in titles))
    return Table("quality", "Quality", columns, rows, _quality_note(results, intervals))


def _point_row(
    results: RunResults, arm: ArmResult, point: PointResult, digits: int, intervals: Intervals
) -> tuple[Cell, ...]:
    """Write an arm at a point between the base and itself."""
    return (
        Cell(point_name(arm.name, point.at), tone="muted"),
        value_cell(derived.primary(results, point), digits, intervals),
        change_cell(point.against_first, digits, intervals, higher_better=results.task.higher_is_better),
        _lost(point),
        _change_of_loss(point.token_loss, derived.LOSS_DIGITS, intervals),
    )


def _guessing_row(name: str, value: float, digits: int) -> tuple[Cell, ...]:
    """Write what an arm must beat, in the column of the arms' scores."""
    return (Cell(name, tone="muted"), Cell(formatting.decimal(value, digits), tone="muted"), *[Cell("")] * 3)


def _quality_note(results: RunResults, intervals: Intervals) -> str:
    n = max((score.n for arm in results.arms if (score := derived.primary(results, arm))), default=0)
    held = interval_note(results.arms, intervals)
    return (
        f"{results.task.name}, {n:,} test examples{held}. Difference: paired, from the first arm. ▲ better and ▼ worse "
        f"where it is significant. {CORRECTED} Other tasks: mean change after training, and below it the "
        "worst task. Token loss: its change on plain text, in nats per token; + is worse."
        f"{_points_note(results)}{_guessing_note(results)}{_weights_note(results)}{precision_note(results)}"
    )


def _points_note(results: RunResults) -> str:
    """Say what stands below an arm, where anything does."""
    if not any(derived.points_beside(arm) for arm in results.arms):
        return ""
    return (
        " An arm at a point: weights between the base's (0) and its own (1), without training (WiSE-FT); their "
        "differences are corrected together."
    )


def _weights_note(results: RunResults) -> str:
    """Say which weights every arm begins with, where they are not those that were published."""
    model = results.model
    return f" Weights: {model.file}, dequantised from {model.quantisation}." if model.quantisation else ""


def precision_note(results: RunResults) -> str:
    """Say what a lower precision of matrix products changes: of the base's answers and of the references' loss."""
    found = results.lower_precision
    if found is None:
        return ""
    metric, loss = found.metric_change, found.loss_change
    return (
        f" Matrix products in {found.precision}: on {found.examples} test examples the base gave "
        f"{found.same_answers} answers as in float32; {found.metric} {_shift(metric)}, "
        f"loss of the references {_shift(loss)} nats per token."
    )


def _shift(change: Change) -> str:
    low, high = (formatting.signed(end, _PRECISION_DIGITS) for end in (change.low, change.high))
    return f"{formatting.signed(change.value, _PRECISION_DIGITS)} [{low}, {high}]"


def _guessing_note(results: RunResults) -> str:
    """Say what the rows of guesses are, and which arms are not better."""
    majority = results.task.majority
    if not guesses(results.task):
        return ""
    chance = " Chance: random guesses." if results.task.chance is not None else ""
    always = f" Always '{majority.answer}': the most frequent label of the {majority.split} split." if majority else ""
    scores = [(arm.name, derived.primary(results, arm)) for arm in results.arms]
    low = [name for name, score in scores if score is not None and not beats_guessing(score, results.task)]
    equal = f" Not better than guessing, because the interval does not exclude it: {', '.join(low)}." if low else ""
    return f"{chance}{always}{equal}"


def interval_note(arms: Iterable[ArmResult], intervals: Intervals) -> str:
    """Say what stands in brackets and behind ±, as a continuation of a sentence."""
    arms = tuple(arms)
    held = f"; {intervals.words()} in brackets {variance_words(arms, intervals)}" if intervals.levels else ""
    most = max((len(arm.seeds) for arm in arms), default=0)
    return f"{held}; ± standard deviation over {most} training runs" if most > 1 else held


def value_cell(score: Score | None, digits: int, intervals: Intervals) -> Cell:
    """Write a score with its interval."""
    if score is None:
        return Cell(ABSENT)
    main = formatting.with_spread(formatting.decimal(score.value, digits), score.spread, digits)
    return Cell(main, intervals.write(score, digits))


def change_cell(change: Change | None, digits: int, intervals: Intervals, *, higher_better: bool) -> Cell:
    """Write a difference with its interval; its tone says what the test says."""
    if change is None:
        return Cell(ABSENT)
    tone: Tone = "muted"
    if found := derived.verdict(change, higher_better):
        tone = "good" if found == "good" else "bad"
    main = formatting.with_spread(formatting.signed(change.value, digits), change.spread, digits)
    return Cell(main, intervals.write(change, digits, sign=True), tone)


def _forgetting(arm: ArmResult) -> Cell:
    if not derived.trained(arm):
        return Cell("unchanged", tone="muted")
    return _lost(arm)


def _lost(arm: ArmResult | PointResult) -> Cell:
    lost = derived.forgetting(arm)
    if lost is None:
        return Cell(ABSENT, "beyond the base" if any(not item.able for item in arm.retained) else "")
    mark = MARKS["bad" if lost.worst < 0 else "good"] if lost.worst_significant else ""
    worst = f"{formatting.signed(lost.worst, 1)} {lost.worst_task} {mark}".rstrip()
    return Cell(formatting.with_spread(formatting.signed(lost.mean, 1), lost.spread, 1), worst)


def _token_loss(arm: ArmResult, digits: int, intervals: Intervals) -> Cell:
    if not derived.trained(arm):
        return Cell("unchanged", tone="muted")
    return _change_of_loss(arm.token_loss, digits, intervals)


def _change_of_loss(loss: RetentionResult | None, digits: int, intervals: Intervals) -> Cell:
    change = loss.change if loss else None
    # The column is narrow: the spread takes the place of the interval, which the retention table has.
    narrow = change_cell(replace(change, spread=None) if change else None, digits, intervals, higher_better=False)
    spread = change.spread if change else None
    return replace(narrow, below="" if formatting.absent(spread) else f"± {formatting.decimal(spread, digits)}")


def retention_table(results: RunResults) -> Table | None:
    """One row for each retained task and trained arm, before against after; ``None`` when none was measured."""
    return retention_of(results.arms)


def retention_of(arms: Sequence[ArmResult]) -> Table | None:
    """Return the table of what some arms retained; ``None`` when nothing was measured."""
    found = [(arm, item) for arm in arms for item in arm.retained]
    order = {task: index for index, task in enumerate(derived.retained_tasks(arms))}
    found.sort(key=lambda pair: order[pair[1].task])
    found += [(arm, arm.token_loss) for arm in arms if arm.token_loss]
    if not found:
        return None
    intervals = intervals_of(shown for _, item in found for shown in (item.before, item.after, item.change))
    starts = [k == 0 or found[k - 1][1].task != item.task for k, (_, item) in enumerate(found)]
    rows = tuple(_retention_row(arm, item, intervals, start) for (arm, item), start in zip(found, starts, strict=True))
    # What is asked for stands first: on a narrow page or terminal it is in view.
    titles = ("Change", "Before", "After")
    columns = (Column("Task", number=False), Column("Arm", number=False), *(Column(title) for title in titles))
    trained = [arm for arm in arms if derived.trained(arm)]
    note = (
        "Tasks that were not trained on, measured with the method detached (before) and attached (after)"
        f"{interval_note(trained, intervals)}. ↑ higher is better, ↓ lower is better; ▲ gained and ▼ forgotten where "
        f"the change is significant. {CORRECTED} A change without a mark is not the same as kept: below an arm "
        "stands the smallest true change that its corrected test finds with 80 % power (Miller 2024, section 5)."
        f"{_unable_note([item for _, item in found])}"
    )
    return Table("retention", "Retention", columns, rows, note)


def _unable_note(items: Sequence[RetentionResult]) -> str:
    names = dict.fromkeys(item.task for item in items if not item.able)
    if not names:
        return ""
    return (
        f" Grey, and in no mean, because the base cannot do it (its interval includes chance): {', '.join(names)}. "
        "What was never known cannot be forgotten."
    )


def _retention_row(arm: ArmResult, item: RetentionResult, intervals: Intervals, names_task: bool) -> tuple[Cell, ...]:
    loss = item.metric == TOKEN_LOSS.primary
    digits = derived.LOSS_DIGITS if loss else formatting.digits_for((item.before.value, item.after.value))
    named = ("plain text", "token loss (nats)") if loss else (item.task, item.metric)
    chance = "" if item.chance is None else f", chance {formatting.decimal(item.chance, digits)}"
    arrow = "↑" if item.higher_is_better else "↓"
    return (
        _greyed(Cell(named[0], f"{named[1]} {arrow}{chance}"), item) if names_task else Cell(""),
        Cell(arm.name, ", ".join(filter(None, (_SEEN * item.seen, _detectable(item.change, digits))))),
        _greyed(change_cell(item.change, digits, intervals, higher_better=item.higher_is_better), item),
        _greyed(value_cell(item.before, digits, intervals), item),
        _greyed(value_cell(item.after, digits, intervals), item),
    )


_SEEN = "seen in training"
"""Stands below an arm that was trained on other examples of the task."""


def _greyed(cell: Cell, item: RetentionResult) -> Cell:
    """Grey what stands of a task that the base cannot do: it says nothing of forgetting."""
    return cell if item.able else replace(cell, tone="muted")


def _detectable(change: Change, digits: int) -> str:
    known = not formatting.absent(change.detectable) and not change.significant
    return f"detects {formatting.decimal(change.detectable, digits)}" if known else ""


def scores_table(results: RunResults) -> Table | None:
    """Every metric of the target task for every arm; ``None`` when there is no more than the primary one."""
    metrics = list(dict.fromkeys(score.metric for arm in results.arms for score in arm.scores))
    if len(metrics) < 2:
        return None
    intervals = intervals_of(score for arm in results.arms for score in arm.scores)
    columns: list[Callable[[ArmResult], Cell]] = [_column_of(results, metric, intervals) for metric in metrics]
    rows = tuple((Cell(arm.name), *(column(arm) for column in columns)) for arm in results.arms)
    heads = (Column("Arm", number=False), *(Column(metric) for metric in metrics))
    note = interval_note(results.arms, intervals).removeprefix("; ")
    return Table("scores", "All scores on the target task", heads, rows, f"{note}." if note else "")


def _column_of(results: RunResults, metric: str, intervals: Intervals) -> Callable[[ArmResult], Cell]:
    values = [score.value for arm in results.arms for score in arm.scores if score.metric == metric]
    digits = formatting.digits_for(values)

    def cell(arm: ArmResult) -> Cell:
        return value_cell(next((score for score in arm.scores if score.metric == metric), None), digits, intervals)

    return cell


def pairs_table(results: RunResults) -> Table | None:
    """Every pair of arms; ``None`` when there is one arm."""
    if not results.pairs:
        return None
    digits = formatting.digits_for(pair.change.value for pair in results.pairs)
    better = results.task.higher_is_better
    intervals = intervals_of(pair.change for pair in results.pairs)
    rows = tuple(
        (
            Cell(f"{pair.a} − {pair.b}"),
            change_cell(pair.change, digits, intervals, higher_better=better),
            Cell(formatting.probability(pair.change.p_value)),
            Cell(f"{pair.change.n:,}"),
        )
        for pair in results.pairs
    )
    columns = (Column("Arms", number=False), Column("Difference"), Column("p"), Column("Pairs"))
    note = (
        f"Paired differences of {derived.primary_name(results)}{interval_note(results.arms, intervals)}; p is "
        f"two-sided, after Holm's correction. {CORRECTED}"
    )
    return Table("pairs", "Every pair of arms", columns, rows, note)
