"""What an arm makes of held-out pairs of answers, from the log-probabilities that it and the base gave them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

from luthier.config.evaluation import ScoringConfig
from luthier.metrics.resampling import clusters_of
from luthier.metrics.seed_runs import Log, Runs
from luthier.metrics.task_metrics import TaskMetrics
from luthier.records import Prediction, Score
from luthier.results.change import Change
from luthier.results.preference_records import PreferenceResult
from luthier.results.records import Pair
from luthier.results.scores import change, change_over_seeds, corrected, score_over_seeds

ACCURACY = TaskMetrics("pairs", ("accuracy",), "accuracy", 0.5)
"""Of a log of pairs: how often the chosen answer is the likelier one."""
_MEAN = TaskMetrics("pairs", ("perplexity",), "token_loss")
_YES, _NO = "yes", "no"
Verdict: TypeAlias = Callable[[Prediction, Prediction], bool]
"""What is asked of a pair: given the arm's record of it and the base's."""


def preference_result(runs: Runs, base: Log, config: ScoringConfig, context: Mapping[str, str]) -> PreferenceResult:
    """Return what is known of an arm on held-out pairs.

    Args:
        runs: Its records of the pairs, by seed.
        base: The base's, in the same order.
        config: Level and resamples.
        context: Joins the signatures of the scores.
    """

    def share(name: str, verdict: Verdict) -> Score:
        logs = {seed: _asked(log, base, verdict) for seed, log in runs.items()}
        return replace(score_over_seeds(logs, ACCURACY, config, context)[0], metric=name)

    margins = {seed: _margins(log, base) for seed, log in runs.items()}
    return PreferenceResult(
        before=replace(score_over_seeds(base, ACCURACY, config, context)[0], metric="pair_accuracy"),
        accuracy=replace(score_over_seeds(runs, ACCURACY, config, context)[0], metric="pair_accuracy"),
        change=pair_change(runs, {0: base} if len(runs) == 1 else base, config),
        accuracy_by_token=share("pair_accuracy_by_token", lambda own, _: _mean(own, 0) > _mean(own, 1)),
        margin=replace(score_over_seeds(margins, _MEAN, config, context)[0], metric="margin"),
        gained=share("margin_gained", lambda own, other: _margin(own, other) > 0),
        chosen_fell=share("chosen_fell", lambda own, other: own.choice_logprobs[0] < other.choice_logprobs[0]),
    )


def pair_change(a: Runs, b: Runs | Log, config: ScoringConfig) -> Change:
    """Compare two logs of pairs by accuracy: ``a - b``.

    One training each is compared by McNemar's exact test, where no two pairs have one prompt; otherwise by what
    compares logs everywhere.
    """
    alone = [next(iter(runs.values())) if isinstance(runs, Mapping) else runs for runs in (a, b)]
    single = all(len(runs) == 1 for runs in (a, b) if isinstance(runs, Mapping))
    if not single or not clusters_of(alone[0]).alone:
        return change_over_seeds(a, b, ACCURACY, config)
    return change(alone[0], alone[1], ACCURACY, config, test="mcnemar")


def preference_pairs(logs: Mapping[str, Runs], config: ScoringConfig) -> tuple[Pair, ...]:
    """Compare every two arms by their accuracy on held-out pairs, corrected for their number."""
    names = list(itertools.combinations(logs, 2))
    changes = corrected([pair_change(logs[b], logs[a], config) for a, b in names], config)
    return tuple(Pair(b, a, found) for (a, b), found in zip(names, changes, strict=True))


def _mean(record: Prediction, which: int) -> float:
    return record.choice_logprobs[which] / record.choice_tokens[which]


def _margin(own: Prediction, base: Prediction) -> float:
    (chosen, rejected), (chosen_before, rejected_before) = own.choice_logprobs, base.choice_logprobs
    return (chosen - chosen_before) - (rejected - rejected_before)


def _asked(log: Log, base: Log, verdict: Verdict) -> Log:
    """Return a log of which the accuracy is the share of the pairs of which something is true."""
    return tuple(_answered(own, verdict(own, before)) for own, before in zip(log, base, strict=True))


def _answered(record: Prediction, yes: bool) -> Prediction:
    sure = (0.0, -1.0) if yes else (-1.0, 0.0)
    return replace(record, text=_YES if yes else _NO, targets=(_YES,), choices=(_YES, _NO), choice_logprobs=sure)


def _margins(log: Log, base: Log) -> Log:
    """Return a log of which the mean is that of the margins: each stands for the loss of one token."""
    return tuple(_as_loss(own, _margin(own, before)) for own, before in zip(log, base, strict=True))


def _as_loss(record: Prediction, value: float) -> Prediction:
    alone = (record.id,)
    return replace(record, text=record.id, targets=alone, choices=alone, choice_logprobs=(-value,), choice_tokens=(1,))
