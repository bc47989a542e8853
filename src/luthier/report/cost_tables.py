"""The tables of what each arm costs: to train, to serve, and to store for many tasks."""

from __future__ import annotations

from luthier.report import formatting
from luthier.report.formatting import ABSENT
from luthier.report.tables import Cell, Column, Table
from luthier.results.records import ArmCosts, ArmResult, RunCosts, RunResults

STORED_TASKS = (1, 10, 100)
"""Numbers of tasks for which storage is shown."""


def cost_table(results: RunResults, costs: RunCosts) -> Table:
    """One row for each arm: what it takes to train, to store and to serve."""
    training = ("Trained params", "Stored", "Peak memory", "Train time", "Train tok/s")
    titles = (*training, "Gen. tok/s", "Request (merged)", "Prompt tokens")
    rows = tuple(_cost_row(arm, costs.arms.get(arm.name, ArmCosts()), results.model.parameters) for arm in results.arms)
    note = (
        f"Measured on {_place(costs)}{_seeds_note(results)}. Train tok/s counts supervised tokens, Gen. tok/s "
        "answers in batches. Request: the time of one alone, in brackets with the method merged into the weights, "
        f"where it can be. Prompt tokens: mean per request, exemplars included. {ABSENT} was not measured."
        f"{_known_note(results, costs)}"
    )
    return Table("cost", "Cost", (Column("Arm", number=False), *(Column(t) for t in titles)), rows, note)


def measured_table(costs: RunCosts) -> Table:
    """One row for each arm: what was measured of it, without what its results say."""
    titles = ("Peak memory", "Train time", "Train tok/s", "Gen. tok/s", "Request (merged)")
    rows = tuple((Cell(name), *_measured(cost)) for name, cost in costs.arms.items())
    note = (
        f"Measured on {_place(costs)}. Train tok/s counts supervised tokens, Gen. tok/s answers in batches. Request: "
        f"the time of one alone, in brackets with the method merged into the weights. {ABSENT} was not measured."
    )
    return Table("measured", "Cost", (Column("Arm", number=False), *(Column(t) for t in titles)), rows, note)


def _place(costs: RunCosts) -> str:
    """Return where it was measured, and with how many threads."""
    return (
        f"{costs.device}, {costs.threads} thread{'' if costs.threads == 1 else 's'}" if costs.threads else costs.device
    )


def _measured(cost: ArmCosts) -> tuple[Cell, ...]:
    return (
        Cell(formatting.size(cost.peak_memory_bytes)),
        Cell(
            formatting.seconds(cost.training_seconds),
            f"search {formatting.seconds(cost.search_seconds)}" if cost.search_seconds is not None else "",
        ),
        Cell(formatting.rate(cost.supervised_tokens_per_second)),
        Cell(formatting.rate(cost.generation_tokens_per_second)),
        _request(cost),
    )


def _seeds_note(results: RunResults) -> str:
    most = max((len(arm.seeds) for arm in results.arms), default=0)
    return f"; trained arms: the mean of {most} training runs, each of which takes this" if most > 1 else ""


def _known_note(results: RunResults, costs: RunCosts) -> str:
    """Say which arms' seconds were measured in earlier evaluations: what was looked up is no faster for it."""
    known = [(arm.name, costs.arms[arm.name].known_answers) for arm in results.arms if arm.name in costs.arms]
    named = ", ".join(f"{name} {count:,}" for name, count in known if count)
    return f" Answers known from earlier evaluations, with the seconds that they took then: {named}." if named else ""


def _cost_row(arm: ArmResult, cost: ArmCosts, parameters: int | None) -> tuple[Cell, ...]:
    if arm.failed:
        return (Cell(arm.name), *[Cell(ABSENT)] * 8)
    return (
        Cell(arm.name),
        Cell(formatting.count(arm.trainable_parameters), formatting.share(arm.trainable_parameters, parameters)),
        Cell(formatting.size(arm.stored_bytes)),
        *_measured(cost),
        Cell(formatting.decimal(arm.prompt_tokens, 0)),
    )


def _request(cost: ArmCosts) -> Cell:
    if cost.request_seconds is None:
        return Cell(ABSENT)
    return Cell(formatting.moment(cost.request_seconds), f"({formatting.moment(cost.merged_request_seconds)})")


def storage_table(results: RunResults) -> Table | None:
    """One row for each trained arm: what many tasks take to store; ``None`` where nothing was trained."""
    trained = [arm for arm in results.arms if arm.method and not arm.failed]
    if not trained or not results.model.parameters:
        return None
    base = 4 * results.model.parameters  # float32
    rows = tuple(
        (Cell(arm.name), *(Cell(formatting.size(_stored(arm, base, tasks))) for tasks in STORED_TASKS))
        for arm in trained
    )
    titles = (f"{tasks} task{'s' if tasks > 1 else ''}" for tasks in STORED_TASKS)
    note = (
        "What is stored when every task is adapted this way: the base model and what each task adds to it; for full "
        f"tuning a whole model for each task. The base takes {formatting.size(base)} in float32."
    )
    return Table("storage", "Storage", (Column("Arm", number=False), *(Column(title) for title in titles)), rows, note)


def _stored(arm: ArmResult, base: int, tasks: int) -> int:
    return tasks * arm.stored_bytes + (0 if arm.method == "full" else base)
