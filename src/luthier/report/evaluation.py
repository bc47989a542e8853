"""What ``luthier eval`` prints: one task a row, its chance level beside its score."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from luthier.errors import ConfigError
from luthier.metrics.metric import Metric
from luthier.metrics.registry import get_metric, metric_of_output
from luthier.metrics.suite_averages import SuiteScore
from luthier.records import Score
from luthier.report.helm_tables import helm_json
from luthier.report.intervals import Intervals, intervals_of
from luthier.report.tables import Cell, Column, Table, Tone
from luthier.report.terminal import DrawnTable, draw
from luthier.results.change import Change
from luthier.results.compared import Compared
from luthier.results.contamination import Contamination
from luthier.results.preference_records import PreferenceResult
from luthier.results.seven import Seven


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """One task, measured.

    Attributes:
        task: Its name.
        chance: What guessing gets, or None.
        scores: The primary one first.
        shots: Fewest and most exemplars that were shown.
        dropped: Examples that did not fit.
        parts: The same scores for each part of the test split, where the task names parts.
        extracted: The same by each further way of taking the answer out.
        majority: What the most frequent answer gets, or None.
        truncated: Generated answers that ran into their limit.
        unparsed: Generated texts in which no answer was found.
        protocol: What the task equals; "" for nothing.
        coarser: The primary score less that of float32 weights, where the engine's are coarser.
        same: Share of answers that are then the same.
        seven: What the suite ``helm`` measured, or None.
        contamination: How much of the items stands in what the model was tuned on; None for a model as it is.
        compared: A second model on the same examples.
        seven_compared: What the suite ``helm`` measured of that model.
        preferences: What the model makes of held-out pairs; None where the task has none.
    """

    task: str
    chance: float | None
    scores: tuple[Score, ...]
    shots: tuple[int, int]
    dropped: int
    parts: Mapping[str, tuple[Score, ...]]
    extracted: Mapping[str, tuple[Score, ...]] = field(default_factory=dict)
    majority: float | None = None
    truncated: int = 0
    unparsed: int = 0
    protocol: str = ""
    coarser: Change | None = None
    same: float | None = None
    seven: Seven | None = None
    contamination: Contamination | None = None
    compared: Compared | None = None
    seven_compared: Seven | None = None
    preferences: PreferenceResult | None = None

    @property
    def normalised(self) -> float | None:
        """100 · (score − chance) ÷ (best − chance), as BIG-bench and its like aggregate; None where it is not known."""
        first, metric = self.scores[0], _metric_of(self.scores[0])
        best = None if metric is None else metric.scale
        if self.chance is None or best is None or math.isnan(first.value) or best == self.chance:
            return None
        return 100 * (first.value - self.chance) / (best - self.chance)


def _metric_of(score: Score) -> Metric | None:
    """Return the metric that a score is of; None for one of another program's tasks."""
    try:
        return get_metric(metric_of_output(score.metric))
    except ConfigError:
        return None


def row_of(found: Any) -> EvaluationRow:
    """Return the row of a task that ``evaluate`` has measured, which lies above this package."""
    predictions = found.log.predictions
    return EvaluationRow(
        task=found.task.name,
        chance=found.task.chance if found.chance is None else found.chance,
        majority=found.majority,
        scores=found.scores,
        shots=found.shots_used,
        dropped=found.dropped,
        parts=found.parts,
        extracted=found.extracted,
        truncated=sum(one.finish == "length" for one in predictions),
        unparsed=sum(one.unparsed for one in predictions),
        protocol=found.task.protocol,
        coarser=found.coarser,
        same=found.same,
        seven=found.seven,
        contamination=found.contamination,
        compared=found.compared,
        seven_compared=found.seven_compared,
        preferences=found.preferences,
    )


def evaluation_table(rows: Sequence[EvaluationRow], averages: Sequence[SuiteScore] = ()) -> DrawnTable:
    """Draw the primary score of each task with its interval; the heading says the level that the scores state.

    Args:
        rows: One for each task.
        averages: Of suites, below the tasks.
    """
    intervals = intervals_of(_shown(rows))
    # What is zero or unknown in every row takes no room from the names.
    optional = {
        "majority": any(row.majority is not None for row in rows),
        "shots": any(any(row.shots) for row in rows),
        "dropped": any(row.dropped for row in rows),
        "cut off": any(row.truncated for row in rows),
        "no answer": any(row.unparsed for row in rows),
    }
    extra = [title for title, wanted in optional.items() if wanted]
    names = (Column("task", number=False), Column("metric", number=False))
    numbers = (Column(title) for title in ("score", intervals.heading(), "chance", "n", *extra))
    lines = [line for row in rows for line in _lines(row, intervals, extra)]
    lines += [_average_line(average, len(extra)) for average in averages]
    return draw(Table("evaluation", "", (*names, *numbers), tuple(lines), _note(rows, averages)))


def _note(rows: Sequence[EvaluationRow], averages: Sequence[SuiteScore]) -> str:
    alike = ", ".join(f"{row.task} {100 * row.same:.0f} %" for row in rows if row.same is not None)
    said = [f"Answers that are the same in float32: {alike}."] if alike else []
    said += [f"{row.task}: {row.contamination.sentence}." for row in rows if row.contamination is not None]
    if averages:
        said.append("A macro average counts every member of a suite the same, a micro average every example.")
    missing = [f"{one.name} {one.measured} of {one.tasks}" for one in averages if one.published]
    partial = [text for text, one in zip(missing, _published(averages), strict=True) if one.measured < one.tasks]
    if partial:
        said.append(f"Averages of a part of their tasks, which are not the suite's number: {', '.join(partial)}.")
    return " ".join(said)


def _published(averages: Sequence[SuiteScore]) -> list[SuiteScore]:
    return [one for one in averages if one.published]


def _average_line(average: SuiteScore, blank: int) -> tuple[Cell, ...]:
    chance = "–" if average.chance is None else _number(average.chance)
    interval = "–" if math.isnan(average.low) else f"{_number(average.low)} – {_number(average.high)}"
    cells = (average.name, f"{average.over} average", _number(average.value), interval, chance, str(average.n))
    tone: Tone = "" if average.published else "muted"
    return tuple(Cell(text, tone=tone) for text in (*cells, *[""] * blank))


def _lines(row: EvaluationRow, intervals: Intervals, extra: Sequence[str]) -> Iterator[tuple[Cell, ...]]:
    """Yield the line of a task, and those of the float32 difference, of other answers and of its parts below it."""
    few, most = row.shots
    further = {
        "majority": "–" if row.majority is None else _number(row.majority),
        "shots": str(few) if few == most else f"{few}–{most}",
        "dropped": str(row.dropped),
        "cut off": str(row.truncated),
        "no answer": str(row.unparsed),
    }
    chance = "–" if row.chance is None else _number(row.chance)
    blank = [""] * len(extra)
    first = (row.task, *_measured(row.scores[0], intervals), chance, str(row.scores[0].n))
    yield tuple(Cell(text) for text in (*first, *(further[title] for title in extra)))
    if row.coarser is not None:
        cost = row.coarser
        interval = intervals.beside(cost, f"{cost.low:+.3f} – {cost.high:+.3f}")
        line = ("  less float32", row.scores[0].metric, f"{cost.value:+.3f}", interval, "", str(cost.n), *blank)
        yield tuple(Cell(text) for text in line)
    if row.compared is not None:
        yield from _compared_lines(row.compared, intervals, blank)
    for name, scores in (*_apart(row).items(), *row.extracted.items(), *row.parts.items()):
        line = (f"  {name}", *_measured(scores[0], intervals), "", str(scores[0].n), *blank)
        yield tuple(Cell(text, tone="muted") for text in line)


def _compared_lines(compared: Compared, intervals: Intervals, blank: Sequence[str]) -> Iterator[tuple[Cell, ...]]:
    """Yield the line of a second model, and that of the paired difference."""
    other, less = compared.score, compared.change
    line = (f"  {compared.model}", *_measured(other, intervals), "", str(other.n), *blank)
    yield tuple(Cell(text, tone="muted") for text in line)
    interval = intervals.beside(less, f"{less.low:+.3f} – {less.high:+.3f}")
    better = (less.value > 0) == compared.higher_is_better
    mark = "" if not less.significant else " ▲" if better else " ▼"
    line = ("  difference", other.metric, f"{less.value:+.3f}{mark}", interval, "", str(less.n), *blank)
    yield tuple(Cell(text) for text in line)


def _shown(rows: Sequence[EvaluationRow]) -> Iterator[Score | Change | None]:
    for row in rows:
        yield row.scores[0]
        yield row.coarser
        yield row.compared.score if row.compared else None
        yield row.compared.change if row.compared else None
        yield from (scores[0] for scores in (*_apart(row).values(), *row.extracted.values(), *row.parts.values()))


def _apart(row: EvaluationRow) -> dict[str, tuple[Score, ...]]:
    """Return the scores of items that stand in the training data, and of those that do not, where some do."""
    found = row.contamination
    if found is None or found.on_dirty is None:
        return {}
    parts = {"not in training": found.on_clean, "in training": found.on_dirty}
    return {name: (own,) for name, own in parts.items() if own is not None}


def _measured(score: Score, intervals: Intervals) -> tuple[str, str, str]:
    interval = intervals.beside(score, f"{_number(score.low)} – {_number(score.high)}")
    return score.metric, _number(score.value), interval


def evaluation_json(rows: Sequence[EvaluationRow], averages: Sequence[SuiteScore] = ()) -> dict[str, object]:
    """Return every score of every task as JSON has it; what was not measured is null.

    The averages of suites stand under ``averages``, and what the suite ``helm`` measured under ``helm``; of
    a second model under ``helm_compared``.
    """
    tasks: dict[str, object] = {
        row.task: {
            "chance": row.chance,
            "majority": row.majority,
            "normalised": row.normalised,
            "shots": list(row.shots),
            "dropped": row.dropped,
            "truncated": row.truncated,
            "unparsed": row.unparsed,
            "protocol": row.protocol,
            "scores": _plain(row.scores),
            "parts": {part: _plain(scores) for part, scores in row.parts.items()},
            "extracted": {name: _plain(scores) for name, scores in row.extracted.items()},
        }
        | _plain_contamination(row)
        | _plain_preferences(row)
        | _plain_cost(row)
        for row in rows
    }
    plain = [{key: _finite(value) for key, value in asdict(one).items()} for one in averages]
    seven = helm_json([row.seven for row in rows if row.seven is not None])
    second = helm_json([row.seven_compared for row in rows if row.seven_compared is not None])
    return (
        tasks
        | ({"averages": plain} if plain else {})
        | ({"helm": seven} if seven else {})
        | ({"helm_compared": second} if second else {})
    )


def _plain(scores: Sequence[Score]) -> list[dict[str, object]]:
    return [{key: _finite(value) for key, value in asdict(score).items()} for score in scores]


def _plain_preferences(row: EvaluationRow) -> dict[str, object]:
    """Return what is known of held-out pairs; nothing where the task has none."""
    if row.preferences is None:
        return {}
    known = asdict(row.preferences).items()
    return {"preferences": {name: {key: _finite(value) for key, value in own.items()} for name, own in known}}


def _plain_contamination(row: EvaluationRow) -> dict[str, object]:
    found = row.contamination
    if found is None:
        return {}
    counts = {"dirty": found.dirty, "clean": found.clean, "unknown": found.unknown}
    scores = {name: _plain([own])[0] for name, own in (("clean", found.on_clean), ("dirty", found.on_dirty)) if own}
    said = {"training": found.training} | counts if found.training else {"why": found.why}
    return {"contamination": said | ({"scores": scores} if scores else {})}


def _plain_cost(row: EvaluationRow) -> dict[str, object]:
    found: dict[str, object] = {}
    if row.coarser is not None:
        found |= {"less_float32": _plain_record(row.coarser), "same_answers": row.same}
    if row.compared is not None:
        score, less = _plain([row.compared.score])[0], _plain_record(row.compared.change)
        found["compared"] = {"model": row.compared.model, "score": score, "difference": less}
    return found


def _plain_record(change: Change) -> dict[str, object]:
    return {key: _finite(value) for key, value in asdict(change).items()}


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
