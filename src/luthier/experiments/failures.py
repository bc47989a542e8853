"""Arms whose training went astray: the reason lies in the store, and the comparison goes on without them.

Every process finds it there, so that none begins what depends on the arm; and so does the same command when it is run
again, because the same training goes the same way.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from luthier.config.arms import Arm
from luthier.errors import DivergenceError
from luthier.experiments.plan import Plan, name_of_run
from luthier.experiments.search import search_entry, search_is_finished, settled
from luthier.experiments.starts import names_arm
from luthier.experiments.trained_arms import entry_of
from luthier.experiments.units import Unit
from luthier.files.atomic import writing
from luthier.files.store import About, Entry, open_entry, reading
from luthier.progress import say

_FILE = "failure.json"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an arm has no result.

    Attributes:
        what: What was wrong.
        where: The step, or the search; with the seed where the arm has several.
    """

    what: str
    where: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


def keep_failure(plan: Plan, unit: Unit, fault: DivergenceError) -> None:
    """Store why a search or a training failed, and say it."""
    arm = plan.arm(unit.arm)
    entry = _search_failed(plan, arm) if unit.kind == "search" else _training_failed(plan, arm, unit.seed or 0)
    where = fault.where.rpartition("', ")[2]  # what stands behind the arm's name
    if unit.kind == "train" and len(arm.seeds) > 1:
        where = f"seed {unit.seed}, {where}"
    with entry.held(arm.name):
        if not entry.finished:
            with writing(entry.work):
                (entry.work / _FILE).write_text(json.dumps({"what": fault.what, "where": where}), encoding="utf-8")
                entry.finish()
    say(f"{arm.name} has failed, and the comparison goes on without it: {fault}")


def failure_of(plan: Plan, arm: Arm) -> Failure | None:
    """Return why an arm failed, in its search or in any of its trainings; None where it has not.

    Raises:
        StoreError: When what is stored of it is damaged.
    """
    if arm.method is None:
        return None
    if names_arm(arm, plan.arms) and failure_of(plan, plan.arm(arm.start)) is not None:
        return Failure(f"the arm '{arm.start}', which it begins with, has failed", "start")
    if not search_is_finished(plan, arm):
        return _read(_search_failed(plan, arm))
    found = (_read(_training_failed(plan, arm, seed)) for seed in arm.seeds)
    return next((failure for failure in found if failure is not None), None)


def _search_failed(plan: Plan, arm: Arm) -> Entry:
    return _place(plan, arm, {"search": search_entry(plan, arm).inputs})


def _training_failed(plan: Plan, arm: Arm, seed: int) -> Entry:
    return _place(plan, arm, {"training": entry_of(plan, settled(plan, arm)[0], seed).inputs})


def _place(plan: Plan, arm: Arm, inputs: dict[str, Any]) -> Entry:
    return open_entry(plan.config.runs, "failures", inputs, About(plan.target.task.name, arm.name, name_of_run(plan)))


def _read(entry: Entry) -> Failure | None:
    if not entry.finished:
        return None
    with reading(entry):
        return Failure(**json.loads(entry.checked(_FILE).read_text(encoding="utf-8")))
