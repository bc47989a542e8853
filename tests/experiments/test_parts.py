"""A task may name parts of its test split; each is scored by itself beside the whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from luthier.config.evaluate import EvaluateConfig
from luthier.experiments.evaluate import evaluate
from luthier.records import Score
from luthier.report.evaluation import EvaluationRow, evaluation_json, evaluation_table
from luthier.tasks.loader import load_examples, load_task
from small_job import COLOUR, rows, write_rows, write_task
from tiny_models import tiny_folder


def write_parts(folder: Path, part: str) -> Path:
    for split, count in (("train", 4), ("validation", 4), ("test", 10)):
        write_rows(folder / f"{split}.jsonl", rows(split, count))
    return write_task(folder, COLOUR, part=part)


def test_each_part_is_scored_by_itself(tmp_path: Path) -> None:
    task = write_parts(tmp_path / "task", "{% if answer == 'cat' %}cats{% else %}others{% endif %}")
    model = str(tiny_folder("llama"))
    (found,) = evaluate(EvaluateConfig(model=model, tasks=(str(task),), device="cpu", runs=tmp_path / "runs"))
    sizes = {part: scores[0].n for part, scores in found.parts.items()}
    assert sizes == {"cats": 2, "others": 8}  # six animals take turns: rows 0 and 6 are cats
    right = sum(scores[0].value * scores[0].n for scores in found.parts.values())
    assert right == pytest.approx(found.scores[0].value * 10)


def test_a_task_without_parts_has_none(tmp_path: Path) -> None:
    task = write_parts(tmp_path / "task", "")
    assert {example.part for example in load_examples(load_task(str(task)), "test", limit=None, seed=1)} == {""}


def test_every_built_in_task_tells_known_scenarios_from_new_ones() -> None:
    examples = load_examples(load_task("topic"), "test", limit=None, seed=1, evaluation=True)
    parts = [example.part for example in examples]
    assert (parts.count("new scenarios"), parts.count("known scenarios")) == (165, 135)


def test_table_and_json_show_the_parts() -> None:
    whole, part = (Score("accuracy", value, n, 0.1, 0.9, "s") for value, n in ((0.5, 10), (0.25, 4)))
    row = EvaluationRow("colour", 0.2, (whole,), (0, 0), 0, {"new": (part,)})
    assert len(evaluation_table([row]).table.rows) == 2
    assert json.loads(json.dumps(evaluation_json([row])))["colour"]["parts"]["new"][0]["value"] == 0.25


def test_the_table_shows_shots_and_dropped_examples_where_there_are_any() -> None:
    def titles(shots: tuple[int, int], dropped: int) -> list[object]:
        score = Score("accuracy", 0.5, 10, 0.1, 0.9, "s")
        table = evaluation_table([EvaluationRow("colour", 0.2, (score,), shots, dropped, {"new": (score,)})]).table
        assert [len(row) for row in table.rows] == [len(table.columns)] * 2
        return [column.title for column in table.columns]

    plain = ["task", "metric", "score", "95 % interval", "chance", "n"]
    assert titles((0, 0), 0) == plain
    assert titles((2, 5), 0) == [*plain, "shots"]
    assert titles((0, 0), 3) == [*plain, "dropped"]
    assert titles((1, 1), 3) == [*plain, "shots", "dropped"]
