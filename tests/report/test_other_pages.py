"""The pages, tables, charts and sentences of learning curves and sequences."""

from __future__ import annotations

from collections.abc import Callable
from html import unescape
from typing import Any

import pytest

import example_curves
import example_run
from luthier.report.charts.sequence_maps import sequence_map
from luthier.report.charts.size_curves import size_curve
from luthier.report.curve_page import curve_page
from luthier.report.figures import figure_of, png
from luthier.report.learning_curve import forecast_table, quantities, verdicts
from luthier.report.sequence_page import sequence_page
from luthier.report.sequence_tables import matrix_table, numbers_table, sequence_verdicts
from luthier.report.static_page import StaticPage, as_html, as_markdown

PAGES: dict[str, Callable[[], StaticPage]] = {
    "curve": lambda: curve_page(example_curves.curve(), example_run.costs()),
    "sequence": lambda: sequence_page(example_curves.sequence(), example_run.costs()),
}


def records(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """All records that a chart carries."""
    return [record for rows in spec["datasets"].values() for record in rows]


@pytest.mark.parametrize("kind", PAGES)
def test_a_page_loads_nothing_runs_nothing_and_takes_names_literally(kind: str) -> None:
    html = as_html(PAGES[kind]())
    assert html.startswith("<!doctype html>")
    assert "default-src 'none'" in unescape(html)
    assert "<script" not in html
    assert 'onerror="alert' not in html
    assert "<b>bold</b>" not in html
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert "https://" not in html


@pytest.mark.parametrize("kind", PAGES)
def test_the_page_and_markdown_hold_the_same_sentences_and_tables(kind: str) -> None:
    page = PAGES[kind]()
    html, text = as_html(page), as_markdown(page)
    assert page.verdicts[0] in html
    assert page.verdicts[0] in text
    for table in page.tables:
        assert f"<h2>{table.title}</h2>" in html or "script" in table.title
    assert text.count("\n## ") >= len(page.tables)
    assert text.count("![") == len(page.figures)
    assert html.count("<picture>") == len(page.figures)


def test_a_curve_says_what_is_forecast_and_how_the_hindcast_did() -> None:
    results = example_curves.curve()
    loss, score = verdicts(results)[:2]
    assert loss.startswith("lora, loss of the references: ")
    assert "is forecast at 8,000" in loss
    assert "The fit without 800 says [" in loss
    assert loss.endswith((": covered.", ": missed, so do not rely on this forecast."))
    assert score == "lora, rougeL: no forecast, because rougeL has no bound to fall short of."
    assert [row[2].main for row in forecast_table(results).rows[:3]] == ["1,600", "8,000", "–"]


def test_a_flat_curve_says_so_in_the_words_of_the_issue() -> None:
    flat = example_curves.curve(scale=0.0)
    assert verdicts(flat)[0] == (
        "lora, loss of the references: no gain is told from zero above n = 50: a flat line fits as well."
    )


def test_the_chart_of_a_curve_has_points_band_and_hindcast() -> None:
    results = example_curves.curve()
    chart = size_curve(results, quantities(results)[0])
    assert chart is not None
    figure = figure_of("loss", "learning", chart)
    assert figure is not None
    drawn = records(figure.spec)
    band = [row for row in drawn if "ahead" in row]
    assert {row["ahead"] for row in band} == {False, True}
    assert max(row["examples"] for row in band) == 8000
    told = [row for row in drawn if {"low", "high"} <= row.keys() and "ahead" not in row]
    assert {row["examples"] for row in told} == {800}, "the hindcast"
    assert sum("seed" in row for row in drawn) == 2 * 3 * len(example_curves.SIZES)
    assert png(figure).startswith(b"\x89PNG")


def test_the_table_of_a_sequence_has_the_numbers_of_its_matrix() -> None:
    results = example_curves.sequence()
    first, failed = numbers_table(results).rows
    assert [cell.main for cell in first] == ["lora", "0.700", "0.767", "−0.175", "+0.200", "+0.075", "5 + 5 + 5"]
    assert first[3].tone == "bad", "its interval excludes 0"
    assert first[6].below == "4 examples replayed"
    assert [cell.main for cell in failed[1:6]] == ["–"] * 5
    matrix = matrix_table(results, results.arms[0])
    assert [row[0].main for row in matrix.rows][:3] == ["base", "1. a", "2. b"]
    assert [cell.main for cell in matrix.rows[2]] == ["2. b", "0.850", "0.750 •", "0.200"]


def test_a_sequence_says_what_it_forgot() -> None:
    told, failed = sequence_verdicts(example_curves.sequence())
    assert told.startswith("lora: 0.700 on average after the last stage, where the base has 0.200; backward transfer −")
    assert told.endswith("so later stages made it forget.")
    assert failed == "full: failed at stage 1 (a): the loss is not finite."


def test_the_heat_map_has_a_cell_for_each_stage_and_task() -> None:
    results = example_curves.sequence()
    chart = sequence_map(results, results.arms[0])
    assert chart is not None
    cells = records(chart.to_dict())
    assert len(cells) == 12
    assert [cell["label"] for cell in cells if cell["own"]] == ["0.800", "0.750", "0.900"]
    assert sequence_map(results, results.arms[1]) is None
