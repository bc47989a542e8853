"""The names that a command uses are checked before torch is loaded, so that a slip costs half a second."""

from __future__ import annotations

from pydantic import BaseModel

from luthier.config.arms import make_arms
from luthier.config.training import TrainingConfig
from luthier.errors import LuthierError, collecting, raise_faults
from luthier.methods.names import require_method
from luthier.models.names import require_model
from luthier.tasks.names import require_own, require_task
from luthier.tasks.task_sets import expand

ALL = "all"
"""In place of a task's name: every built-in task."""


def require_names(settings: BaseModel) -> None:
    """Check that the arms, methods, tasks and model that the settings of a verb name exist; nothing else is read.

    Raises:
        LuthierError: All faults.
    """
    given = dict(settings)
    faults: list[LuthierError] = []
    arms = given.get("arms", [given["arm"]] if "arm" in given else None)
    if arms is not None:
        with collecting(faults):
            training = given.get("training", TrainingConfig())
            for arm in make_arms(arms, training=training, few_shots=0, seeds=(0,)):
                if arm.method is not None:
                    with collecting(faults):
                        require_method(arm.method, where=f"arm '{arm.name}', method")
    names = [given.get("task"), *given.get("tasks", ()), *(given.get("retain") or ())]
    if given.get("task"):
        with collecting(faults):
            require_own(given["task"])
    for named in expand([name for name in names if name not in (None, ALL)]):
        with collecting(faults):
            require_task(named.name)
    for model in (given.get("model"), given.get("compare")):
        if model is not None:
            with collecting(faults):
                require_model(model)
    raise_faults("the command names what does not exist", faults)
