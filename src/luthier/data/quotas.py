"""Shares of several sources in a training, held as quotas: each source has its number of examples in every epoch.

Quotas are not coin tosses: every epoch has each source's number to the example, and any stretch of an epoch has about
its share of each.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from luthier.files.digests import digest

Places: TypeAlias = npt.NDArray[np.int64]


def mixing_rates(sizes: Sequence[int], *, cap: int | None, temperature: float) -> tuple[float, ...]:
    """Return the rate of each source: its examples, at most ``cap``, to the power ``1 / temperature``; their sum is 1.

    First the cap, then the temperature (Raffel et al. 2020, arXiv:1910.10683, section 3.5.2).
    """
    capped = [min(size, cap) if cap is not None else size for size in sizes]
    return normalised([size ** (1 / temperature) for size in capped])


def normalised(weights: Sequence[float]) -> tuple[float, ...]:
    """Return weights divided by their sum."""
    total = math.fsum(weights)
    return tuple(weight / total for weight in weights)


def quotas(rates: Sequence[float], sizes: Sequence[int], total: int, *, repeat: float = math.inf) -> tuple[int, ...]:
    """Return how many examples of each source an epoch has.

    A source gives at most ``repeat`` times its examples; what it then lacks goes to the others by their rates. Where
    all have given what they can, the epoch is shorter. Each number is within one example of its share.

    Args:
        rates: Of each source; their sum is 1.
        sizes: Examples of each source.
        total: Examples of an epoch.
        repeat: How often an example may stand in an epoch.
    """
    limits = [repeat * size if size else 0.0 for size in sizes]
    exact = [0.0] * len(rates)
    full = [limit == 0 or rate == 0 for limit, rate in zip(limits, rates, strict=True)]
    while not all(full):
        left = total - math.fsum(exact[place] for place, done in enumerate(full) if done)
        open_rate = math.fsum(rate for rate, done in zip(rates, full, strict=True) if not done)
        for place, rate in enumerate(rates):
            if not full[place]:
                exact[place] = left * rate / open_rate
        over = [place for place, done in enumerate(full) if not done and exact[place] > limits[place]]
        if not over:
            break
        for place in over:
            exact[place], full[place] = limits[place], True
    return _whole(exact, min(total, math.floor(math.fsum(exact) + 1e-6)))


def _whole(exact: Sequence[float], total: int) -> tuple[int, ...]:
    """Round numbers so that their sum is ``total``: those with the largest remainders are rounded up."""
    floors = [math.floor(value + 1e-9) for value in exact]
    missing = total - sum(floors)
    by_remainder = sorted(range(len(exact)), key=lambda place: (floors[place] - exact[place], place))
    for place in by_remainder[: max(0, missing)]:
        floors[place] += 1
    return tuple(floors)


@dataclass(frozen=True, slots=True)
class QuotaOrder:
    """The examples of each optimizer step, by quotas and a seed: those of step k are found from k alone.

    A source is read through in one order after another, over the borders of epochs, so that a large one gives other
    examples in every epoch, and each example is read as often as any other of its source.

    Attributes:
        sizes: Examples of each source; they lie one source after another in the training set.
        quotas: Examples of each source in an epoch.
        batch_size: Examples in one optimizer step.
        steps: Optimizer steps in all.
        seed: Decides which examples an epoch has, and their order.
    """

    sizes: tuple[int, ...]
    quotas: tuple[int, ...]
    batch_size: int
    steps: int
    seed: int

    @property
    def epoch(self) -> int:
        """Examples of an epoch."""
        return sum(self.quotas)

    @property
    def passes(self) -> float:
        """How often an example is read, on average."""
        return self.steps * self.batch_size / sum(self.sizes)

    @property
    def digest(self) -> str:
        """Of everything that decides the order."""
        return digest([list(self.sizes), list(self.quotas), self.batch_size, self.steps, self.seed])

    def indices(self, step: int) -> list[int]:
        """Return the places of a step's examples (from step 0)."""
        return [place for place, _ in self.visits(step)]

    def visits(self, step: int) -> list[tuple[int, int]]:
        """Return the place of each example of a step, and how often its source was read through before."""
        positions = range(step * self.batch_size, (step + 1) * self.batch_size)
        numbers = (
            int(_epoch_order(self.sizes, self.quotas, self.seed, position // self.epoch)[position % self.epoch])
            for position in positions
        )
        return [divmod(number, sum(self.sizes))[::-1] for number in numbers]


@functools.lru_cache(maxsize=4)
def _epoch_order(sizes: tuple[int, ...], wanted: tuple[int, ...], seed: int, epoch: int) -> Places:
    """Return what an epoch reads, each source's spread evenly over it: int64 ``(sum(quotas),)``.

    The j-th of q examples lies at a random point of the j-th of q equal parts of the epoch. A number is the place, plus
    the number of all examples for each time that the source was read through before.
    """
    rng = np.random.default_rng([seed, epoch, 1])
    points = [(np.arange(quota) + rng.random(quota)) / max(1, quota) for quota in wanted]
    places = [_drawn(source, sizes, quota, seed, epoch) for source, quota in enumerate(wanted)]
    return np.concatenate(places)[np.argsort(np.concatenate(points), kind="stable")]


def _drawn(source: int, sizes: tuple[int, ...], quota: int, seed: int, epoch: int) -> Places:
    """Return what a source gives in an epoch, as :func:`_epoch_order` does."""
    size, start, total = sizes[source], sum(sizes[:source]), sum(sizes)
    first, last = epoch * quota, (epoch + 1) * quota
    parts = [np.empty(0, dtype=np.int64)]
    for visit in range(first // max(1, size), -(-last // max(1, size))) if quota else ():
        order = np.random.default_rng([seed, source, visit, 2]).permutation(size)
        part = order[max(0, first - visit * size) : last - visit * size]
        parts.append(part + start + visit * total)
    return np.concatenate(parts)
