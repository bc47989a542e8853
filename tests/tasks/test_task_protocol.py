"""What a task says of its preamble, its exemplars and its answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from luthier.metrics.extraction import Extraction
from luthier.tasks.loader import load_exemplar_pool, load_task
from luthier.tasks.schema import ExemplarSource, Task

YAML = """\
name: sums
source: {train: train.jsonl, validation: validation.jsonl, test: test.jsonl}
id: key
target: "{{ total }}"
metrics: [exact_match]
templates:
  - {name: plain, prompt: "{{ sum }} ="}
  - {name: kept, prompt: "Q: {{ sum }}\\nA:", held_out: true}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for start, split in enumerate(("train", "validation", "test")):
        rows = [{"key": f"{split}{n}", "sum": f"{start}+{n}", "total": start + n} for n in range(8)]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def task_of(folder: Path, more: str = "") -> Task:
    (folder / "task.yaml").write_text(YAML + more)
    return load_task(str(folder / "task.yaml"))


def test_without_a_word_everything_is_as_before(folder: Path) -> None:
    task = task_of(folder)
    assert (task.few_shot, task.exemplars, task.preamble, task.extraction) == (3, ExemplarSource(), None, None)
    assert task.exemplars.signature == ""
    drawn = load_exemplar_pool(task, limit=4, seed=0)
    assert len(drawn) == 4
    assert {item.id for item in drawn} != {item.id for item in load_exemplar_pool(task, limit=4, seed=1)}
    assert {item.template for item in drawn} == {"kept"}
    assert {item.preamble for item in drawn} == {""}


def test_exemplars_of_another_split(folder: Path) -> None:
    task = task_of(folder, "few_shot: {split: validation}\n")
    pool = load_exemplar_pool(task, limit=2, seed=0)
    assert [item.id for item in pool] == [f"validation{n}" for n in range(8)], "the limit is that of training examples"
    assert (task.few_shot, task.exemplars.signature) == (3, "drawn-validation")


def test_the_first_rows_do_not_depend_on_a_draw(folder: Path) -> None:
    task = task_of(folder, "few_shot: {order: first, shots: 2}\n")
    pools = [load_exemplar_pool(task, limit=limit, seed=seed) for limit, seed in ((None, 0), (2, 1))]
    assert pools[0] == pools[1]
    assert [item.id for item in pools[0]][:2] == ["train0", "train1"]
    assert (task.few_shot, task.exemplars.signature) == (2, "first-train")


def test_fixed_exemplars_are_rendered_as_evaluated(folder: Path) -> None:
    task = task_of(
        folder,
        """\
few_shot:
  rows:
    - {sum: 1+1, total: "One and one is two. The answer is 2."}
    - {sum: 2+3, total: 5}
""",
    )
    assert [(item.prompt, item.targets) for item in load_exemplar_pool(task, limit=None, seed=0)] == [
        ("Q: 1+1\nA:", ("One and one is two. The answer is 2.",)),
        ("Q: 2+3\nA:", ("5",)),
    ]
    assert (task.few_shot, task.exemplars.signature) == (2, "fixed")


def test_the_preamble_is_rendered_and_ends_as_it_is_written(folder: Path) -> None:
    (item, *_) = load_exemplar_pool(task_of(folder, 'preamble: "From {{ sum }}.\\n\\n"\n'), limit=None, seed=0)
    assert item.preamble == f"From {item.prompt[3:-3]}.\n\n"
    assert not item.prompt.startswith("From")
    block = task_of(folder, "preamble: |\n  Add the numbers.\n")
    assert load_exemplar_pool(block, limit=None, seed=0)[0].preamble == "Add the numbers.\n"


def test_the_answer_is_extracted_as_the_file_says(folder: Path) -> None:
    assert task_of(folder, "extract: {find: 'is (.*)'}\n").extraction == Extraction("is (.*)", "first")
    assert task_of(folder, "extract: {find: '(a)', which: last}\n").extraction == Extraction("(a)", "last")


def test_everything_said_is_in_the_digest_and_defaults_are_not(folder: Path) -> None:
    said = [
        "",
        "few_shot: {split: validation}\n",
        "few_shot: {order: first}\n",
        "few_shot: {rows: [{sum: 1+1, total: 2}]}\n",
        "few_shot: {rows: [{sum: 1+1, total: 3}]}\n",
        "preamble: a\n",
        "preamble: b\n",
        "extract: {find: (a)}\n",
        "extract: {find: (a), which: last}\n",
        "extract: {find: (b)}\n",
        "chance: 0.1\n",
    ]
    assert len({task_of(folder, more).digest for more in said}) == len(said)
    default = task_of(folder, "few_shot: {split: train, order: drawn}\nchat: true\nversion: 1\n")
    assert default.digest == task_of(folder).digest
