"""Which charts a report holds, in which order, and how a chart becomes a specification or a PNG."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import vl_convert

from luthier.report import derived
from luthier.report.calibration import Calibration
from luthier.report.charts import heat_map, learning, quality, reliability, retention, trade_offs
from luthier.report.charts.parts import WIDTH, Chart, Charts
from luthier.report.curves import Curve, RunKey
from luthier.report.palette import theme
from luthier.results.records import RunCosts, RunResults
from luthier.visible import visible_throughout

VEGA_LITE = "6.4"
"""Version that draws the charts, on the page and in the PNGs; one that both altair and vl-convert know."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One chart with its words.

    Attributes:
        key: Name of the PNG and of the anchor.
        section: ``"answer"``, ``"calibration"``, ``"retention"`` or ``"learning"``.
        title: What is drawn against what.
        note: How to read it; "" for nothing.
        wide: Whether it takes the page's whole width.
        least_width: Pixels below which it is scrolled instead of squeezed.
        spec: Vega-Lite, with its own title.
    """

    key: str
    section: str
    title: str
    note: str
    wide: bool
    least_width: int
    spec: dict[str, Any]


def figures(
    results: RunResults,
    costs: RunCosts,
    curves: Mapping[RunKey, Curve],
    calibrations: Mapping[str, Calibration],
    *,
    legend: bool,
) -> list[Figure]:
    """Draw all that the run has something for; ``legend`` inside each chart, for where none stands beside them."""
    tasks = len(derived.retained_tasks(results.arms))
    heat = heat_map.forgetting_heat_map(results, width=max(WIDTH, 64 * tasks))
    made = [
        figure_of("quality", "answer", quality.primary_scores(results)),
        figure_of("parameters", "answer", trade_offs.quality_against_parameters(results, legend=legend)),
        figure_of("forgetting", "answer", trade_offs.quality_against_forgetting(results, legend=legend)),
        figure_of("time", "answer", trade_offs.quality_against_time(results, costs, legend=legend)),
        figure_of("reliability", "calibration", reliability.diagrams(results, calibrations), wide=True),
        figure_of("retention", "retention", heat, wide=tasks > 4, least=150 + 58 * tasks),
        figure_of("token_loss", "retention", retention.token_loss(results)),
        figure_of("training_loss", "learning", learning.training_loss(results, curves, legend=legend), wide=True),
        figure_of("validation_loss", "learning", learning.validation_loss(results, curves, legend=legend)),
        figure_of("validation_score", "learning", learning.validation_score(results, curves, legend=legend)),
    ]
    return [figure for figure in made if figure]


def figure_of(
    key: str, section: str, chart: Chart | Charts | None, *, wide: bool = False, least: int = 0
) -> Figure | None:
    """Return a chart as a figure; None where there is no chart."""
    if chart is None:
        return None
    # The renderer aborts the whole process at a NUL character.
    spec: dict[str, Any] = visible_throughout(chart.to_dict())
    spec.pop("config", None)
    spec.pop("$schema", None)
    title = spec["title"]
    note = title.get("subtitle", "")
    return Figure(key, section, title["text"], note if isinstance(note, str) else " ".join(note), wide, least, spec)


def png(figure: Figure) -> bytes:
    """Draw a figure on white at twice the pixels, without a browser."""
    config = theme(font="sans-serif") | {"background": "#ffffff"}
    roomy = {side: pixels + 12 for side, pixels in figure.spec["padding"].items()}
    picture: bytes = vl_convert.vegalite_to_png(
        figure.spec | {"padding": roomy}, vl_version=VEGA_LITE, config=config, scale=2
    )
    return picture
