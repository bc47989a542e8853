"""Units of work: what a comparison is made of, and which of them may begin."""

from __future__ import annotations

import json

from luthier.config.arms import Arm
from luthier.experiments.units import Unit, next_unit, plan_units

ARMS = (Arm("zero_shot", None, 0), Arm("lora", "lora", 0, seeds=(0, 7)))


def names(units: tuple[Unit, ...]) -> list[str]:
    return [unit.name for unit in units]


def test_every_arm_and_seed_has_its_units() -> None:
    assert names(plan_units(ARMS, searching=False, retaining=True)) == [
        "retain base",
        "evaluate zero_shot",
        "time zero_shot",
        "train lora, seed 0",
        "evaluate lora, seed 0",
        "retain lora, seed 0",
        "time lora, seed 0",
        "train lora, seed 7",
        "evaluate lora, seed 7",
        "retain lora, seed 7",
    ]


def test_without_retained_tasks_nothing_is_retained() -> None:
    units = plan_units(ARMS, searching=False, retaining=False)
    assert not [unit for unit in units if unit.kind == "retain"]


def test_every_training_of_an_arm_needs_its_search() -> None:
    units = plan_units(ARMS, searching=True, retaining=False)
    assert [unit.needs for unit in units if unit.kind == "train"] == [("search lora",), ("search lora",)]
    assert [unit.name for unit in units if unit.kind == "search"] == ["search lora"]


def test_what_is_needed_stands_before_what_needs_it() -> None:
    units = plan_units(ARMS, searching=True, retaining=True)
    order = names(units)
    assert len(set(order)) == len(order)
    assert all(order.index(need) < order.index(unit.name) for unit in units for need in unit.needs)


def test_a_unit_is_the_same_after_a_journey_as_json() -> None:
    for unit in plan_units(ARMS, searching=True, retaining=True):
        assert Unit.from_json(json.loads(json.dumps(unit.as_json()))) == unit


def test_trainings_begin_first_and_timings_wait_for_silence() -> None:
    waiting = list(plan_units(ARMS, searching=False, retaining=True))
    begun: list[str] = []
    done: set[str] = set()
    while (unit := next_unit(waiting, done, [])) is not None:
        waiting.remove(unit)
        begun.append(unit.name)
        done.add(unit.name)
    assert not waiting
    assert begun[:3] == ["train lora, seed 0", "train lora, seed 7", "retain base"]
    assert begun[-2:] == ["time zero_shot", "time lora, seed 0"]


def test_a_unit_waits_for_what_it_needs() -> None:
    train, evaluate = Unit("train", "lora", 0), Unit("evaluate", "lora", 0, ("train lora, seed 0",))
    assert next_unit([evaluate], set(), [train]) is None
    assert next_unit([evaluate], {"train lora, seed 0"}, []) == evaluate


def test_a_timing_waits_for_what_runs_and_not_for_another_timing() -> None:
    one, other = Unit("time", "zero_shot"), Unit("time", "lora", 0)
    assert next_unit([one], set(), [Unit("evaluate", "zero_shot")]) is None
    assert next_unit([one], set(), [other]) == one
