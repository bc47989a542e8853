"""An adapter is evaluated: how many of the items stand in what it was trained on is said, or why that is not known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from small_job import ECHO, QUICK_EVAL, QUICK_TRAINING, luthier, rows, write_rows, write_task
from tiny_models import tiny_folder

LONG = "once there lived a very small animal on a farm by the sea and it was called number"


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a task and an adapter; items 0 to 3 of the test stand among the training rows."""
    folder = tmp_path_factory.mktemp("tuned")
    made = [
        {**row, "text": f"{name} {LONG} {row['text']}"} for row, name in zip(rows("x", 12), "abcdefghijkl", strict=True)
    ]
    for i, row in enumerate(made):
        row["text"] = " ".join(f"{word}{i}" for word in row["text"].split())
    write_rows(folder / "train.jsonl", [{**row, "id": f"train-{row['id']}"} for row in made[:8]])
    write_rows(folder / "validation.jsonl", rows("validation", 3))
    test = [{**row, "text": f"now {row['text']}"} for row in made[4:]]
    write_rows(folder / "test.jsonl", test)
    task = write_task(folder, ECHO)
    done = luthier(
        *("tune", "--model", tiny_folder("llama"), "--task", task, "--arm", "lora", "--runs", folder / "runs"),
        *("--save", folder / "adapter", *QUICK_TRAINING),
    )
    assert done.code == 0, done.err
    return folder


def evaluated(folder: Path, *tasks: Path) -> tuple[dict[str, object], str]:
    done = luthier(
        *(
            "eval",
            "--model",
            tiny_folder("llama"),
            "--adapter",
            folder / "adapter",
            "--runs",
            folder / "runs",
            "--json",
        ),
        *("--tasks", ",".join(map(str, tasks)), *QUICK_EVAL),
    )
    assert done.code == 0, done.err
    return json.loads(done.out), done.err


def test_clean_and_contaminated_items_are_scored_apart(tuned: Path) -> None:
    found, said = evaluated(tuned, tuned / "echo.yaml")
    known = found["echo"]["contamination"]  # type: ignore[index]
    assert (known["dirty"], known["clean"], known["unknown"]) == (4, 4, 0)
    assert known["training"] == "the training split of echo, 8 examples"
    assert (known["scores"]["clean"]["n"], known["scores"]["dirty"]["n"]) == (4, 4)
    assert "echo: 4 of 8 items stand in the training data (the training split of echo, 8 examples)" in said


def test_another_task_is_held_against_rows_that_are_not_known(tuned: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "test.jsonl", rows("test", 4))
    write_rows(tmp_path / "train.jsonl", rows("train", 4))
    write_rows(tmp_path / "validation.jsonl", rows("validation", 4))
    other = write_task(tmp_path, ECHO | {"name": "other"})
    found, said = evaluated(tuned, other)
    why = "the adapter names its task 'echo', and not where its rows are"
    assert found["other"]["contamination"] == {"why": why}  # type: ignore[index]
    assert f"other: contamination is not known: {why}" in said


def test_a_model_as_it_is_has_nothing_said_of_it(tuned: Path) -> None:
    shared = ("eval", "--model", tiny_folder("llama"), "--tasks", tuned / "echo.yaml", "--runs", tuned / "runs")
    done = luthier(*shared, *QUICK_EVAL, "--json")
    assert "contamination" not in json.loads(done.out)["echo"]
