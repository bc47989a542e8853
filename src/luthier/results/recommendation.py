"""One sentence that follows from the numbers, and says when they do not decide."""

from __future__ import annotations

import math
from collections.abc import Sequence

from luthier.results.records import ArmResult, Change, Pair, Recommendation


def recommend(arms: Sequence[ArmResult], pairs: Sequence[Pair], *, higher_is_better: bool) -> Recommendation:
    """Name the arm to use.

    The arm with the best primary score is named if it is better than every other by the corrected paired tests. If not,
    the numbers do not decide between it and some others; of those the one that costs least is named: fewest trained
    weights, then shortest prompts.
    """
    measured = [arm for arm in arms if arm.scores and not math.isnan(arm.scores[0].value)]
    if not measured:
        return Recommendation("Nothing was measured, so nothing can be recommended.", None, False)
    sign = 1 if higher_is_better else -1
    best = max(measured, key=lambda arm: sign * arm.scores[0].value)
    others = [arm for arm in measured if arm is not best]
    if not others:
        return Recommendation(
            f"Only {best.name} was measured ({_score(best)}); compare it with another arm.", None, False
        )
    level = [arm for arm in others if not _between(best, arm, pairs).significant]
    if not level:
        second = max(others, key=lambda arm: sign * arm.scores[0].value)
        gap = _between(best, second, pairs)
        sentence = (
            f"Use {best.name}: its {_score(best)} beats every other arm; the nearest, {second.name}, is "
            f"{abs(gap.value):.3g} behind [{_ends(gap)}]{_kept(best)}."
        )
        return Recommendation(sentence, best.name, True)
    cheapest = min([best, *level], key=lambda arm: (arm.trainable_parameters, arm.prompt_tokens))
    names = _listed([best.name, *(arm.name for arm in level)])
    sentence = (
        f"The numbers do not decide between {names}: the best of them, {best.name}, has {_score(best)}. "
        f"Of these {cheapest.name} costs least ({_price(cheapest)}){_kept(cheapest)}."
    )
    return Recommendation(sentence, cheapest.name, False)


def _between(a: ArmResult, b: ArmResult, pairs: Sequence[Pair]) -> Change:
    return next(pair.change for pair in pairs if {pair.a, pair.b} == {a.name, b.name})


def _score(arm: ArmResult) -> str:
    primary = arm.scores[0]
    return f"{primary.metric} {primary.value:.3g} [{primary.low:.3g}, {primary.high:.3g}]"


def _ends(gap: Change) -> str:
    # Turned so that the gap is positive; an interval may still reach below zero.
    sign = 1 if gap.value >= 0 else -1
    low, high = sorted((sign * gap.low, sign * gap.high))
    return f"{low:.3g}, {high:.3g}"


def _price(arm: ArmResult) -> str:
    if arm.trainable_parameters:
        return f"{arm.trainable_parameters:,} trained weights"
    return f"nothing trained, {arm.prompt_tokens:.0f} prompt tokens a request"


def _kept(arm: ArmResult) -> str:
    """Say what the arm forgot; nothing where retention was not measured."""
    if not arm.retained:
        return ""
    lost = [item for item in arm.retained if item.change.significant and _is_loss(item.change, item.higher_is_better)]
    if not lost:
        return f"; no forgetting was found on {len(arm.retained)} other {_plural('task', len(arm.retained))}"
    worst = ", ".join(f"{item.task} ({item.metric} {item.change.value:+.3g})" for item in lost)
    return f"; but it forgot {worst}"


def _is_loss(change: Change, higher_is_better: bool) -> bool:
    return change.value < 0 if higher_is_better else change.value > 0


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _plural(word: str, count: int) -> str:
    return word if count == 1 else word + "s"
