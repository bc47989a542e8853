"""The terminal's tables: readable at 80 columns, honest about what was not measured."""

from __future__ import annotations

import io
import math
import re
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType

import example_run
from luthier.records import Score
from luthier.report import formatting
from luthier.report.cost_tables import cost_table, storage_table
from luthier.report.derived import forgetting, points
from luthier.report.evaluation import EvaluationRow, evaluation_table
from luthier.report.tables import Cell, Column, Table
from luthier.report.terminal import folded, retention_table, run_view, summary_table
from luthier.results.records import ArmCosts, RunCosts, RunResults


def _printed(table: RenderableType | None, width: int = 80) -> str:
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
    assert any("−0.086 ▼" in line for line in lines)
    assert any(re.search(r"−0.012 +0", line) for line in lines)
    # Three tasks of full; the token loss of full, lora and biases.
    assert sum(bool(re.search(r"\d ▼ ", line)) for line in lines) == 6


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


LONG = ("a_rather_long_name_that_somebody_gave_to_an_arm", *(sketch.name for sketch in example_run.SKETCHES[1:]))


def _lines(width: int) -> list[str]:
    sketches = tuple(replace(one, name=name) for one, name in zip(example_run.SKETCHES, LONG, strict=True))
    out = io.StringIO()
    console = Console(file=out, width=width)
    for part in run_view(example_run.results(sketches), example_run.costs(sketches)):
        console.print(part)
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80])
def test_narrow_terminals_keep_every_name_and_unit(width: int) -> None:
    lines = _lines(width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for arm in LONG[1:]:
        # Beside its quality, cost and retention; where those are folded, beside each part.
        assert sum(line.lstrip().startswith(arm + " ") for line in lines) >= 2, arm
    for unit in ("403 MB", "6.16 MB", "131 kB", "1.54 M", "212 s", "412 ms", "(nats)", "(points)", "tok/s", "memory"):
        assert unit in text, unit
    assert "[+0.163, +0.201]" in text, "no interval is broken"


def test_folded_columns_repeat_the_names_at_the_left() -> None:
    lines = _lines(60)
    heads = [line.split() for line in lines if line.lstrip().startswith(("Arm ", "Task "))]
    assert ["Arm", "memory", "time", "tok/s", "tok/s"] in heads or any("(merged)" in head for head in heads)
    assert sum(head[0] == "Task" for head in heads) >= 2
    together = [line.split() for line in _lines(120) if line.lstrip().startswith(("Arm ", "Task "))]
    assert sum(head[0] == "Task" for head in together) == 1, "where there is room nothing is folded"


def test_what_eval_prints_is_folded_too() -> None:
    score = Score("accuracy_by_characters", 0.5, 1000, 0.4, 0.6, "made")
    row = EvaluationRow("a_task_with_a_long_name [red]x[/red]", 0.25, (score,), (0, 4), 3, {"hard": (score,)})
    out = io.StringIO()
    Console(file=out, width=60).print(evaluation_table([row]))
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= 60
    assert text.count("0.400 – 0.600") == 2
    for title in ("95 % interval", "chance", "shots", "dropped"):
        assert all(word in text for word in title.split()), title
    assert "[red]" in "".join(text.split()), "a name is no markup"


def test_nothing_that_a_terminal_would_obey_passes() -> None:
    hostile = "\x1b]0;title\x07\x9b31m\u202e\r\nz"
    arm = replace(example_run.results().arms[3], name=hostile, notes=(hostile,))
    results = replace(example_run.results(), arms=(arm,), pairs=())
    out = io.StringIO()
    for part in run_view(results, RunCosts("cpu", 1)):
        Console(file=out, width=80).print(part)
    text = out.getvalue()
    assert not [character for character in "\x1b\x07\x9b\u202e\r" if character in text]
    assert "\\u001b]0;title\\u0007\\u009b31m\\u202e  z" in "".join(text.split("\n")[-3:])


def test_wide_characters_take_two_cells() -> None:
    """A column is as wide as its text is shown: eight Chinese characters are sixteen cells."""
    rows = tuple((Cell(f"臂{k}"), Cell("1")) for k in range(3))
    columns = (Column("Arm", number=False), *(Column("一二三四五六七八") for _ in range(4)))
    table = Table("wide", "", columns, tuple((row[0], *[row[1]] * 4) for row in rows))
    assert len(folded(table, 60)) == 2
    assert len(folded(table, 90)) == 1
