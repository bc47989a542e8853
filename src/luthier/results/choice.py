"""The arm, and the point between it and the base, that is best on the target and keeps what was asked for.

They are chosen on the validation splits of the target and of the retained tasks. The chosen one alone is then judged on
the test splits, once, so that choosing among many makes no verdict too kind.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from luthier.config.interpolation import TRAINED
from luthier.metrics.seed_estimate import FEWEST_SEEDS
from luthier.results.retention_ratio import RetentionRatio, decided_by


@dataclass(frozen=True, slots=True)
class Candidate:
    """An arm at a point, on the validation splits.

    Attributes:
        arm: Its name.
        at: The point between the base (0) and the arm (1).
        score: Primary score on the target, the mean over seeds.
        kept: Share of what the base could do that is kept (R); NaN where the base can do nothing.
        low: Its one-sided 95 % lower bound.
    """

    arm: str
    at: float
    score: float
    kept: float
    low: float

    @property
    def name(self) -> str:
        """What it is called."""
        return point_name(self.arm, self.at)


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, and whether it keeps what was asked for.

    Attributes:
        level: The share that must be kept.
        arm: The chosen arm, or the nearest where none keeps enough; "" where nothing could be measured.
        at: Its point.
        kept: Whether the lower bound on the test splits reaches the level.
        value: R on the test splits.
        low: Its one-sided 95 % lower bound, over seeds and examples.
        tasks: Retained tasks in the mean.
        left_out: Retained tasks that the base cannot do.
        seeds: Training runs.
        examples: Fewest test examples of a task in the mean.
        candidates: What was chosen from, on the validation splits.
        sentence: The finding.
        headline: The same in a few words.
    """

    level: float
    arm: str
    at: float
    kept: bool
    value: float
    low: float
    tasks: tuple[str, ...]
    left_out: tuple[str, ...]
    seeds: int
    examples: int
    candidates: tuple[Candidate, ...]
    sentence: str
    headline: str

    @property
    def name(self) -> str:
        """What the chosen one is called."""
        return point_name(self.arm, self.at)


def point_name(arm: str, at: float) -> str:
    """Return what an arm at a point is called.

    >>> point_name("lora", 0.5), point_name("lora", 1.0)
    ('lora at 0.5', 'lora')
    """
    return arm if at == TRAINED else f"{arm} at {at:g}"


def choose(candidates: Sequence[Candidate], level: float, *, higher_is_better: bool) -> Candidate | None:
    """Return the best on the target of those whose lower bound reaches the level; else the one that comes nearest.

    None where no candidate's share is known.
    """
    known = [one for one in candidates if math.isfinite(one.low) and math.isfinite(one.score)]
    sign = 1 if higher_is_better else -1
    keeping = [one for one in known if one.low >= level]
    if keeping:
        return max(keeping, key=lambda one: (sign * one.score, one.low))
    return max(known, key=lambda one: (one.low, sign * one.score), default=None)


def judged(chosen: Candidate, ratio: RetentionRatio, level: float, candidates: Sequence[Candidate]) -> Choice:
    """Say whether the chosen one keeps what was asked for.

    Args:
        chosen: On the validation splits.
        ratio: What it keeps, on the test splits.
        level: What was asked for.
        candidates: What it was chosen from.
    """
    kept = ratio.reaches(level)
    name = chosen.name
    bound = f"{_share(ratio.value)}, at least {_share(ratio.low)} ({_bound_words(ratio)})"
    if kept:
        sentence = f"Use {name}: of what the base could do on {_tasks(ratio)} it keeps {bound}."
    elif not ratio.tasks:
        sentence = f"It is not known what {name} keeps: on the test splits the base can do no retained task."
    else:
        sentence = (
            f"No arm is shown to keep {level:g} of what the base could do on {_tasks(ratio)}: the nearest, {name}, "
            f"keeps {bound}; {_what_would_decide(ratio, level)}."
        )
    sentence += _left_out(ratio.left_out)
    return Choice(
        level=level,
        arm=chosen.arm,
        at=chosen.at,
        kept=kept,
        value=ratio.value,
        low=ratio.low,
        tasks=ratio.tasks,
        left_out=ratio.left_out,
        seeds=ratio.seeds,
        examples=ratio.examples,
        candidates=tuple(candidates),
        sentence=sentence,
        headline=f"{name} keeps at least {level:g}" if kept else f"No arm is shown to keep {level:g}",
    )


def nothing_known(level: float, candidates: Sequence[Candidate], left_out: Sequence[str]) -> Choice:
    """Say that nothing could be chosen: no arm was trained to its end, or the base can do none of the retained tasks.

    Args:
        level: What was asked for.
        candidates: What would have been chosen from.
        left_out: Retained tasks that the base cannot do, on their validation splits.
    """
    if candidates:
        sentence = (
            "No arm can be chosen by what it keeps: the base can do no retained task. Retain tasks that it can do, or "
            f"measure more examples.{_left_out(left_out)}"
        )
    else:
        sentence = "No arm can be chosen by what it keeps: the training of every arm that trains has failed."
    nan = math.nan
    return Choice(
        level, "", TRAINED, False, nan, nan, (), tuple(left_out), 0, 0, tuple(candidates), sentence, "Nothing to keep"
    )


def _what_would_decide(ratio: RetentionRatio, level: float) -> str:
    reach = ratio.value - ratio.low
    if ratio.value + reach < level:
        return "that is less than was asked for"
    return decided_by(ratio, level) or "only more seeds and more examples would decide"


def _bound_words(ratio: RetentionRatio) -> str:
    examples = f"{ratio.examples:,} examples of each task"
    if ratio.seeds >= FEWEST_SEEDS:
        return f"one-sided 95 % bound over {ratio.seeds} seeds and {examples}"
    runs = "this one seed" if ratio.seeds < 2 else f"these {ratio.seeds} seeds"
    return f"one-sided 95 % bound over {examples}, for {runs}"


def _tasks(ratio: RetentionRatio) -> str:
    count = len(ratio.tasks)
    return f"{count} other task" + ("" if count == 1 else "s")


def _left_out(names: Sequence[str]) -> str:
    return f" Left out, because the base cannot do them: {', '.join(names)}." if names else ""


def _share(value: float) -> str:
    return f"{value:.3f}"
