"""Two models on the same examples, paired example by example."""

from __future__ import annotations

from dataclasses import replace

from luthier.config.evaluate import EvaluateConfig
from luthier.config.evaluation import ScoringConfig
from luthier.evaluation.prepared_task import task_metrics_of
from luthier.experiments.evaluate import evaluate
from luthier.experiments.evaluated import Evaluated, Evaluation
from luthier.metrics.task_metrics import TaskMetrics
from luthier.progress import say
from luthier.results.compared import Compared
from luthier.results.scores import change, score
from luthier.tasks.schema import Task


def evaluate_against(config: EvaluateConfig) -> Evaluation:
    """Measure a model on tasks, and pair it with the second model that the settings name, if they name one.

    Args:
        config: Names the models, the adapter of the first and the tasks.

    Raises:
        LuthierError: As `luthier.experiments.evaluate.evaluate` raises it, for either model.
    """
    first = evaluate(config)
    if config.compare is None:
        return first
    say(f"the same examples, answered by {config.compare}")
    other = config.model_copy(update={"model": config.compare, "adapter": None, "compare": None, "answers": None})
    second = {found.task.name: found for found in evaluate(other)}
    paired = [
        replace(
            found,
            compared=_compared(found, second[found.task.name], config.compare, config.evaluation),
            seven_compared=second[found.task.name].seven,
        )
        if found.task.name in second
        else found
        for found in first
    ]
    return Evaluation(paired, first.averages)


def _compared(first: Evaluated, second: Evaluated, name: str, scoring: ScoringConfig) -> Compared | None:
    """Pair the examples that both models could hold; None where they share none."""
    own = {prediction.id: prediction for prediction in first.log.predictions}
    others = {prediction.id: prediction for prediction in second.log.predictions}
    shared = [key for key in own if key in others]
    if not shared:
        return None
    ours, theirs = [own[key] for key in shared], [others[key] for key in shared]
    metrics = _metrics(first)
    paired = change(ours, theirs, metrics, scoring)
    return Compared(name, score(theirs, metrics, scoring, {})[0], paired, metrics.higher_is_better)


def _metrics(found: Evaluated) -> TaskMetrics:
    task = found.task
    return task_metrics_of(task) if isinstance(task, Task) else task.metrics_of(found.log.predictions)
