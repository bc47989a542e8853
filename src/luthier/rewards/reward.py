"""What a reward is, and how one is read from what the user wrote."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from luthier.errors import ConfigError, LuthierError, collecting, raise_faults
from luthier.metrics.metric import FloatArray
from luthier.records import Example, Prediction
from luthier.rewards.file_reward import is_function, read_function
from luthier.rewards.metric_reward import MetricReward, read_metric

_TERM = re.compile(r"\s*(?:(?P<weight>[-+]?(?:\d+\.?\d*|\.\d+))\s*\*\s*)?(?P<name>[^\s*+]+)\s*")


class Reward(Protocol):
    """Gives each answer a number; more is better."""

    @property
    def name(self) -> str:
        """As the user wrote it."""

    @property
    def signature(self) -> str:
        """Of everything that its numbers depend on besides the answers."""

    def values(self, examples: Sequence[Example], answers: Sequence[Prediction]) -> FloatArray:
        """Return the reward of each answer: float64 ``(answers,)``; NaN where it has none.

        Args:
            examples: What was asked, one for each answer.
            answers: What was answered.
        """


@dataclass(frozen=True)
class WeightedSum:
    """A weighted sum of rewards; see :class:`Reward`. Where one of them has no number, the sum has none."""

    name: str
    terms: tuple[tuple[float, Reward], ...]

    @property
    def signature(self) -> str:
        """See :class:`Reward`."""
        return " + ".join(f"{weight!r} * {reward.signature}" for weight, reward in self.terms)

    def values(self, examples: Sequence[Example], answers: Sequence[Prediction]) -> FloatArray:
        """See :class:`Reward`."""
        parts = [weight * reward.values(examples, answers) for weight, reward in self.terms]
        return np.asarray(np.sum(parts, axis=0))


def read_reward(written: str, *, where: str) -> Reward:
    """Return the reward that a text names.

    Args:
        written: A metric (``rougeL``), a function of a file (``my_rewards.py:brevity``), or a sum of them with weights
            (``0.8 * rougeL + 0.2 * my_rewards.py:brevity``).
        where: For messages.

    Raises:
        ConfigError: Of several faults, Faults.
    """
    if is_function(written):
        return read_function(written, where=where)
    faults: list[LuthierError] = []
    terms: list[tuple[float, Reward]] = []
    for part in written.split("+") if written.strip() else [""]:
        with collecting(faults):
            terms.append(_term(part, written, where))
    raise_faults(f"{where} has faults", faults)
    if len(terms) == 1 and terms[0][0] == 1:
        return terms[0][1]
    return WeightedSum(written, tuple(terms))


def _term(part: str, written: str, where: str) -> tuple[float, Reward]:
    found = _TERM.fullmatch(part)
    if found is None:
        what = f"'{written}' is no reward"
        fix = "Name a metric (rougeL), a function (my_rewards.py:brevity), or a sum: 0.8 * rougeL + 0.2 * chrf."
        raise ConfigError(what, where=where, fix=fix)
    weight = float(found["weight"] or 1)
    if not weight or not math.isfinite(weight):
        raise ConfigError(f"the weight of {found['name']} is {found['weight']}", where=where, fix="Leave it out.")
    name = found["name"]
    return weight, read_function(name, where=where) if is_function(name) else read_metric(name, where=where)


def metric_of(reward: Reward) -> str:
    """Return the metric that a reward is; "" where it is something else."""
    return reward.metric.name if isinstance(reward, MetricReward) else ""
