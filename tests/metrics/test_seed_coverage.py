"""Coverage of the intervals over seeds, by simulation, for several ratios of the two variances.

A cell of the grid is (seeds, examples, ratio): the ratio is the variance of a run's true score over the variance of one
run's score that is due to the examples. Every run answers the same examples; the difficulty of an example is common to
the runs except for a component that is drawn for each run. Bounds are exact (binomial):

- quick: the number of covered truths must not be rarer than one in a thousand if the coverage were 93 %, the number of
  false alarms not rarer than that if their rate were 5 %;
- slow: the coverage itself is at least 93 %, by Clopper and Pearson's one-sided bound at 99.9 %; false alarms as above.

One cell is beyond 5 %, and is held to 7 % (`KNOWN_EXCESS`): see the limit that `luthier.metrics.seeds` states.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats

from luthier.metrics.variance_components import proportion_interval, variance_components

Floats = npt.NDArray[np.float64]

CELLS = list(itertools.product((3, 5), (50, 200), (0.0, 0.1, 1.0, 10.0)))
QUICK, SLOW = 600, 10_000
BATCH = 500
TAIL = 0.025


def covered_enough(simulations: int) -> int:
    """Fewest covered truths that are allowed."""
    if simulations == QUICK:
        return int(scipy.stats.binom.ppf(1e-3, simulations, 0.93))
    # The smallest count whose exact lower bound is at least 93 %.
    return int(scipy.stats.binom.isf(1e-3, simulations, 0.93)) + 1


def most_alarms(simulations: int, rate: float = 0.05) -> int:
    """Most false alarms that are compatible with the rate."""
    return int(scipy.stats.binom.isf(1e-3, simulations, rate))


def normal_scores(rng: np.random.Generator, cell: tuple[int, int, float], own: float) -> Floats:
    """Tables of normal scores around 0, ``(BATCH, seeds, examples)``; ``own`` is the deviation of a run's own part."""
    seeds, n, ratio = cell
    runs = np.sqrt(ratio * (1 + own**2) / n) * rng.normal(size=(BATCH, seeds, 1))
    return np.asarray(runs + rng.normal(size=(BATCH, 1, n)) + own * rng.normal(size=(BATCH, seeds, n)))


def right_answers(
    rng: np.random.Generator, cell: tuple[int, int, float], share: float, common: float, arms: int = 1
) -> Floats:
    """Zeros and ones whose true mean is ``share``, ``(arms, BATCH, seeds, examples)``.

    The true share of a run has a beta distribution; with probability ``common`` an example is as hard for a run (of
    any arm) as for all the others, otherwise its difficulty is drawn for that run.
    """
    seeds, n, ratio = cell
    true = np.full((arms, BATCH, seeds, 1), share)
    if ratio:
        size = n / ratio - 1  # The beta's variance is share · (1 − share) / (size + 1).
        true = rng.beta(share * size, (1 - share) * size, size=true.shape)
    difficulty = np.broadcast_to(rng.random((BATCH, 1, n)), (arms, BATCH, seeds, n))
    drawn = np.where(rng.random((arms, BATCH, seeds, n)) < common, difficulty, rng.random((arms, BATCH, seeds, n)))
    return np.asarray((drawn < true).astype(np.float64))


def holds_zero(table: Floats) -> npt.NDArray[np.bool_]:
    components = variance_components(table)
    return np.asarray(np.abs(table.mean(axis=(-2, -1))) <= components.half_width(TAIL))


def holds(share: float, table: Floats) -> npt.NDArray[np.bool_]:
    low, high = proportion_interval(table.mean(axis=(-2, -1)), variance_components(table), TAIL, table.shape[-1])
    return np.asarray((low <= share) & (share <= high))


def score_coverage(kind: str, cell: tuple[int, int, float], simulations: int) -> int:
    """How many intervals of a score hold the truth."""
    rng = np.random.default_rng([len(kind), cell[0], cell[1], round(10 * cell[2])])
    covered = 0
    for start in range(0, simulations, BATCH):
        if kind == "right answers":
            inside = holds(0.7, right_answers(rng, cell, 0.7, 0.7)[0])
        else:
            inside = holds_zero(normal_scores(rng, cell, 1.0 if kind == "normal, with a part of each run" else 0.0))
        covered += int(inside[: simulations - start].sum())
    return covered


def false_alarms(kind: str, cell: tuple[int, int, float], simulations: int) -> int:
    """How many differences of two arms that are equally good are told from 0."""
    rng = np.random.default_rng([1000 + len(kind), cell[0], cell[1], round(10 * cell[2])])
    alarms = 0
    for start in range(0, simulations, BATCH):
        if kind == "normal":
            gap = normal_scores(rng, cell, 0.5) - normal_scores(rng, cell, 0.5)
        elif kind == "one log":
            gap = right_answers(rng, cell, 0.7, 0.7)[0] - right_answers(rng, (1, cell[1], 0.0), 0.7, 0.7)[0]
        else:
            first, second = right_answers(rng, cell, 0.7, 0.97 if kind == "right answers, few differ" else 0.7, arms=2)
            gap = first - second
        alarms += int((~holds_zero(gap))[: simulations - start].sum())
    return alarms


SCORES = ("normal", "normal, with a part of each run", "right answers")
DIFFERENCES = ("normal", "right answers", "right answers, few differ", "one log")
# Three runs whose true scores are 0.7 ± 0.2 are not normal, and nothing about the other side evens that out.
KNOWN_EXCESS = {("one log", (3, 50, 10.0)): 0.07}


def check(simulations: int) -> None:
    least = covered_enough(simulations)
    rates = {(kind, cell): KNOWN_EXCESS.get((kind, cell), 0.05) for kind in DIFFERENCES for cell in CELLS}
    covered = {(kind, cell): score_coverage(kind, cell, simulations) for kind in SCORES for cell in CELLS}
    alarms = {key: false_alarms(*key, simulations) for key in rates}
    assert {key: count / simulations for key, count in covered.items() if count < least} == {}
    assert {
        key: count / simulations for key, count in alarms.items() if count > most_alarms(simulations, rates[key])
    } == {}


def test_bounds_are_exact() -> None:
    # Of 600: 538 covered truths (89.7 %) and 48 false alarms (8.0 %); of 10,000: 9,379 (93.8 %) and 569 (5.7 %).
    assert [covered_enough(QUICK), most_alarms(QUICK)] == [538, 48]
    assert [covered_enough(SLOW), most_alarms(SLOW)] == [9379, 569]
    lower = scipy.stats.binomtest(covered_enough(SLOW), SLOW).proportion_ci(0.998, method="exact").low
    assert 0.93 <= lower < 0.9302


def test_intervals_cover_and_alarms_are_rare() -> None:
    check(QUICK)


@pytest.mark.slow
def test_intervals_cover_and_alarms_are_rare_in_many_simulations() -> None:
    check(SLOW)


def test_a_two_level_bootstrap_of_three_runs_covers_too_little() -> None:
    """Why the interval is not the percentile interval of runs and examples both drawn with replacement."""
    rng = np.random.default_rng(3)
    tables = normal_scores(rng, (3, 50, 10.0), 0.0)
    runs = rng.multinomial(3, [1 / 3] * 3, size=400) / 3
    examples = rng.multinomial(50, [1 / 50] * 50, size=400) / 50
    means = np.einsum("bs,tsg,bg->tb", runs, tables, examples, optimize=True)
    low, high = np.quantile(means, [TAIL, 1 - TAIL], axis=1)
    assert ((low <= 0) & (high >= 0)).mean() < 0.85
    assert holds_zero(tables).mean() > 0.93


def test_an_interval_over_seeds_is_never_narrower_than_that_of_the_examples() -> None:
    rng = np.random.default_rng(4)
    for cell in CELLS:
        tables = normal_scores(rng, cell, 2.0)
        alone = variance_components(tables, runs=False).half_width(TAIL)
        assert (variance_components(tables).half_width(TAIL) >= alone).all()
