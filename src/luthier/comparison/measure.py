"""From logged predictions to scores, retention and paired differences. Reads finished results, never a model."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from luthier.comparison.results import Change, Pair, Retained
from luthier.config import EvaluationConfig
from luthier.metrics.registry import get_metric
from luthier.metrics.scoring import score_predictions
from luthier.metrics.significance import holm, paired_difference
from luthier.records import Prediction, Score


@dataclass(frozen=True, slots=True)
class Yardstick:
    """How a task is judged.

    Attributes:
        task: Its name.
        metrics: Names of its metrics.
        primary: The output that it is judged by.
        chance: What guessing gives, where that is known.
    """

    task: str
    metrics: tuple[str, ...]
    primary: str
    chance: float | None = None

    @property
    def primary_metric(self) -> str:
        """The metric that gives the primary output."""
        return next(name for name in self.metrics if self.primary in get_metric(name).outputs)

    @property
    def higher_is_better(self) -> bool:
        """Direction of the primary output."""
        return get_metric(self.primary_metric).higher_is_better


TOKEN_LOSS = Yardstick("plain_text", ("perplexity",), "token_loss")


def score(
    predictions: Sequence[Prediction], yardstick: Yardstick, config: EvaluationConfig, context: Mapping[str, str]
) -> tuple[Score, ...]:
    """Score predictions by all metrics of a task; the primary output comes first."""
    scores = score_predictions(
        predictions, yardstick.metrics, context=context, confidence=config.confidence, resamples=config.resamples
    )
    return tuple(sorted(scores, key=lambda item: item.metric != yardstick.primary))


def change(a: Sequence[Prediction], b: Sequence[Prediction], yardstick: Yardstick, config: EvaluationConfig) -> Change:
    """Compare two logs of the same examples by the primary output: ``a - b``."""
    found = paired_difference(
        a,
        b,
        yardstick.primary_metric,
        yardstick.primary,
        confidence=config.confidence,
        alpha=1 - config.confidence,
        resamples=config.resamples,
    )
    return Change(found.value, found.low, found.high, found.p_value, found.n, found.significant)


def retention(
    before: Sequence[Prediction],
    after: Sequence[Prediction],
    yardstick: Yardstick,
    config: EvaluationConfig,
    context: Mapping[str, str],
) -> Retained:
    """Measure what an arm kept of a task that it was not trained on."""
    return Retained(
        task=yardstick.task,
        metric=yardstick.primary,
        higher_is_better=yardstick.higher_is_better,
        chance=yardstick.chance,
        before=score(before, yardstick, config, context)[0],
        after=score(after, yardstick, config, context)[0],
        change=change(after, before, yardstick, config),
    )


def corrected(changes: Sequence[Change], config: EvaluationConfig) -> list[Change]:
    """Apply Holm's correction (1979) to differences that are looked at together."""
    adjusted = holm([item.p_value for item in changes])
    alpha = 1 - config.confidence
    return [
        replace(item, p_value=p_value, significant=p_value < alpha)
        for item, p_value in zip(changes, adjusted, strict=True)
    ]


def all_pairs(
    logs: Mapping[str, Sequence[Prediction]], yardstick: Yardstick, config: EvaluationConfig
) -> tuple[Pair, ...]:
    """Compare every two arms on the target task, corrected for their number."""
    names = list(itertools.combinations(logs, 2))
    changes = [change(logs[b], logs[a], yardstick, config) for a, b in names]
    return tuple(Pair(b, a, found) for (a, b), found in zip(names, corrected(changes, config), strict=True))
