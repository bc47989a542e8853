"""Rows in which a choice stands twice, as 4 of ARC-Challenge's 1,172 test rows have it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.config.data import DataConfig
from luthier.records import Example
from luthier.tasks.loader import TaskData, load_splits, load_task

COLUMN = "target: '{{ choices[gold] }}'\nchoices_column: choices\n"
TEMPLATES = "target: '{{ choices[gold] }}'\nchoices: ['{{ choices[0] }}', '{{ choices[1] }}', '{{ choices[2] }}']\n"


def load(folder: Path, rows: list[dict[str, Any]], choices: str) -> TaskData:
    (folder / "arc.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "arc.yaml").write_text(
        f"name: arc\nsource: {{train: arc.jsonl, test: arc.jsonl}}\n{choices}metrics: [accuracy]\n"
        "templates: [{name: plain, prompt: '{{ question }}'}]\n"
    )
    return load_splits(load_task(str(folder / "arc.yaml")), DataConfig(max_lost=0.01), 0)


def arc_rows() -> list[dict[str, Any]]:
    rows = [{"question": f"Question {n}?", "choices": [f"a{n}", f"b{n}", f"c{n}"], "gold": n % 3} for n in range(1172)]
    for n in (33, 330, 600, 900):  # the right answer is the first
        rows[n]["choices"] = [f"a{n}", "same", "same"]
    return rows


def row(examples: tuple[Example, ...], n: int) -> Example:
    return next(example for example in examples if example.prompt == f"Question {n}?")


@pytest.mark.parametrize("choices", [COLUMN, TEMPLATES], ids=["column", "templates"])
def test_two_equal_wrong_choices_are_one(tmp_path: Path, choices: str) -> None:
    data = load(tmp_path, arc_rows(), choices)
    assert len(data.test) == 1172
    assert row(data.test, 33).choices == ("a33", "same")
    assert row(data.test, 34).choices == ("a34", "b34", "c34")
    assert data.report.repeated_choices == 8  # in train and test
    assert "8 rows have a wrong choice twice: it counts as one choice (kept)." in data.report.sentences


@pytest.mark.parametrize("choices", [COLUMN, TEMPLATES], ids=["column", "templates"])
def test_a_right_answer_that_stands_twice_leaves_the_row_out(tmp_path: Path, choices: str) -> None:
    rows = arc_rows()
    rows[900]["choices"] = ["same", "same", "c"]
    data = load(tmp_path, rows, choices)
    assert len(data.test) == 1171
    assert (data.report.left_out, data.report.repeated_choices) == (2, 6)
    said = " ".join(data.report.sentences)
    assert "2 rows have an empty prompt or target, or a right answer that stands twice among the choices" in said
    assert "row 901: the right answer 'same' stands twice among the choices: same, same, c" in said
