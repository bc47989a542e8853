"""The terminal's tables: readable at 80 columns, honest about what was not measured."""

from __future__ import annotations

import io
import math
import re
from dataclasses import replace

from rich.console import Console
from rich.table import Table

import example_run
from luthier.report import formatting
from luthier.report.cost_tables import cost_table, storage_table
from luthier.report.derived import forgetting, points
from luthier.report.terminal import retention_table, summary_table
from luthier.results.records import ArmCosts, RunCosts, RunResults


def _printed(table: Table | None, width: int = 80) -> str:
    assert table is not None
    out = io.StringIO()
    Console(file=out, width=width).print(table)
    return out.getvalue()


def _line(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.strip().startswith(start))


def test_eighty_columns_hold_every_number_whole() -> None:
    text = _printed(summary_table(example_run.results(), example_run.costs()))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert _line(text, "full").split() == ["full", "0.331", "+0.189", "▲", "−5.2", "+0.227", "▼"]
    assert "[0.315, 0.347]" in text
    assert "[+0.170, +0.208]" in text
    costs = text[text.index("Cost") :]
    assert _line(costs, "lora").split() == [
        "lora",
        "32.8",
        "k",
        "131",
        "kB",
        "403",
        "MB",
        "149",
        "s",
        "2,410",
        "1,873",
        "412",
        "ms",
        "148",
    ]
    # Below it: merged, LoRA is as fast as the base; virtual tokens cannot be merged.
    lines = costs.splitlines()
    below = {
        line.split()[0]: lines[index + 1] for index, line in enumerate(lines) if line.startswith((" lora", " pro"))
    }
    assert below["lora"].split()[-2:] == ["(297", "ms)"]
    assert below["prompt_tuning"].split()[-1] == "(–)"
    assert "2.13 %" in costs


def test_seconds_of_known_answers_are_named_as_such() -> None:
    results, costs = example_run.results(), example_run.costs()
    assert "earlier evaluations" not in cost_table(results, costs).note
    arms = costs.arms | {"lora": replace(costs.arms["lora"], known_answers=1312)}
    note = cost_table(results, replace(costs, arms=arms)).note
    assert note.endswith("Answers known from earlier evaluations, with the seconds that they took then: lora 1,312.")


def test_long_names_are_folded_and_numbers_are_not() -> None:
    name = "lora_rank_16_alpha_32_on_query_and_value_projections"
    sketches = (example_run.SKETCHES[0], replace(example_run.SKETCHES[4], name=name))
    results = example_run.results(sketches)
    text = _printed(summary_table(results, example_run.costs(sketches)))
    assert "[0.308, 0.340]" in text
    assert "[+0.163, +0.201]" in text
    first = "".join(line.split(" ")[1] for line in text.splitlines() if line.startswith(" ") and len(line) > 1)
    assert name in first


def test_what_was_not_measured_is_a_dash_and_never_zero() -> None:
    results = example_run.results(example_run.SKETCHES[3:5])
    bare = replace(results.arms[1], scores=(), retained=(), token_loss=None, against_first=None)
    results = replace(results, arms=(results.arms[0], bare))
    text = _printed(summary_table(results, RunCosts("cpu", 1, {"full": ArmCosts()})))
    assert _line(text, "lora").split() == ["lora", "–", "–", "–", "–"]
    cost = _line(text[text.index("Cost") :], "full").split()
    assert cost == ["full", "1.54", "M", "6.16", "MB", "–", "–", "–", "–", "–", "148"]


def test_only_what_the_test_tells_from_zero_is_marked() -> None:
    text = _printed(retention_table(example_run.results()))
    lines = [line.rstrip() for line in text.splitlines()]
    assert any(line.endswith("−0.086 ▼") for line in lines)
    assert any(line.endswith("−0.012") for line in lines)
    # Three tasks of full; the token loss of full, lora and biases.
    assert sum(bool(re.search(r"\d ▼$", line)) for line in lines) == 6


def test_a_better_score_is_marked_as_better_where_lower_is_better() -> None:
    results = example_run.results()
    results = replace(results, task=replace(results.task, higher_is_better=False))
    assert "+0.189 ▼" in _printed(summary_table(results, example_run.costs()))


def test_markup_in_a_name_is_text() -> None:
    sketches = (replace(example_run.SKETCHES[0], name="[red]x[/red]"),)
    assert "[red]x[/red]" in _printed(summary_table(example_run.results(sketches), example_run.costs(sketches)))


def test_nothing_retained_has_no_table() -> None:
    assert retention_table(example_run.results(example_run.SKETCHES[:3])) is None


def test_forgetting_is_the_mean_in_points_of_bounded_metrics() -> None:
    arm = example_run.results().arms[3]
    accuracy, _, bleu = arm.retained
    assert points(accuracy) == 100 * accuracy.change.value
    assert points(bleu) == bleu.change.value
    lower = replace(accuracy, higher_is_better=False)
    assert points(lower) == -100 * accuracy.change.value
    assert points(replace(accuracy, metric="perplexity", scale=None)) is None
    found = forgetting(replace(arm, retained=(accuracy, bleu, replace(accuracy, metric="token_loss", scale=None))))
    assert found is not None
    assert found.tasks == 2
    assert math.isclose(found.mean, (100 * accuracy.change.value + bleu.change.value) / 2)
    assert found.worst_task == "sst2"


def test_results_without_any_arm_still_draw() -> None:
    results: RunResults = replace(example_run.results(), arms=(), pairs=())
    assert "Arm" in _printed(summary_table(results, RunCosts("cpu", 1)))


def test_storage_of_many_tasks_is_one_base_and_what_each_adds() -> None:
    """Full tuning stores a model for each task; LoRA one base and an adapter for each."""
    results = example_run.results()
    table = storage_table(results)
    assert table is not None
    stored = {arm.name: arm.stored_bytes for arm in results.arms}
    base = 4 * example_run.PARAMETERS
    cells = {row[0].main: [cell.main for cell in row[1:]] for row in table.rows}
    assert cells["full"] == [formatting.size(count * stored["full"]) for count in (1, 10, 100)]
    assert cells["lora"] == [formatting.size(base + count * stored["lora"]) for count in (1, 10, 100)]
    assert "zero_shot" not in cells
