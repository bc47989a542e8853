"""The verdict that follows from the numbers: which differences are significant, which are not, and which arm to use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from luthier.records import Score
from luthier.results.change import Change
from luthier.results.choice import Choice
from luthier.results.guessing import beats_guessing, guess_words
from luthier.results.records import ArmResult, Pair, Recommendation, RetentionResult
from luthier.results.summaries import TaskSummary

_SHOWN = 3
"""Tasks that are named in a sentence; the rest are counted."""


def recommend(
    arms: Sequence[ArmResult], pairs: Sequence[Pair], task: TaskSummary, choice: Choice | None = None
) -> Recommendation:
    """Say what the numbers decide, and name the arm to use.

    Where an arm was chosen by what it keeps of other tasks, that comes first: the arm that is named is the chosen one,
    or none where none keeps enough.

    Only an arm that beats guessing can be named: one whose interval lies above chance and the majority baseline.
    Of these the arm with the best primary score is named if it is better than every other by the corrected paired
    tests. If not, the numbers do not decide between it and some others; of those the one that costs least is named:
    fewest trained weights, then shortest prompts. Arms that failed are named at the end.
    """
    found = _recommended(arms, pairs, task)
    if choice is not None:
        sentence = f"{choice.sentence} By {task.primary or 'the target'} alone: {found.sentence}"
        found = Recommendation(sentence, choice.arm if choice.kept else None, choice.kept, choice.headline)
    failed = [arm.name for arm in arms if arm.failed]
    if not failed:
        return found
    sentence = f"{found.sentence} Nothing is known of {_listed(failed)}: the training failed."
    return replace(found, sentence=sentence)


def _recommended(arms: Sequence[ArmResult], pairs: Sequence[Pair], task: TaskSummary) -> Recommendation:
    measured = [arm for arm in arms if arm.scores and not math.isnan(arm.scores[0].value)]
    if not measured:
        sentence = "Nothing was measured, so nothing can be recommended."
        return Recommendation(sentence, None, False, "Nothing was measured")
    sign = 1 if task.higher_is_better else -1
    ranked = sorted(measured, key=lambda arm: -sign * arm.scores[0].value)
    able = [arm for arm in ranked if beats_guessing(arm.scores[0], task)]
    if not able:
        return _nothing_beats_guessing(ranked, task)
    if len(measured) == 1:
        only = measured[0]
        sentence = f"Only {only.name} was measured ({_score(only)}); compare it with another arm."
        return Recommendation(sentence, None, False, "Only one arm was measured")
    finding, headline = _tuning_against_prompting(measured, pairs, sign)
    at_chance = _at_chance(measured, able, task)
    best = able[0]
    level = [arm for arm in ranked if arm is not best and not _better(best, arm, pairs, sign)]
    if not level:
        return Recommendation(f"{_winner(best, ranked, pairs)}{at_chance}", best.name, True, "Recommendation")
    candidates = [arm for arm in (best, *level) if arm in able]
    cheapest = min(candidates, key=lambda arm: (arm.trainable_parameters, arm.prompt_tokens))
    of = "Of these" if len(candidates) > len(level) else "Of those that beat guessing,"
    names = _listed([best.name, *(arm.name for arm in level)])
    undecided = (
        f"The numbers do not decide between {names}: the best of them, {best.name}, has {_score(best)}. "
        f"{of} {cheapest.name} costs least ({_price(cheapest)}){_kept(cheapest)}."
    )
    return Recommendation(f"{finding}{undecided}{at_chance}", cheapest.name, False, headline or "No clear winner")


def _nothing_beats_guessing(ranked: Sequence[ArmResult], task: TaskSummary) -> Recommendation:
    best = ranked[0]
    what = f"the best arm, {best.name}, has" if len(ranked) > 1 else f"{best.name} has"
    sentence = (
        f"Nothing beats guessing: {what} {_score(best)}, and without any knowledge one gets {guess_words(task)}. No "
        "arm is recommended; look at the prompts, the labels and the training loss, or use more data or a larger model."
    )
    return Recommendation(sentence, None, False, "Nothing beats guessing")


def _at_chance(measured: Sequence[ArmResult], able: Sequence[ArmResult], task: TaskSummary) -> str:
    names = [arm.name for arm in measured if arm not in able]
    if not names:
        return ""
    verb = "is" if len(names) == 1 else "are"
    return f" {_listed(names)} {verb} not better than guessing ({guess_words(task)})."


def _winner(best: ArmResult, ranked: Sequence[ArmResult], pairs: Sequence[Pair]) -> str:
    second = next(arm for arm in ranked if arm is not best)
    gap = _between(best, second, pairs)
    return (
        f"Use {best.name}: its {_score(best)} beats every other arm; the nearest, {second.name}, is "
        f"{abs(gap.value):.3g} behind [{_ends(gap)}]{_kept(best)}."
    )


def _tuning_against_prompting(measured: Sequence[ArmResult], pairs: Sequence[Pair], sign: int) -> tuple[str, str]:
    """Say whether trained arms are better than all that train nothing, or the other way round; empty where neither is.

    Returns:
        A sentence that ends with a space, and the headline.
    """
    tuned = [arm for arm in measured if arm.method is not None]
    prompted = [arm for arm in measured if arm.method is None]
    if not tuned or not prompted:
        return "", ""
    winners = [arm for arm in tuned if all(_better(arm, other, pairs, sign) for other in prompted)]
    if winners:
        subject = "Tuning" if len(winners) == len(tuned) else _listed([arm.name for arm in winners])
        verb = "beats" if len(winners) == 1 or subject == "Tuning" else "beat"
        who = f" ({_listed([arm.name for arm in tuned])})" if subject == "Tuning" else ""
        gap = _smallest_gap(winners, prompted, pairs)
        return f"{subject}{who} {verb} prompting: {gap}. ", f"{subject} {verb} prompting"
    better = [arm for arm in prompted if all(_better(arm, other, pairs, sign) for other in tuned)]
    if better:
        gap = _smallest_gap(better, tuned, pairs)
        return f"Prompting beats tuning: {gap}. ", "Prompting beats tuning"
    return "", ""


def _smallest_gap(winners: Sequence[ArmResult], losers: Sequence[ArmResult], pairs: Sequence[Pair]) -> str:
    met = [(winner, loser) for winner in winners for loser in losers]
    a, b = min(met, key=lambda pair: abs(_between(pair[0], pair[1], pairs).value))
    gap = _between(a, b, pairs)
    words = f"{abs(gap.value):.3g} [{_ends(gap)}], {a.name} against {b.name}"
    return f"the smallest gap is {words}" if len(met) > 1 else f"the gap is {words}"


def _between(a: ArmResult, b: ArmResult, pairs: Sequence[Pair]) -> Change:
    return next(pair.change for pair in pairs if {pair.a, pair.b} == {a.name, b.name})


def _better(a: ArmResult, b: ArmResult, pairs: Sequence[Pair], sign: int) -> bool:
    """Say whether ``a`` is better than ``b`` by the corrected test."""
    return _between(a, b, pairs).significant and sign * (a.scores[0].value - b.scores[0].value) > 0


def _score(arm: ArmResult) -> str:
    primary: Score = arm.scores[0]
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
    """Say what the arm forgot, or how much it could have forgotten unseen; nothing where it was not measured."""
    known = [item for item in arm.retained if item.able]
    if not known:
        return ""
    lost = [item for item in known if item.change.significant and _is_loss(item.change, item.higher_is_better)]
    if lost:
        worst = ", ".join(f"{item.task} ({item.metric} {item.change.value:+.3g})" for item in lost)
        return f"; but it forgot {worst}"
    count = len(known)
    return f"; no forgetting was found on {count} other {_plural('task', count)} ({smallest_falls(known)})"


def smallest_falls(retained: Sequence[RetentionResult]) -> str:
    """Say which fall on each task the paired test would have found: its minimum detectable difference.

    That is ``(z(1 - α/2) + z(0.8)) · standard error``, α after correction for the number of tasks (Miller 2024, "Adding
    Error Bars to Evals", section 5): the smallest true difference that such a test finds in 80 of 100 such samples.
    """
    known = [item for item in retained if _detectable(item) is not None]
    if not known:
        return "which fall could have been found is not known"
    largest = sorted(known, key=lambda item: -(_detectable(item) or 0.0) / (item.scale or 1.0))
    named = ", ".join(f"{_detectable(item):.3g} {item.metric} on {item.task}" for item in largest[:_SHOWN])
    rest = len(largest) - _SHOWN
    falls = f"{named} and less on {rest} more" if rest > 0 else named
    unknown = len(retained) - len(known)
    missing = f"; of {unknown} {_plural('task', unknown)} it is not known" if unknown else ""
    return f"the smallest {_plural('fall', len(known))} that would be found with 80 % power: {falls}{missing}"


def _detectable(item: RetentionResult) -> float | None:
    size = item.change.detectable
    # Zero: no answer differed, which leaves the spread unknown rather than none.
    return size if size is not None and size > 0 else None


def _is_loss(change: Change, higher_is_better: bool) -> bool:
    return change.value < 0 if higher_is_better else change.value > 0


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def _plural(word: str, count: int) -> str:
    return word if count == 1 else word + "s"
