"""The averages of the suites that an evaluation is asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence

from luthier.experiments.named import ALL
from luthier.metrics.registry import metric_of_output
from luthier.metrics.standard_error import standard_error
from luthier.metrics.suite_averages import Average, Measured
from luthier.records import Prediction, Score
from luthier.tasks.names import BIGBENCH, library_names
from luthier.tasks.suites import averages, is_suite_file, library_suites, may_name, read_suite
from luthier.tasks.task_sets import task_sets
from luthier.user_path import user_path


def averages_of(names: Sequence[str], tasks: Sequence[str]) -> list[Average]:
    """Return the averages that names stand for: of a suite its groups' and its own, of a group its own.

    Args:
        names: What was asked for.
        tasks: Names of the tasks that were measured.
    """
    suites = {name: read_suite(user_path(name)) for name in names if is_suite_file(name)}
    known: dict[str, Average] = {}
    if any(may_name(name) and name not in (ALL, *library_names(), *task_sets()) for name in names):
        suites |= library_suites()
        known |= averages()
    if big := tuple(task for task in tasks if task.startswith(f"{BIGBENCH}_")):
        known[BIGBENCH] = Average(BIGBENCH, big, big, "macro", {})
    return [
        average
        for name in names
        for average in (suites[name].averages.values() if name in suites else [known[name]] if name in known else [])
    ]


def counted(
    scores: Sequence[Score], predictions: Sequence[Prediction], outputs: Sequence[str], chance: float | None
) -> Measured:
    """Return a task as its suite counts it.

    Args:
        scores: All of the task.
        predictions: That they are of.
        outputs: The numbers whose mean counts: the primary one alone, for most tasks.
        chance: What guessing gets, or None.
    """
    values = [score.value for score in scores if score.metric in outputs]
    errors = [standard_error(predictions, metric_of_output(output), [output]) for output in outputs]
    # Two numbers of the same answers rise and fall together: their mean is taken as uncertain as they are.
    error = math.fsum(errors) / len(errors)
    return Measured(math.fsum(values) / len(values), error, len(predictions), chance)
