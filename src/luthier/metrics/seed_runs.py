"""The logs of an arm's training runs: aligned by example, paired by seed, and linearised by the jackknife."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from luthier.errors import DataError, LuthierError, raise_faults
from luthier.metrics.answer_extraction import check_predictions
from luthier.metrics.metric import FloatArray, Metric
from luthier.metrics.resampling import Clusters, jackknifed
from luthier.records import Prediction

Log: TypeAlias = Sequence[Prediction]
Runs: TypeAlias = Mapping[int, Log]

_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class PairedRuns:
    """The logs of two arms, all with the same examples in the same order.

    Attributes:
        seeds: Seeds that are paired; empty when neither arm has any.
        first: Logs of the first arm, one per seed, or one for all seeds.
        second: Logs of the second arm, likewise.
    """

    seeds: tuple[int, ...]
    first: tuple[Log, ...]
    second: tuple[Log, ...]

    @property
    def count(self) -> int:
        """Number of pairs of logs."""
        return max(len(self.first), len(self.second))


def same_examples(logs: Mapping[str, Log]) -> tuple[Log, ...]:
    """Reorder logs by the examples of the first.

    Args:
        logs: Predictions by the name that error messages give them.

    Raises:
        DataError: There are no logs, a log is empty, or it does not hold the same examples as the first, once each.
        Faults: Several do not.
    """
    if not logs:
        raise DataError("There is no run to score.", fix="Give the predictions of at least one seed.")
    for log in logs.values():
        check_predictions(log)
    by_id = {name: {p.id: p for p in log} for name, log in logs.items()}
    reference, first = next(iter(by_id.items()))
    faults: list[LuthierError] = []
    for name, found in by_id.items():
        if len(found) < len(logs[name]):
            twice = sorted(i for i, count in Counter(p.id for p in logs[name]).items() if count > 1)
            faults.append(DataError(f"The log of {name} answers twice: {_named(twice)}.", fix="Keep one answer each."))
        odd = [f"lacks {_named(sorted(first.keys() - found.keys()))}"] if first.keys() - found.keys() else []
        odd += [f"also has {_named(sorted(found.keys() - first.keys()))}"] if found.keys() - first.keys() else []
        if odd:
            faults.append(
                DataError(
                    f"The log of {name} does not hold the same examples as that of {reference}: {', '.join(odd)}.",
                    fix="Evaluate every run on the same split, with the same limit.",
                )
            )
    raise_faults(f"{len(faults)} logs do not hold the same examples", faults)
    return tuple([found[i] for i in first] for found in by_id.values())


def paired_runs(a: Runs | Log, b: Runs | Log) -> PairedRuns:
    """Pair two arms by seed; an arm without seeds has one log, which is compared with every seed.

    Raises:
        DataError: Both have seeds, and not the same.
        Faults: Several logs do not hold the same examples.
    """
    runs_a, runs_b = _by_seed(a), _by_seed(b)
    if isinstance(a, Mapping) and isinstance(b, Mapping) and a.keys() != b.keys():
        sides = f"the first {_numbers(a)}, the second {_numbers(b)}"
        raise DataError(
            f"Two arms are compared seed by seed, and theirs differ: {sides}.",
            fix="Train both with the same --seeds, or compare the seeds that both have.",
        )
    seeds = tuple(a) if isinstance(a, Mapping) else tuple(b) if isinstance(b, Mapping) else ()
    order_b = seeds if isinstance(b, Mapping) else tuple(runs_b)
    named = {_name("first", s): runs_a[s] for s in runs_a} | {_name("second", s): runs_b[s] for s in order_b}
    logs = same_examples(named)
    return PairedRuns(seeds, logs[: len(runs_a)], logs[len(runs_a) :])


def linearised(metric: Metric, logs: Sequence[Log], clusters: Clusters) -> tuple[FloatArray, FloatArray]:
    """Return each log's outputs, and its jackknife pseudo-values, whose means over groups are the outputs.

    Args:
        metric: The metric, with m outputs.
        logs: S logs of the same examples in the same order.
        clusters: Which examples belong together.

    Returns:
        Values float64 ``(S, m)``, and a table float64 ``(S, G, m)``: value plus ``(G − 1)·(mean of left-out values −
        value with group g left out)``. G is the number of clusters, 1,000 at most.
    """
    values, tables = [], []
    for log in logs:
        stats = metric.statistics(log)
        value, left_out = metric.evaluate(stats), jackknifed(metric, stats, clusters)
        values.append(value)
        tables.append(value + (len(left_out) - 1) * (left_out.mean(axis=0) - left_out))
    return np.stack(values), np.stack(tables)


def _by_seed(runs: Runs | Log) -> Mapping[int | None, Log]:
    return dict(runs.items()) if isinstance(runs, Mapping) else {None: runs}


def _name(side: str, seed: int | None) -> str:
    return f"the {side} arm" if seed is None else f"the {side} arm, seed {seed}"


def _numbers(seeds: Mapping[int, Log]) -> str:
    return ", ".join(str(seed) for seed in seeds)


def _named(ids: Sequence[str]) -> str:
    rest = f" … and {len(ids) - _MOST_NAMED} more" if len(ids) > _MOST_NAMED else ""
    return ", ".join(f"'{name}'" for name in ids[:_MOST_NAMED]) + rest
