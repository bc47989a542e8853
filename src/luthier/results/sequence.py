"""A sequence of tasks learned one after another: what each stage scores on each task, and what follows from it.

R[i, j] is the score on task j after stage i; row 0 is the base. Of N tasks (Lopez-Paz and Ranzato 2017 for ACC, BWT and
FWT; Chaudhry et al. 2018 for forgetting; Rebuffi et al. 2017 for the average incremental accuracy):

- ACC is the mean over j of R[N, j]: what is left at the end.
- BWT, backward transfer, is the mean over j < N of R[N, j] - R[j, j]: what later stages did to a task; below 0, harm.
- Forgetting is the mean over j < N of max over 1 ≤ l < N of R[l, j], less R[N, j]: how far below its best a task ends.
- FWT, forward transfer, is the mean over j > 1 of R[j-1, j] - R[0, j]: what earlier stages did for a task to come.
- Incremental ACC is the mean over i of the mean over j ≤ i of R[i, j].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from luthier.metrics.registry import get_metric
from luthier.metrics.resampling import clusters_of, percentile_interval, resampled
from luthier.metrics.seed_runs import Log, same_examples
from luthier.metrics.task_metrics import TaskMetrics

Values = npt.NDArray[np.float64]

FEWEST_SEEDS = 3
"""Training runs from which on the intervals hold their variance."""
_SEED = 0


@dataclass(frozen=True, slots=True)
class SequenceNumbers:
    """What a matrix of scores says; see the module."""

    acc: float
    bwt: float
    forgetting: float
    fwt: float
    incremental: float


@dataclass(frozen=True, slots=True)
class Interval:
    """A number and its interval; the ends are NaN where it is not known."""

    value: float
    low: float
    high: float


def sequence_numbers(matrix: Values) -> SequenceNumbers:
    """Return what a matrix says.

    Args:
        matrix: R, float64 ``(N + 1, N)`` of two tasks at least, higher is better.

    Raises:
        ValueError: It has another shape.
    """
    return SequenceNumbers(**{name: float(value[0]) for name, value in _numbers(matrix[None]).items()})


def _numbers(matrices: Values) -> dict[str, Values]:
    """Return each number of several matrices ``(M, N + 1, N)``, ``(M,)`` each."""
    stages, tasks = matrices.shape[1] - 1, matrices.shape[2]
    if stages != tasks or tasks < 2:
        raise ValueError(f"a matrix of N + 1 rows and N columns, N at least 2, and not {matrices.shape[1:]}")
    base, learned = matrices[:, 0], matrices[:, 1:]
    last, own = learned[:, -1], np.diagonal(learned, axis1=1, axis2=2)
    early = learned[:, :-1]  # stages 1 to N - 1
    ahead = np.diagonal(early[:, :, 1:], axis1=1, axis2=2)  # R[j - 1, j] of each j > 1
    seen = np.stack([learned[:, stage, : stage + 1].mean(axis=1) for stage in range(stages)])
    return {
        "acc": last.mean(axis=1),
        "bwt": (last - own)[:, :-1].mean(axis=1),
        "forgetting": (early.max(axis=1) - last)[:, :-1].mean(axis=1),
        "fwt": (ahead - base[:, 1:]).mean(axis=1),
        "incremental": seen.mean(axis=0),
    }


@dataclass(frozen=True)
class SequenceScores:
    """The scores of the training runs of an arm, and what other draws of the examples would have given.

    Attributes:
        runs: R of each training run, ``(runs, N + 1, N)``, as shares: 1 is the best.
        draws: The same on resamples of the examples, ``(draws, runs, N + 1, N)``.
    """

    runs: Values
    draws: Values

    def matrix(self) -> Values:
        """Return R, the mean over training runs."""
        mean: Values = self.runs.mean(axis=0)
        return mean


def sequence_scores(
    logs: Mapping[int, Sequence[Sequence[Log]]], base: Sequence[Log], metrics: Sequence[TaskMetrics], *, draws: int
) -> SequenceScores:
    """Score every task after every stage, on the examples and on resamples of them.

    A task's examples are drawn alike for all stages and training runs, so that what they have in common drops out of
    differences; those of different tasks are drawn independently.

    Args:
        logs: Of each training run, by its seed: for each stage, the answers to every task.
        base: The base's answers to every task.
        metrics: How the answers to each task are judged.
        draws: Resamples.

    Raises:
        Faults: Logs of a task do not hold the same examples.
    """
    tasks = len(metrics)
    runs, drawn = np.empty((len(logs), tasks + 1, tasks)), np.empty((draws, len(logs), tasks + 1, tasks))
    for place, judged in enumerate(metrics):
        named = {"the base": base[place]} | {
            f"seed {seed}, stage {stage}": answers[place]
            for seed, stages in logs.items()
            for stage, answers in enumerate(stages, 1)
        }
        values, others = _shares(same_examples(named), judged, draws, place)
        runs[:, 0, place], drawn[:, :, 0, place] = values[0], others[:, :1]
        runs[:, 1:, place] = values[1:].reshape(len(logs), tasks)
        drawn[:, :, 1:, place] = others[:, 1:].reshape(draws, len(logs), tasks)
    return SequenceScores(runs, drawn)


def _shares(logs: Sequence[Log], judged: TaskMetrics, draws: int, place: int) -> tuple[Values, Values]:
    """Return the primary output of each log as a share ``(logs,)``, and on resamples ``(draws, logs)``."""
    metric = get_metric(judged.primary_metric)
    output, clusters = metric.outputs.index(judged.primary), clusters_of(logs[0])
    stats = [metric.statistics(log) for log in logs]
    values = np.array([metric.evaluate(own)[output] for own in stats])
    found = [resampled([metric], [own], clusters, draws, _SEED, further=place + 1)[0][:, output] for own in stats]
    return as_share(values, judged), as_share(np.stack(found, axis=1), judged)


def as_share(values: Values, judged: TaskMetrics) -> Values:
    """Return scores as shares of the scale of their metric, turned so that 1 is the best."""
    assert judged.scale is not None, "the plan requires a metric with a scale"
    shares = values / judged.scale
    return shares if judged.higher_is_better else 1 - shares


def sequence_intervals(scores: SequenceScores, confidence: float) -> dict[str, Interval]:
    """Return each number of an arm: the mean over its training runs, with a percentile interval.

    From :data:`FEWEST_SEEDS` training runs on these are drawn as well: one less than there are, with replacement, so
    that the variance of their mean is not underestimated (Rao and Wu 1988).
    """
    draws, runs, rows, tasks = scores.draws.shape
    own = _numbers(scores.runs)
    others = _numbers(scores.draws.reshape(-1, rows, tasks))
    chosen = _drawn_runs(draws, runs)
    found = {}
    for name, value in own.items():
        drawn = np.take_along_axis(others[name].reshape(draws, runs), chosen, axis=1)
        low, high = percentile_interval(drawn.mean(axis=1), confidence)
        found[name] = Interval(float(value.mean()), low, high)
    return found


def cell_intervals(scores: SequenceScores, confidence: float) -> list[list[Interval]]:
    """Return every cell of R, with its interval."""
    draws, runs, rows, tasks = scores.draws.shape
    chosen = _drawn_runs(draws, runs)[..., None, None]
    means = np.take_along_axis(scores.draws, chosen, axis=1).mean(axis=1)
    matrix = scores.matrix()
    return [
        [
            Interval(float(matrix[row, task]), *percentile_interval(means[:, row, task], confidence))
            for task in range(tasks)
        ]
        for row in range(rows)
    ]


def numbers_of_runs(scores: SequenceScores) -> list[SequenceNumbers]:
    """Return the numbers of each training run."""
    return [sequence_numbers(matrix) for matrix in scores.runs]


def number_names() -> tuple[str, ...]:
    """Return the names of the numbers, in order."""
    return tuple(asdict(SequenceNumbers(0, 0, 0, 0, 0)))


def _drawn_runs(draws: int, runs: int) -> npt.NDArray[np.int64]:
    """Return which training runs each draw holds: all of them once where they are too few to be drawn."""
    if runs < FEWEST_SEEDS:
        return np.tile(np.arange(runs), (draws, 1))
    return np.random.default_rng(_SEED).integers(runs, size=(draws, runs - 1))
