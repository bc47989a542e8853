"""The tables of the suite ``helm``: the seven by scenario, and what stands behind each of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from luthier.records import Score
from luthier.report import formatting
from luthier.report.formatting import ABSENT
from luthier.report.intervals import Intervals, intervals_of
from luthier.report.tables import Cell, Column, Table, value_cell
from luthier.results.change import Change
from luthier.results.seven import Seven, WorstCase

_DIGITS = 3


def seven_table(found: Sequence[Seven]) -> Table:
    """One row for each scenario, one column for each of the seven."""
    intervals = intervals_of(_shown(found))
    rows = tuple(_seven_row(one, intervals) for one in found)
    titles = ("Accuracy", "Calibration ↓", "Robustness", "Fairness", "Bias ↓", "Toxicity ↓", "Efficiency")
    columns = (Column("Scenario", number=False), *(Column(title) for title in titles))
    note = (
        f"{_held(intervals)}Accuracy: the task's own number; ↑ higher is better, ↓ lower. Calibration: ECE with ten "
        "bins of equal mass. Robustness and fairness: the same number where each item counts as the worst of its "
        "versions, and below it the paired loss. Bias: how far mentions of women and men are from equal, 0 to 0.5, or "
        "a number that the task has of its own. Toxicity: share of toxic texts. Efficiency: time for each item. –: not "
        "measured; the notes say why."
    )
    return Table("seven", "HELM's seven", columns, rows, note)


def perturbation_table(found: Sequence[Seven]) -> Table:
    """One row for each perturbation of each scenario."""
    intervals = intervals_of(shown for one in found for own in one.perturbed for shown in (own.score, own.loss))
    rows = tuple(
        (
            Cell(one.scenario if first else ""),
            Cell(own.name, own.kind),
            _value(own.score, one, intervals),
            _change(own.loss, one, intervals),
            Cell(f"{own.changed:,} of {own.score.n:,}", f"{own.dropped:,} dropped" if own.dropped else ""),
        )
        for one in found
        for first, own in _with_first(one.perturbed)
    )
    names = (Column("Scenario", number=False), Column("Perturbation", number=False))
    numbers = (Column("Score"), Column("Paired difference"), Column("Items changed"))
    note = (
        f"{_held(intervals)}Each perturbation alone, against the same items as they are, in the metric's own direction."
    )
    return Table("perturbations", "Perturbations", (*names, *numbers), rows, note)


def worst_table(found: Sequence[Seven]) -> Table:
    """The mean over versions beside the worst case: one row for each scenario and kind."""
    kinds = [(one, name, case) for one in found for name, case in _cases(one)]
    intervals = intervals_of(shown for _, _, case in kinds for shown in (case.score, case.mean, case.loss))
    rows = tuple(
        (
            Cell(one.scenario, name),
            Cell(", ".join(case.over)),
            _value(case.score, one, intervals),
            _change(case.loss, one, intervals),
            _value(case.mean, one, intervals),
        )
        for one, name, case in kinds
    )
    names = (Column("Scenario", number=False), Column("Versions besides the original", number=False))
    numbers = (Column("Worst of each item"), Column("Paired loss"), Column("Mean over versions"))
    note = (
        f"{_held(intervals)}The worst of several draws is worse than one of them, for any model: a loss is small or "
        "large against another model's on the same items. The versions of an item are one cluster in the interval of "
        "the mean."
    )
    return Table("worst", "Worst case", (*names, *numbers), rows, note)


def scores_by_scenario(key: str, title: str, scores: Mapping[str, Sequence[Score]], note: str) -> Table | None:
    """One row for each scenario that has such scores, one column for each; None where none has any."""
    known = {scenario: own for scenario, own in scores.items() if own}
    if not known:
        return None
    metrics = list(dict.fromkeys(score.metric for own in known.values() for score in own))
    intervals = intervals_of(score for own in known.values() for score in own)
    rows = []
    for scenario, own in known.items():
        by_name = {score.metric: score for score in own}
        rows.append((Cell(scenario), *(value_cell(by_name.get(name), _DIGITS, intervals) for name in metrics)))
    columns = (Column("Scenario", number=False), *(Column(name.replace("_", " ")) for name in metrics))
    return Table(key, title, columns, tuple(rows), f"{_held(intervals)}{note}")


def efficiency_table(found: Sequence[Seven]) -> Table:
    """What the answers to the original items took."""
    rows = tuple(
        (
            Cell(one.scenario),
            Cell(formatting.seconds(took.seconds), f"{took.cached:,} answers known before" if took.cached else ""),
            Cell(formatting.moment(took.seconds / took.examples)),
            Cell(f"{took.prompt_tokens:,}"),
            Cell(f"{took.answer_tokens:,}"),
            Cell(formatting.rate(took.tokens_per_second)),
            Cell(f"{formatting.rate(took.joules)} J"),
        )
        for one in found
        for took in (one.efficiency,)
    )
    titles = ("Time", "For each item", "Tokens read", "Tokens answered", "Tokens / s", "Energy, estimated")
    columns = (Column("Scenario", number=False), *(Column(title) for title in titles))
    said = "; ".join(dict.fromkeys(one.efficiency.assumption for one in found))
    note = (
        "Measured on this machine, of the items as they are; of choices the tokens of all of them count as answered. "
        f"Energy is time times a power that is assumed, not measured: {said}."
    )
    return Table("efficiency", "Efficiency", columns, rows, note)


def own_table(found: Sequence[Seven]) -> Table | None:
    """The numbers that BBQ, CrowS-Pairs and Winogender have of their own; None where none of them was measured."""
    rows = tuple(
        (Cell(one.scenario if first else ""), Cell(name.replace("_", " ")), Cell(formatting.decimal(value, _DIGITS)))
        for one in found
        for first, (name, value) in _with_first(tuple(one.social.items()))
    )
    if not rows:
        return None
    columns = (Column("Scenario", number=False), Column("Number", number=False), Column("Value"))
    note = (
        "BBQ: disambiguated is s_DIS; ambiguous is s_AMB with the accuracy of the ambiguous questions (Parrish et al. "
        "2022), ambiguous helm with that of all questions, as in HELM's code; 0 is no bias. Winogender: parity is the "
        "share of sentences with one answer for she and he; gotcha is the accuracy where the occupation's majority "
        "misleads."
    )
    return Table("own", "Numbers of their own", columns, rows, note)


def helm_tables(found: Sequence[Seven]) -> list[Table]:
    """Every table of the suite, the seven first."""
    calibration = "HELM's numbers (Liang et al. 2022, section 4.4); platt: after Platt's scaling on the same items."
    words = "Of generated texts in English, by Luthier's word lists; –: nobody is mentioned."
    toxic = "A text is toxic from a probability of 0.5 on; the card beside the classifier says how often it is wrong."
    tables = (
        seven_table(found),
        worst_table(found),
        perturbation_table(found),
        scores_by_scenario("calibration", "Calibration", {one.scenario: one.calibration for one in found}, calibration),
        scores_by_scenario("bias", "Bias", {one.scenario: one.bias for one in found}, words),
        scores_by_scenario("toxicity", "Toxicity", {one.scenario: one.toxicity for one in found}, toxic),
        own_table(found),
        efficiency_table(found),
    )
    return [table for table in tables if table is not None and table.rows]


def helm_notes(found: Sequence[Seven]) -> list[str]:
    """What could not be measured, and why: what holds for several scenarios is said once."""
    scenarios: dict[str, list[str]] = {}
    for one in found:
        for note in one.notes:
            scenarios.setdefault(note, []).append(one.scenario)
    return [f"{', '.join(names)}: {note}" for note, names in scenarios.items()]


def helm_json(found: Sequence[Seven]) -> dict[str, object]:
    """Return everything by scenario as JSON has it; what was not measured is null."""
    plain: dict[str, object] = {}
    for one in found:
        took = one.efficiency
        more = {"tokens_per_second": took.tokens_per_second, "joules": took.joules}
        written = asdict(one) | {"efficiency": asdict(took) | more}
        plain[one.scenario] = _finite({key: value for key, value in written.items() if key != "scenario"})
    return plain


def _seven_row(one: Seven, intervals: Intervals) -> tuple[Cell, ...]:
    ece = next((score for score in one.calibration if score.metric == "ece_10_bin"), None)
    toxic = next((score for score in one.toxicity if score.metric == "toxic_share"), None)
    return (
        Cell(one.scenario, f"{one.accuracy.metric} {'↑' if one.higher_is_better else '↓'}, n = {one.accuracy.n:,}"),
        _value(one.accuracy, one, intervals),
        value_cell(ece, _DIGITS, intervals),
        _worst(one.robustness, one),
        _worst(one.fairness, one),
        _bias(one, intervals),
        value_cell(toxic, _DIGITS, intervals),
        Cell(formatting.moment(one.efficiency.seconds / one.efficiency.examples)),
    )


_OWN_BIAS = {"ambiguous": "s_AMB", "stereotype_share": "stereotypes", "parity": "parity ↑"}
"""The numbers of BBQ, CrowS-Pairs and Winogender that stand for bias, as they are called there."""


def _bias(one: Seven, intervals: Intervals) -> Cell:
    """Write what a task has of its own, else the representation of women and men in the texts."""
    own = next(((name, one.social[key]) for key, name in _OWN_BIAS.items() if key in one.social), None)
    if own is not None:
        return Cell(formatting.decimal(own[1], _DIGITS), own[0])
    return value_cell(next(iter(one.bias), None), _DIGITS, intervals)


def _worst(case: WorstCase | None, one: Seven) -> Cell:
    if case is None:
        return Cell(ABSENT)
    digits = formatting.digits_for([one.accuracy.value])
    return Cell(formatting.decimal(case.score.value, digits), formatting.signed(case.loss.value, digits))


def _value(score: Score, one: Seven, intervals: Intervals) -> Cell:
    return value_cell(score, formatting.digits_for([one.accuracy.value]), intervals)


def _change(loss: Change, one: Seven, intervals: Intervals) -> Cell:
    digits = formatting.digits_for([one.accuracy.value])
    return Cell(formatting.signed(loss.value, digits), intervals.write(loss, digits, sign=True))


def _cases(one: Seven) -> Iterator[tuple[str, WorstCase]]:
    for name, case in (("robustness", one.robustness), ("fairness", one.fairness)):
        if case is not None:
            yield name, case


def _shown(found: Sequence[Seven]) -> Iterator[Score]:
    for one in found:
        yield one.accuracy
        yield from (*one.calibration, *one.bias, *one.toxicity)


def _held(intervals: Intervals) -> str:
    return f"{intervals.words()} in brackets. " if intervals.levels else ""


def _with_first(items: Iterable[Any]) -> Iterator[tuple[bool, Any]]:
    for place, item in enumerate(items):
        yield place == 0, item


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
