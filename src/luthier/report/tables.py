"""The tables of a report as plain cells, before anything decides how they look.

Terminal, Markdown and page draw the same sheets, so that they say the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from luthier.records import Score
from luthier.report import derived, formatting
from luthier.report.formatting import ABSENT
from luthier.results.records import ArmCosts, ArmResult, Change, RetentionResult, RunCosts, RunResults

Tone = Literal["", "good", "bad", "muted"]
STORED_TASKS = (1, 10, 100)
"""Numbers of tasks for which storage is told."""
MARKS: dict[Tone, str] = {"good": "▲", "bad": "▼", "": "", "muted": ""}
"""Shown beside significant differences, so that colour is never the only sign."""


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
class Sheet:
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


def _value(score: Score | None, digits: int) -> Cell:
    if score is None:
        return Cell(ABSENT)
    return Cell(formatting.decimal(score.value, digits), formatting.interval(score.low, score.high, digits))


def _change(change: Change | None, digits: int, higher_better: bool) -> Cell:
    if change is None:
        return Cell(ABSENT)
    tone: Tone = "muted"
    if found := derived.verdict(change, higher_better):
        tone = "good" if found == "good" else "bad"
    below = formatting.interval(change.low, change.high, digits, sign=True)
    return Cell(formatting.signed(change.value, digits), below, tone)


def _forgetting(arm: ArmResult) -> Cell:
    if not derived.trained(arm):
        return Cell("unchanged", tone="muted")
    lost = derived.forgetting(arm)
    if lost is None:
        return Cell(ABSENT)
    mark = MARKS["bad" if lost.worst < 0 else "good"] if lost.worst_significant else ""
    worst = f"{formatting.signed(lost.worst, 1)} {lost.worst_task} {mark}".rstrip()
    return Cell(formatting.signed(lost.mean, 1), worst)


def _token_loss(arm: ArmResult, digits: int) -> Cell:
    if not derived.trained(arm):
        return Cell("unchanged", tone="muted")
    found = _change(arm.token_loss.change if arm.token_loss else None, digits, higher_better=False)
    return replace(found, below="")


def quality_sheet(results: RunResults) -> Sheet:
    """One row for each arm: primary score, difference from the first arm, forgetting, token loss."""
    scores = [derived.primary(results, arm) for arm in results.arms]
    digits = formatting.digits_for(score.value for score in scores if score)
    token_digits = formatting.digits_for(arm.token_loss.change.value for arm in results.arms if arm.token_loss)
    better = derived.higher_is_better(results)
    rows = tuple(
        (
            Cell(arm.name),
            _value(score, digits),
            Cell("first arm", tone="muted") if index == 0 else _change(arm.against_first, digits, better),
            _forgetting(arm),
            _token_loss(arm, token_digits),
        )
        for index, (arm, score) in enumerate(zip(results.arms, scores, strict=True))
    )
    arrow = "↑" if better else "↓"
    titles = (f"{derived.primary_name(results)} {arrow}", "Difference", "Other tasks (points)", "Token loss (nats)")
    columns = (Column("Arm", number=False), *(Column(title) for title in titles))
    return Sheet("quality", "Quality", columns, rows, _quality_note(results))


def _quality_note(results: RunResults) -> str:
    n = max((score.n for arm in results.arms if (score := derived.primary(results, arm))), default=0)
    return (
        f"{results.task.get('name', 'Target task')}, {n:,} test examples; {100 * results.confidence:g} % intervals in "
        "brackets. Difference: paired, from the first arm. ▲ better and ▼ worse where the test tells it from zero. "
        "Other tasks: mean change after training, and below it the worst task. Token loss: its change on plain text, "
        "lower is better."
    )


def cost_sheet(results: RunResults, costs: RunCosts) -> Sheet:
    """One row for each arm: what it takes to train, to store and to serve."""
    whole = derived.model_parameters(results)
    training = ("Trained params", "Stored", "Peak memory", "Train time", "Train tok/s")
    titles = (*training, "Gen. tok/s", "Request (merged)", "Prompt tokens")
    rows = tuple(_cost_row(arm, costs.arms.get(arm.name, ArmCosts()), whole) for arm in results.arms)
    threads = f", {costs.threads} threads" if costs.threads else ""
    note = (
        f"Measured on {costs.device}{threads}. Train tok/s counts supervised tokens, Gen. tok/s answers in batches. "
        f"Request: the time of one alone, in brackets with the method merged into the weights, where it can be. Prompt "
        f"tokens: mean per request, exemplars included. {ABSENT} was not measured.{_known_note(results, costs)}"
    )
    return Sheet("cost", "Cost", (Column("Arm", number=False), *(Column(t) for t in titles)), rows, note)


def _known_note(results: RunResults, costs: RunCosts) -> str:
    """Say which arms' seconds were measured in earlier evaluations: what was looked up is no faster for it."""
    known = [(arm.name, costs.arms[arm.name].known_answers) for arm in results.arms if arm.name in costs.arms]
    named = ", ".join(f"{name} {count:,}" for name, count in known if count)
    return f" Answers known from earlier evaluations, with the seconds that they took then: {named}." if named else ""


def _cost_row(arm: ArmResult, cost: ArmCosts, whole: int | None) -> tuple[Cell, ...]:
    return (
        Cell(arm.name),
        Cell(formatting.count(arm.trainable_parameters), formatting.share(arm.trainable_parameters, whole)),
        Cell(formatting.size(arm.stored_bytes)),
        Cell(formatting.size(cost.peak_memory_bytes)),
        Cell(
            formatting.seconds(cost.training_seconds),
            f"search {formatting.seconds(cost.search_seconds)}" if cost.search_seconds is not None else "",
        ),
        Cell(formatting.rate(cost.supervised_tokens_per_second)),
        Cell(formatting.rate(cost.generation_tokens_per_second)),
        _request(cost),
        Cell(formatting.decimal(arm.prompt_tokens, 0)),
    )


def _request(cost: ArmCosts) -> Cell:
    if cost.request_seconds is None:
        return Cell(ABSENT)
    return Cell(formatting.moment(cost.request_seconds), f"({formatting.moment(cost.merged_request_seconds)})")


def storage_sheet(results: RunResults) -> Sheet | None:
    """One row for each trained arm: what many tasks take to store; ``None`` where nothing was trained."""
    whole = derived.model_parameters(results)
    trained = [arm for arm in results.arms if arm.method]
    if not trained or whole is None:
        return None
    base = 4 * whole  # float32
    rows = tuple(
        (Cell(arm.name), *(Cell(formatting.size(_stored(arm, base, tasks))) for tasks in STORED_TASKS))
        for arm in trained
    )
    titles = (f"{tasks} task{'s' if tasks > 1 else ''}" for tasks in STORED_TASKS)
    note = (
        "What is stored when every task is adapted this way: the base model and what each task adds to it; for full "
        f"tuning a whole model for each task. The base takes {formatting.size(base)} in float32."
    )
    return Sheet("storage", "Storage", (Column("Arm", number=False), *(Column(title) for title in titles)), rows, note)


def _stored(arm: ArmResult, base: int, tasks: int) -> int:
    return tasks * arm.stored_bytes + (0 if arm.method == "full" else base)


def retention_sheet(results: RunResults) -> Sheet | None:
    """One row for each retained task and trained arm, before against after; ``None`` when none was measured."""
    watched = [(arm, item) for arm in results.arms for item in arm.retained]
    order = {task: index for index, task in enumerate(derived.retained_tasks(results))}
    watched.sort(key=lambda pair: order[pair[1].task])
    watched += [(arm, arm.token_loss) for arm in results.arms if arm.token_loss]
    if not watched:
        return None
    starts = [k == 0 or watched[k - 1][1].task != item.task for k, (_, item) in enumerate(watched)]
    rows = tuple(_retention_row(arm, item, start) for (arm, item), start in zip(watched, starts, strict=True))
    titles = ("Before", "After", "Change")
    columns = (Column("Task", number=False), Column("Arm", number=False), *(Column(title) for title in titles))
    note = (
        "Tasks that were not trained on, measured with the method detached (before) and attached (after). "
        "↑ higher is better, ↓ lower is better; ▲ gained and ▼ forgotten where the paired test tells it from zero."
    )
    return Sheet("retention", "Retention", columns, rows, note)


def _retention_row(arm: ArmResult, item: RetentionResult, names_task: bool) -> tuple[Cell, ...]:
    digits = formatting.digits_for((item.before.value, item.after.value))
    chance = "" if item.chance is None else f", chance {formatting.decimal(item.chance, digits)}"
    arrow = "↑" if item.higher_is_better else "↓"
    return (
        Cell(item.task, f"{item.metric} {arrow}{chance}") if names_task else Cell(""),
        Cell(arm.name),
        _value(item.before, digits),
        _value(item.after, digits),
        _change(item.change, digits, item.higher_is_better),
    )


def scores_sheet(results: RunResults) -> Sheet | None:
    """Every metric of the target task for every arm; ``None`` when there is no more than the primary one."""
    metrics = list(dict.fromkeys(score.metric for arm in results.arms for score in arm.scores))
    if len(metrics) < 2:
        return None
    columns: list[Callable[[ArmResult], Cell]] = [_column_of(results, metric) for metric in metrics]
    rows = tuple((Cell(arm.name), *(column(arm) for column in columns)) for arm in results.arms)
    heads = (Column("Arm", number=False), *(Column(metric) for metric in metrics))
    return Sheet("scores", "All scores on the target task", heads, rows)


def _column_of(results: RunResults, metric: str) -> Callable[[ArmResult], Cell]:
    values = [score.value for arm in results.arms for score in arm.scores if score.metric == metric]
    digits = formatting.digits_for(values)

    def cell(arm: ArmResult) -> Cell:
        return _value(next((score for score in arm.scores if score.metric == metric), None), digits)

    return cell


def pairs_sheet(results: RunResults) -> Sheet | None:
    """Every pair of arms; ``None`` when there is one arm."""
    if not results.pairs:
        return None
    digits = formatting.digits_for(pair.change.value for pair in results.pairs)
    better = derived.higher_is_better(results)
    rows = tuple(
        (
            Cell(f"{pair.a} − {pair.b}"),
            _change(pair.change, digits, better),
            Cell(_probability(pair.change.p_value)),
            Cell(f"{pair.change.n:,}"),
        )
        for pair in results.pairs
    )
    columns = (Column("Arms", number=False), Column("Difference"), Column("p"), Column("Pairs"))
    note = f"Paired differences of {derived.primary_name(results)}; p is two-sided, after Holm's correction."
    return Sheet("pairs", "Every pair of arms", columns, rows, note)


def _probability(value: float) -> str:
    return "< 0.001" if 0 <= value < 0.001 else formatting.decimal(value, 3)
