"""One style for every chart: an arm has the same colour and shape everywhere, and no sign rests on colour alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

COLOURS = ("#1F7FC4", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A7F76")
"""After Okabe and Ito (2008), safe for colour-blind readers; without their yellow and black, and with a lighter blue,
that each shows on white and on black."""
SHAPES = ("circle", "square", "triangle-up", "diamond")
"""The shape tells apart arms that share a colour."""
DASHES: tuple[list[int], ...] = ([1, 0], [6, 3], [2, 2], [8, 2, 2, 2])
"""The same for lines."""
LOSS_TO_GAIN = ("#C7622B", "#F4F1EC", "#2B6CA8")
"""Diverging: forgotten, unchanged, gained."""


@dataclass(frozen=True, slots=True)
class ArmStyle:
    """How one arm is drawn."""

    colour: str
    shape: str
    dash: list[int]


def arm_styles(arms: Sequence[str]) -> dict[str, ArmStyle]:
    """Give every arm its style, in the order of the run."""
    given = {}
    for index, arm in enumerate(arms):
        block = index // len(COLOURS) % len(SHAPES)
        given[arm] = ArmStyle(COLOURS[index % len(COLOURS)], SHAPES[block], DASHES[block])
    return given


def theme(
    *, dark: bool = False, font: str = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
) -> dict[str, Any]:
    """Return a Vega-Lite configuration.

    Args:
        dark: For a dark background; the background itself is transparent on the page and white in a PNG.
        font: CSS font family.
    """
    ink, quiet, grid = ("#E7E5E1", "#A8A49C", "#33322F") if dark else ("#23211E", "#6B675F", "#E9E6E0")
    axis = {
        "labelColor": quiet,
        "titleColor": quiet,
        "gridColor": grid,
        "domainColor": grid,
        "tickColor": grid,
        "labelFont": font,
        "titleFont": font,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 10,
        "labelPadding": 6,
        "labelLimit": 150,
    }
    legend = {key: axis[key] for key in ("labelColor", "titleColor", "labelFont", "titleFont", "labelFontSize")}
    return {
        "background": None,
        "font": font,
        "view": {"stroke": None},
        "axis": axis,
        "axisY": {"domain": False, "ticks": False},
        "legend": legend | {"labelLimit": 220, "symbolStrokeWidth": 2},
        "title": {
            "anchor": "start",
            "color": ink,
            "subtitleColor": quiet,
            "font": font,
            "subtitleFont": font,
            "fontSize": 15,
            "subtitleFontSize": 12,
            "fontWeight": 600,
            "offset": 14,
            "subtitlePadding": 5,
        },
        "text": {"color": ink, "font": font, "fontSize": 12},
        "rule": {"color": quiet},
        "style": {"quiet": {"stroke": quiet, "fill": quiet}},
    }
