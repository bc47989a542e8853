"""The invented run of ``example_run``, as if every trained arm had been trained with several seeds."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import replace

from example_run import SKETCHES, Sketch, change, results
from luthier.records import Variance
from luthier.results.records import ArmResult, RetentionResult, RunResults, SeedResult

SEEDS = (0, 1, 2)


def variance(seeds: Sequence[int]) -> Variance:
    """Return what the intervals of an arm with these seeds hold."""
    return "examples and training runs" if len(seeds) > 2 else "examples"


def _of_seed(item: RetentionResult, dice: random.Random, size: float) -> RetentionResult:
    moved = dice.gauss(0, size)
    after = replace(item.after, value=item.after.value + moved)
    return replace(item, after=after, change=replace(item.change, value=item.change.value + moved))


def _over_seeds(item: RetentionResult, runs: Sequence[RetentionResult]) -> RetentionResult:
    value = statistics.mean(run.change.value for run in runs)
    half = 1.6 * (item.change.high - item.change.low) / 2
    spread = statistics.stdev(run.change.value for run in runs)
    moved = change(value, half)
    after, held = item.before.value + value, variance(range(len(runs)))
    return replace(
        item,
        after=replace(item.after, value=after, low=after - half, high=after + half, variance=held, spread=spread),
        change=replace(moved, variance=held, spread=spread, detectable=1.4 * half),
    )


def with_seeds(one: ArmResult, seeds: Sequence[int] = SEEDS) -> ArmResult:
    """Return a trained arm as if it had been trained with several seeds; other arms as they are."""
    if one.method is None or one.token_loss is None:
        return one
    dice = random.Random(f"seeds of {one.name}")
    runs = []
    for seed in seeds:
        factor = 1 + dice.gauss(0, 0.04)
        runs.append(
            SeedResult(
                seed,
                scores=tuple(replace(item, value=factor * item.value) for item in one.scores),
                retained=tuple(_of_seed(item, dice, 0.012 * (item.scale or 1)) for item in one.retained),
                token_loss=_of_seed(one.token_loss, dice, 0.02),
                steps=one.steps,
                best_step=one.best_step,
                predictions=one.predictions,
                curve=one.curve,
                validation_score=factor * one.scores[0].value,
            )
        )
    scores = []
    for k, item in enumerate(one.scores):
        values = [run.scores[k].value for run in runs]
        mean, half = statistics.mean(values), 1.5 * (item.high - item.low) / 2
        spread = statistics.stdev(values)
        scores.append(
            replace(item, value=mean, low=mean - half, high=mean + half, variance=variance(seeds), spread=spread)
        )
    losses = [run.token_loss for run in runs if run.token_loss]
    first = one.against_first
    return replace(
        one,
        seeds=tuple(seeds),
        per_seed=tuple(runs),
        scores=tuple(scores),
        retained=tuple(_over_seeds(item, [run.retained[k] for run in runs]) for k, item in enumerate(one.retained)),
        token_loss=_over_seeds(one.token_loss, losses),
        against_first=replace(first, variance=variance(seeds), spread=scores[0].spread) if first else None,
    )


def results_with_seeds(sketches: tuple[Sketch, ...] = SKETCHES, seeds: Sequence[int] = SEEDS) -> RunResults:
    """Return what a comparison found that trained every trained arm several times."""
    found = results(sketches)
    arms = {arm.name: with_seeds(arm, seeds) for arm in found.arms}
    pairs = tuple(
        replace(pair, change=replace(pair.change, variance=variance(seeds), spread=0.011))
        if arms[pair.a].seeds or arms[pair.b].seeds
        else pair
        for pair in found.pairs
    )
    return replace(found, arms=tuple(arms.values()), pairs=pairs)
