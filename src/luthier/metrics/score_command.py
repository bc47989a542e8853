"""The body of ``luthier score``: files in, a table or JSON out. Of the metrics, only this module prints."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from luthier.errors import ConfigError, DataError, did_you_mean
from luthier.metrics.overlap.explain import explain
from luthier.metrics.overlap.unicode_words import unread_references
from luthier.metrics.registry import get_metric
from luthier.metrics.score_inputs import ScoreInputs, System, load_systems, values_of
from luthier.metrics.scoring import score_predictions
from luthier.metrics.significance import TESTS, Difference, PairedComparison, holm, paired_difference
from luthier.records import Prediction, Score
from luthier.stdio import deliver_json, echo

MOST_CONFIDENCE = 0.9999
"""Highest level of an interval: further out no number of resamples that anyone draws has a quantile."""


@dataclass(frozen=True)
class ScoreSettings:
    """How to score and compare.

    Attributes:
        metrics: Names as `luthier.metrics.registry.get_metric` takes them; each may be a comma-separated list
            (``"rouge,bleu:tokenize=zh"``).
        confidence: Of the intervals.
        resamples: Bootstrap resamples; 0 for no intervals.
        seed: Of the resamples.
        test: Paired test between systems, one of `luthier.metrics.significance.TESTS`; "" for the randomisation test
            where there are several systems.
    """

    metrics: tuple[str, ...] = ("rouge",)
    confidence: float = 0.95
    resamples: int = 1000
    seed: int = 0
    test: str = ""

    def names(self) -> tuple[str, ...]:
        """Return the name of each metric."""
        return tuple(name.strip() for given in self.metrics for name in given.split(",") if name.strip())


@dataclass(frozen=True)
class Output:
    """What to print and write.

    Attributes:
        as_json: Print JSON instead of tables.
        by: Score each value of this column by itself as well; "" for none.
        explain_id: Print how the score of this example comes about (an id, or a line number) instead of scores.
        per_example: Write one row for each example to this file (JSONL, or TSV by its ending).
    """

    as_json: bool = False
    by: str = ""
    explain_id: str = ""
    per_example: Path | None = None


@dataclass(frozen=True)
class Report:
    """What ``luthier score`` found, for printing as tables or as JSON.

    Attributes:
        scores: For each system, its scores.
        parts: For each system and each value of the ``--by`` column, its scores.
        differences: First system against each other one, for every output: the other's name, the difference, and its
            p-value after Holm's correction over the systems.
        notes: What was done to the files, or is missing from the numbers, that the user may not expect.
    """

    scores: Mapping[str, list[Score]]
    parts: Mapping[str, Mapping[str, list[Score]]]
    differences: Sequence[tuple[str, Difference, float]]
    notes: Sequence[str] = ()


def run_score(inputs: ScoreInputs, settings: ScoreSettings, output: Output) -> None:
    """Score predictions and print the result.

    Args:
        inputs: The files. With several systems, the first is compared with each of the others, in pairs.
        settings: How to score and compare.
        output: What to print and write.

    Raises:
        ConfigError: A metric, setting or test is not known.
        DataError: A file is missing, damaged or does not fit the others.
        Faults: Several rows are malformed.
    """
    names = settings.names()
    for name in names:
        get_metric(name)
    settings = replace(settings, metrics=names)
    _check_settings(settings, inputs.predictions)
    systems = load_systems(inputs)
    if output.explain_id:
        echo(_explained(systems, output.explain_id, names))
        return
    if output.per_example is not None:
        _write_rows(output.per_example, systems, names)
    by = output.by
    report = Report(
        {system.name: _scored(system.predictions, settings) for system in systems},
        {s.name: {v: _scored(part, settings) for v, part in values_of(s, by)} for s in systems} if by else {},
        _compared(systems, settings),
        _notes(systems, names),
    )
    if output.as_json:
        deliver_json(as_plain(report))
    else:
        _print_tables(report, by)


def _notes(systems: Sequence[System], metrics: Sequence[str]) -> list[str]:
    """Say what was done to the files, and what a metric does not see; each once."""
    found = [note for system in systems for note in (*system.notes, unread_references(system.predictions, metrics))]
    return [note for note in dict.fromkeys(found) if note]


def _check_settings(settings: ScoreSettings, predictions: Sequence[Path]) -> None:
    if not predictions:
        raise ConfigError("No file of predictions was given.", fix="Name one with --predictions.")
    if not settings.metrics:
        raise ConfigError("No metric was asked for.", fix="Name one, e.g. --metric rouge.")
    if not 0 < settings.confidence <= MOST_CONFIDENCE:
        raise ConfigError(
            f"A confidence of {settings.confidence!r} makes no interval.",
            fix=f"Give a number between 0 and 1, {MOST_CONFIDENCE} at most, e.g. --confidence 0.95.",
        )
    if settings.seed < 0:
        raise ConfigError(f"A seed of {settings.seed} seeds nothing.", fix="Give a whole number from 0.")
    if settings.test and settings.test not in TESTS:
        raise ConfigError(f"Unknown test '{settings.test}'.", fix=did_you_mean(settings.test, TESTS))
    if settings.test and len(predictions) == 1:
        raise ConfigError(
            f"The test '{settings.test}' compares systems, and there is one.",
            fix="Give the files of two systems or more, or leave --significance out.",
        )
    if settings.resamples < 0:
        fix = "Give --resamples 0 (no intervals) or some hundreds."
        raise ConfigError(f"{settings.resamples} resamples cannot be drawn.", fix=fix)


def _scored(predictions: Sequence[Prediction], settings: ScoreSettings) -> list[Score]:
    return score_predictions(
        predictions,
        settings.metrics,
        confidence=settings.confidence,
        resamples=settings.resamples,
        seed=settings.seed,
    )


def _compared(systems: Sequence[System], settings: ScoreSettings) -> list[tuple[str, Difference, float]]:
    """Compare the first system with each other one on every output, with Holm's correction over the systems."""
    rows: list[tuple[str, Difference, float]] = []
    for name in settings.metrics:
        for output in get_metric(name).outputs:
            found = [_difference(systems[0], other, name, output, settings) for other in systems[1:]]
            adjusted = holm([difference.p_value for difference in found])
            rows += [(o.name, d, p) for o, d, p in zip(systems[1:], found, adjusted, strict=True)]
    return rows


def _difference(first: System, second: System, metric: str, output: str, settings: ScoreSettings) -> Difference:
    return paired_difference(
        first.predictions,
        second.predictions,
        metric,
        output,
        settings=PairedComparison(
            test=settings.test or TESTS[0],
            confidence=settings.confidence,
            resamples=max(settings.resamples, 100),
            seed=settings.seed,
        ),
    )


def as_plain(report: Report) -> dict[str, object]:
    """Return the report as JSON has it: one system's outputs on the top level, several under ``systems``.

    What is not a finite number is None.
    """
    entries: dict[str, dict[str, object]] = {}
    for name, scores in report.scores.items():
        entries[name] = _plain_scores(scores)
        if name in report.parts:
            entries[name]["by"] = {value: _plain_scores(part) for value, part in report.parts[name].items()}
    notes: dict[str, object] = {"notes": list(report.notes)} if report.notes else {}
    if len(entries) == 1:
        return next(iter(entries.values())) | notes
    baseline = next(iter(entries))
    differences = [
        {"first": baseline, "second": other, "p_holm": _number(p), **_plain_difference(difference)}
        for other, difference, p in report.differences
    ]
    return {"systems": entries, "differences": differences} | notes


def _plain_scores(scores: Sequence[Score]) -> dict[str, object]:
    entry: dict[str, object] = {}
    for score in scores:
        detail = {key: _number(value) for key, value in score.detail.items()}
        ends = {"low": _number(score.low), "high": _number(score.high)}
        entry[score.metric] = {"value": _number(score.value), **detail, **ends, "n": score.n}
    # Outputs of one metric share their signature.
    entry["signature"] = " + ".join(signature for signature, _ in groupby(score.signature for score in scores))
    return entry


def _plain_difference(difference: Difference) -> dict[str, object]:
    numbers = {key: _number(getattr(difference, key)) for key in ("value", "low", "high", "p_value", "detectable")}
    return {"output": difference.output, **numbers, "n": difference.n, "method": difference.method}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _explained(systems: Sequence[System], identity: str, metrics: Sequence[str]) -> str:
    parts = []
    for system in systems:
        by_id = {prediction.id: prediction for prediction in system.predictions}
        if identity not in by_id:
            raise DataError(
                f"There is no example '{identity}'.", where=system.name, fix=did_you_mean(identity, list(by_id)[:20])
            )
        prediction = by_id[identity]
        explainable = [name for name in metrics if name.split(":")[0] in ("rouge", "bleu")] or ["rouge"]
        parts += [explain(prediction.text, prediction.targets, metric=name) for name in explainable]
    return "\n\n".join(parts)


def _write_rows(path: Path, systems: Sequence[System], metrics: Sequence[str]) -> None:
    rows = [row for system in systems for row in _rows(system, metrics)]
    if path.suffix.lower() == ".tsv":
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, list(rows[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        text = buffer.getvalue()
    else:
        text = "".join(_json(row) + "\n" for row in rows)
    try:
        # Half of a character, which JSON can hold and no file can, is written as JSON writes it.
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise DataError(
            f"The rows cannot be written: {error.strerror}.",
            where=str(path),
            fix="Choose another place for --per-example.",
        ) from error


def _rows(system: System, metrics: Sequence[str]) -> list[dict[str, object]]:
    columns: dict[str, list[float]] = {}
    for name in metrics:
        metric = get_metric(name)
        table = metric.rows(metric.statistics(system.predictions))
        columns |= {output: table[:, i].tolist() for i, output in enumerate(metric.outputs)}
    return [
        {
            "system": system.name,
            "id": prediction.id,
            **{output: _number(values[i]) for output, values in columns.items()},
        }
        for i, prediction in enumerate(system.predictions)
    ]


def _print_tables(report: Report, by: str) -> None:
    from rich.table import Table

    from luthier.console import open_console

    console = open_console()
    heading = _interval_heading([score for scores in report.scores.values() for score in scores])
    table = Table(
        *(["system"] if len(report.scores) > 1 else []), *([by] if by else []), "metric", "value", heading, "n"
    )
    for name, scores in report.scores.items():
        parts: dict[str, Sequence[Score]] = {"": scores, **report.parts.get(name, {})}
        for value, part in parts.items():
            lead = ([name] if len(report.scores) > 1 else []) + ([value or "all"] if by else [])
            for score in part:
                table.add_row(*lead, score.metric, *_cells(score))
    console.print(table)
    if report.differences:
        console.print(_difference_table(report))
    first = next(iter(report.scores.values()))
    for signature in dict.fromkeys(score.signature for score in first):
        console.print(signature, style="dim", markup=False, highlight=False, soft_wrap=True)
    for note in report.notes:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)


def _difference_table(report: Report) -> object:
    from rich.table import Table

    baseline = next(iter(report.scores))
    heading = _interval_heading([difference for _, difference, _ in report.differences])
    table = Table(
        "against", "metric", "difference", heading, "p", "p (Holm)", "detectable", title=f"{baseline} minus …"
    )
    for other, difference, p in report.differences:
        digits = _digits(difference.value, difference.low, difference.high)
        ends = f"{difference.low:+.{digits}f} … {difference.high:+.{digits}f}"
        table.add_row(
            other,
            difference.output,
            f"{difference.value:+.{digits}f}",
            ends,
            f"{difference.p_value:.4f}",
            f"{p:.4f}",
            f"{difference.detectable:.{digits}f}",
        )
    table.caption = report.differences[0][1].method
    return table


def _interval_heading(shown: Sequence[Score | Difference]) -> str:
    """Say the level of the intervals below; only ``"interval"`` where they have several."""
    levels = {record.confidence for record in shown}
    return f"{100 * levels.pop():.10g} % interval" if len(levels) == 1 else "interval"


def _cells(score: Score) -> tuple[str, str, str]:
    digits = _digits(score.value, score.low, score.high)
    ends = "not measured" if math.isnan(score.low) else f"{score.low:.{digits}f} … {score.high:.{digits}f}"
    return "undefined" if math.isnan(score.value) else f"{score.value:.{digits}f}", ends, str(score.n)


def _digits(*values: float) -> int:
    """Return how many digits are shown: two for scores out of 100, four for scores out of 1."""
    return 2 if any(abs(value) > 1.5 for value in values) else 4


def _json(value: object) -> str:
    """Return JSON in its own characters, or in ASCII where it holds half of one, which no file can."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return text
