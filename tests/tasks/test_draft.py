"""A first task YAML for columns of no known format: printed by the error, written by ``luthier tasks new``."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from luthier.config.data import DataConfig
from luthier.errors import TaskError
from luthier.records import Example, Row
from luthier.tasks.draft import write_draft
from luthier.tasks.loader import load_splits, load_task
from luthier.tasks.schema import Task

KINDS = ("billing", "login", "no")


def write_csv(path: Path, header: list[str], rows: list[list[object]]) -> str:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(header)
        table.writerows(rows)
    return str(path)


def write_lines(path: Path, rows: list[Row]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def drafted(data: str) -> tuple[Task, list[Example]]:
    task = load_task(str(write_draft(data, None)))
    found = load_splits(task, DataConfig(), 0)
    assert found.report.left_out == 0
    return task, [*found.train, *found.validation, *found.test]


def tickets(folder: Path, header: tuple[str, str] = ("text", "label")) -> str:
    rows: list[list[object]] = [[f'My invoice {number}: "help"', KINDS[number % 3]] for number in range(60)]
    return write_csv(folder / "tickets.csv", list(header), rows)


def test_the_error_for_unknown_columns_prints_a_task_and_how_to_write_it(tmp_path: Path) -> None:
    data = tickets(tmp_path)
    with pytest.raises(TaskError) as fault:
        load_task(data)
    message = str(fault.value)
    assert "the columns (text, label) are of no known format" in message
    assert f"`luthier tasks new {data}` writes this one" in message
    assert 'choices: ["billing", "login", "no"]' in message
    assert "{{ text }}" in message
    printed = "\n".join(line[4:] for line in message.splitlines() if line.startswith("    "))
    (tmp_path / "printed.yaml").write_text(printed)
    assert load_task(str(tmp_path / "printed.yaml")).choices == KINDS


@pytest.mark.parametrize("header", [("text", "label"), ("sentence", "sentiment"), ("review text", "kind of {it}")])
def test_texts_with_labels(header: tuple[str, str], tmp_path: Path) -> None:
    task, examples = drafted(tickets(tmp_path, header))
    assert task.choices == KINDS
    assert task.metrics == ("accuracy",)
    assert task.chance == pytest.approx(1 / 3, abs=1e-3)
    assert len(examples) == 60
    assert all(item.prompt.startswith("My invoice") for item in examples)


def test_labels_that_are_numbers_are_asked_to_become_words(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"premise": f"A man {n} walks", "hypothesis": f"He {n} moves there", "label": n % 3} for n in range(60)
    ]
    data = write_lines(tmp_path / "nli.jsonl", rows)
    task, examples = drafted(data)
    assert task.choices == ("0", "1", "2")
    assert "A model knows words better" in (tmp_path / "nli.yaml").read_text()
    assert all("Premise: A man" in item.prompt and "Hypothesis: He" in item.prompt for item in examples)


@pytest.mark.parametrize(
    ("gold", "answer"), [(1, "right"), ("right", "right"), ("B", "right")], ids=["place", "text", "letter"]
)
def test_query_choices_and_gold(gold: object, answer: str, tmp_path: Path) -> None:
    rows: list[Row] = [{"query": f"Which {n}?", "choices": ["wrong", "right", "odd"], "gold": gold} for n in range(30)]
    task, examples = drafted(write_lines(tmp_path / "mc.jsonl", rows))
    assert task.choices_column == "choices"
    assert {item.targets for item in examples} == {(answer,)}
    assert all(item.choices == ("wrong", "right", "odd") for item in examples)


def test_texts_alone_are_continued(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("".join(" ".join(f"w{n}x{k}" for k in range(80)) + "\n" for n in range(40)))
    with pytest.raises(TaskError, match="One column of texts has no question and no answer"):
        load_task(str(path))
    _, examples = drafted(str(path))
    assert all((len(item.prompt.split()), len(item.targets[0].split())) == (50, 30) for item in examples)


def test_free_answers_and_an_id(tmp_path: Path) -> None:
    rows: list[Row] = [{"article": f"long text {n} " * 9, "highlights": f"short {n}", "id": f"a{n}"} for n in range(30)]
    task, examples = drafted(write_lines(tmp_path / "news.jsonl", rows))
    assert (task.id_column, task.primary) == ("id", "rougeL")
    assert {item.targets[0] for item in examples} == {f"short {n}" for n in range(30)}


def test_several_answers_in_a_list(tmp_path: Path) -> None:
    rows: list[Row] = [{"problem": f"How many are {n}?", "answer": [str(n), f"{n}.0"]} for n in range(30)]
    task, examples = drafted(write_lines(tmp_path / "sums.jsonl", rows))
    assert task.targets.column == "answer"
    assert all(len(item.targets) == 2 for item in examples)


def test_a_draft_never_replaces_a_file_and_names_data_elsewhere_in_full(tmp_path: Path) -> None:
    data = tickets(tmp_path)
    written = write_draft(data, tmp_path / "tasks" / "mine.yaml")
    assert len(load_splits(load_task(str(written)), DataConfig(), 0).train) > 0
    with pytest.raises(TaskError, match="something is there already"):
        write_draft(data, written)
