"""The page of the suite ``helm``: one offline file without a script."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from markupsafe import Markup

from luthier.config.evaluate import EvaluateConfig
from luthier.files.atomic import write_atomically
from luthier.metrics.registry import get_metric, metric_of_output
from luthier.report import formatting
from luthier.report.helm_tables import helm_notes, helm_tables
from luthier.report.helm_wins import win_table
from luthier.report.html import resource, template
from luthier.results.seven import Seven
from luthier.version import __version__

Second: TypeAlias = tuple[str, Sequence[Seven]]
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


@dataclass(frozen=True, slots=True)
class Mark:
    """A value on the line of a scenario.

    Attributes:
        what: ``original``, ``robustness`` or ``fairness``.
        at: Its place, 0 to 1.
        text: The value as it is written.
    """

    what: str
    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """One scenario of the chart.

    Attributes:
        scenario: Its name.
        metric: Its number, with the direction.
        low: The left end of the line, written.
        high: The right end, written.
        marks: Its values; the original first.
    """

    scenario: str
    metric: str
    low: str
    high: str
    marks: tuple[Mark, ...]


def write_helm_page(path: Path, model: str, found: Sequence[Seven], second: Second | None = None) -> Path:
    """Write the page; the same results give the same bytes.

    Args:
        path: Where it goes.
        model: What the model is called, adapter included.
        found: The scenarios.
        second: A second model, by its name, and its scenarios.

    Raises:
        StoreError: The file cannot be written.
    """
    write_atomically(path, render(model, found, second).encode("utf-8", "backslashreplace"))
    return path


def write_page_of(settings: EvaluateConfig, models: Mapping[str, Sequence[Seven]]) -> Path:
    """Write the page of an evaluation where its settings say.

    Args:
        settings: Of the evaluation.
        models: The scenarios of the model, and those of a second one where one was named.
    """
    model, adapter = settings.model, str(settings.adapter or "")
    path = settings.page or page_path(settings.runs, model, adapter)
    (_, seven), *others = models.items()
    return write_helm_page(path, f"{model} with {adapter}" if adapter else model, seven, others[0] if others else None)


def page_path(runs: Path, model: str, adapter: str) -> Path:
    """Return where the page goes when nothing else is said: in the folder of runs, by model and adapter."""
    names = [re.sub(r"[^\w.-]+", "-", Path(name).name) for name in (model, adapter) if name]
    return runs / f"helm-{'-'.join(names)}.html"


def render(model: str, found: Sequence[Seven], second: Second | None = None) -> str:
    """Return the page's HTML."""
    seven, *behind = helm_tables(found)
    if second is not None:
        behind.insert(0, win_table({model: found, second[0]: second[1]}))
    items = sum(one.efficiency.examples for one in found)
    page: str = template("helm.html.j2").render(
        model=model,
        version=__version__,
        policy=_POLICY,
        style=Markup(resource("page.css")),  # our own file
        summary=[f"{len(found)} scenarios", f"{items:,} items"],
        seven=seven,
        behind=behind,
        lines=[line for one in found if (line := line_of(one)) is not None],
        notes=helm_notes(found),
        signatures=_signatures(found),
    )
    return page


def line_of(one: Seven) -> Line | None:
    """Return what the chart shows of a scenario; None where its number has no ends, or is not known."""
    metric = get_metric(metric_of_output(one.accuracy.metric))
    if metric.scale is None or math.isnan(one.accuracy.value):
        return None
    low, high = metric.lowest, metric.scale
    cases = (("robustness", one.robustness), ("fairness", one.fairness))
    values = [("original", one.accuracy.value), *((name, case.score.value) for name, case in cases if case is not None)]
    digits = formatting.digits_for([high])
    marks = tuple(
        Mark(what, min(1.0, max(0.0, (value - low) / (high - low))), formatting.decimal(value, digits))
        for what, value in values
        if not math.isnan(value)
    )
    arrow = "↑" if one.higher_is_better else "↓"
    return Line(one.scenario, f"{one.accuracy.metric} {arrow}", f"{low:g}", f"{high:g}", marks)


def _signatures(found: Sequence[Seven]) -> list[tuple[str, str]]:
    """Return what each number depends on, with the name of the number."""
    said = []
    for one in found:
        scores = [one.accuracy, *one.calibration[:1], *one.bias[:1], *one.toxicity[:1]]
        scores += [case.score for case in (one.robustness, one.fairness) if case is not None]
        said += [(f"{one.scenario}: {score.metric}", score.signature) for score in scores]
    return said
