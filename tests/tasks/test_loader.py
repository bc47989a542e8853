"""Tasks from YAML and from data files, and the examples that they give."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import datasets
import pytest

from luthier.config.data import DataConfig
from luthier.errors import DataError
from luthier.records import Example, Turn
from luthier.tasks.held_out_text import load_texts
from luthier.tasks.loader import load_examples, load_splits, load_task
from luthier.tasks.names import library_names
from luthier.tasks.split_index import SplitIndex
from luthier.tasks.task_rows import TaskRows

YAML = """\
name: summaries
version: 1.2
source: {train: train.jsonl, test: test.jsonl}
id: key
input: text
target: "{{ summary }}"
splits: {test: {targets: ["{{ summary1 }}", "{{ summary2 }}"]}}
metrics: [rouge]
stop: "\\n"
templates:
  - {name: one, prompt: "{{ text }}\\nSummary:"}
  - {name: two, prompt: "Summarise: {{ text }}"}
  - {name: kept, prompt: "Text: {{ text }}", held_out: true}
"""


def lines(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def numbered(count: int) -> list[dict[str, object]]:
    return [{"key": f"k{n}", "text": f" text {n} ", "summary": f"sum {n}\n"} for n in range(count)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines(tmp_path / "train.jsonl", numbered(60))
    test = [{"key": f"t{n}", "text": f"test {n}", "summary1": "a", "summary2": "b"} for n in range(5)]
    lines(tmp_path / "test.jsonl", test)
    (tmp_path / "task.yaml").write_text(YAML)
    return tmp_path


def test_yaml_gives_the_task(folder: Path) -> None:
    task = load_task(str(folder / "task.yaml"))
    assert (task.name, task.version, task.primary, task.stop, task.few_shot) == (
        "summaries",
        "1.2",
        "rougeL",
        ("\n",),
        3,
    )
    assert (task.chat, task.has_choices, task.chance, task.max_new_tokens, task.few_shot) == (True, False, None, 64, 3)
    assert load_task(str(folder)) == task


def test_examples_are_rendered_by_split(folder: Path) -> None:
    data = load_splits(load_task(str(folder / "task.yaml")), DataConfig(), 0)
    assert data.test[0] == Example("t0", "summaries", "kept", "Text: test 0", ("a", "b"), (), (6, 12))
    assert {item.template for item in data.train} == {"one", "two"}
    assert {item.template for item in (*data.validation, *data.test)} == {"kept"}
    first = data.train[0]
    assert first.input_span is not None
    assert first.prompt[slice(*first.input_span)] == f"text {first.id[1:]}"
    assert first.targets == (f"sum {first.id[1:]}",)


def test_missing_validation_is_taken_from_training_and_said(folder: Path) -> None:
    data = load_splits(load_task(str(folder / "task.yaml")), DataConfig(), 0)
    assert len(data.train) + len(data.validation) == 60
    assert 0 < len(data.validation) < 20
    assert data.report.given == ("train", "test")
    assert "(validation by hash of the id)" in data.report.sentences[0]


def test_rows_keep_their_split_when_rows_are_added(folder: Path) -> None:
    before = load_splits(load_task(str(folder / "task.yaml")), DataConfig(), 0)
    lines(folder / "train.jsonl", [*numbered(90)[60:], *numbered(60)[::-1]])
    after = load_splits(load_task(str(folder / "task.yaml")), DataConfig(), 0)
    assert set(before.train) < set(after.train)
    assert set(before.validation) < set(after.validation)


def test_draws_are_nested_and_seeded(folder: Path) -> None:
    task = load_task(str(folder / "task.yaml"))
    ten, twenty = (load_splits(task, DataConfig(train=n), 0) for n in (10, 20))
    assert (len(ten.train), len(twenty.train)) == (10, 20)
    assert set(ten.train) < set(twenty.train)
    assert ten.test == twenty.test
    assert set(load_splits(task, DataConfig(train=10), 1).train) != set(ten.train)
    assert ten.digest == load_splits(task, DataConfig(train=10), 0).digest != twenty.digest
    assert load_examples(task, "train", limit=10) == list(ten.train)


def test_exemplars_are_rendered_as_evaluated(folder: Path) -> None:
    task = load_task(str(folder / "task.yaml"))
    assert {item.template for item in load_examples(task, "train", evaluation=True)} == {"kept"}


def test_duplicates_and_overlaps_leave_training(folder: Path) -> None:
    extra: list[dict[str, object]] = [
        {"key": "dup", "text": "text 3", "summary": "sum 3"},
        {"key": "over", "text": "test 2", "summary": "other"},
    ]
    lines(folder / "train.jsonl", [*numbered(60), *extra])
    data = load_splits(load_task(str(folder / "task.yaml")), DataConfig(), 0)
    kept = {item.id for item in (*data.train, *data.validation)}
    # " text 3 " and "text 3" are different prompts: only the overlap leaves, unless it was drawn for validation.
    assert "dup" in kept
    assert "over" not in {item.id for item in data.train}
    assert len(data.test) == 5


def test_rows_that_are_alike_get_ids_of_their_own(tmp_path: Path) -> None:
    lines(tmp_path / "train.jsonl", [{"prompt": str(n), "completion": "x"} for n in range(5)])
    lines(tmp_path / "test.jsonl", [{"prompt": "same", "completion": "x"}] * 3)
    data = load_splits(load_task(str(tmp_path)), DataConfig(), 0)
    ids = [item.id for item in data.test]
    assert ids == [ids[0], f"{ids[0]}~2", f"{ids[0]}~3"]
    assert data.report.repeated == 2


def test_choices_of_each_row(tmp_path: Path) -> None:
    rows = [{"q": f"q{n}", "options": ["red", f"blue {n}"], "answer": n % 2} for n in range(4)]
    lines(tmp_path / "rows.jsonl", rows)
    (tmp_path / "task.yaml").write_text(
        "name: pick\nsource: {test: rows.jsonl}\nchoices_column: options\ntarget: '{{ options[answer] }}'\n"
        "chance: 0.5\nmetrics: [accuracy]\ntemplates: [{name: a, prompt: '{{ q }}'}]\n"
    )
    task = load_task(str(tmp_path / "task.yaml"))
    assert task.has_choices
    assert [(item.choices, item.targets) for item in load_examples(task, "test")] == [
        (("red", f"blue {n}"), (("red", f"blue {n}")[n % 2],)) for n in range(4)
    ]


def test_list_of_accepted_answers(tmp_path: Path) -> None:
    lines(tmp_path / "rows.jsonl", [{"q": "q", "answers": ["a", " b", "", "a"]}])
    (tmp_path / "task.yaml").write_text(
        "name: qa\nsource: {test: rows.jsonl}\ntargets_column: answers\ntemplates: [{name: a, prompt: '{{ q }}'}]\n"
    )
    assert load_examples(load_task(str(tmp_path / "task.yaml")), "test")[0].targets == ("a", "b", "a")


def test_rows_of_a_group_stay_together(tmp_path: Path) -> None:
    lines(tmp_path / "rows.jsonl", [{"passage": f"p{n // 5}", "q": f"q{n}", "a": "x"} for n in range(300)])
    (tmp_path / "task.yaml").write_text(
        "name: qa\nsource: rows.jsonl\ngroup: passage\ntarget: '{{ a }}'\n"
        "templates: [{name: a, prompt: '{{ passage }} {{ q }}'}]\n"
    )
    data = load_splits(load_task(str(tmp_path / "task.yaml")), DataConfig(), 0)
    groups = [{item.group for item in part} for part in (data.train, data.validation, data.test)]
    assert all(groups)
    assert sum(map(len, groups)) == len(set.union(*groups)) == 60


def test_rows_without_a_group_are_alone(tmp_path: Path) -> None:
    lines(tmp_path / "rows.jsonl", [{"g": None if n % 2 else "", "q": f"q{n}"} for n in range(60)])
    (tmp_path / "task.yaml").write_text(
        "name: qa\nsource: rows.jsonl\ngroup: g\ntarget: x\ntemplates: [{name: a, prompt: '{{ q }}'}]\n"
    )
    data = load_splits(load_task(str(tmp_path / "task.yaml")), DataConfig(), 0)
    assert data.train
    assert data.test
    assert {item.group for item in data.train} == {""}


def test_rows_that_change_while_they_are_read(folder: Path) -> None:
    index = SplitIndex(TaskRows(load_task(str(folder / "task.yaml"))), 0)
    wanted = index.chosen("train", None)
    lines(folder / "train.jsonl", numbered(90))
    with pytest.raises(DataError, match="the rows changed while they were read"):
        list(index.items(wanted, evaluation=False))


def test_conversations_stay_in_one_split(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = []
    for n in range(50):
        said = [("system", f"s{n}"), ("user", f"a{n}"), ("assistant", "b"), ("user", " c "), ("assistant", "d")]
        rows.append({"messages": [{"role": role, "content": text} for role, text in said]})
    lines(tmp_path / "chats.jsonl", rows)
    task = load_task(str(tmp_path / "chats.jsonl"))
    assert (task.name, task.chat, task.metrics) == ("chats", True, ("rouge", "exact_match"))
    data = load_splits(task, DataConfig(), 0)
    assert data.report.sentences[0] == "Recognised conversations (messages): one example for each answer."
    everything = (*data.train, *data.validation, *data.test)
    assert (data.report.rows, len(everything)) == (50, 100)
    second = next(item for item in everything if item.id.endswith("#1"))
    number = second.system[1:]
    assert second.turns == (Turn(f"a{number}", "b"),)
    assert (second.prompt, second.targets, second.input_span) == (" c ", ("d",), (1, 2))
    for part in (data.train, data.validation, data.test):
        assert len(part) == 2 * len({item.group for item in part})


def test_conversations_that_teach_nothing_are_left_out_and_counted(tmp_path: Path) -> None:
    good = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    rows: list[dict[str, object]] = [{"conversations": [{**good[0], "value": str(n)}, good[1]]} for n in range(30)]
    rows[4] = {"conversations": good[1:]}
    rows[5] = {"conversations": [good[0], {"from": "gpt", "value": ""}]}
    lines(tmp_path / "rows.jsonl", rows)
    report = load_splits(load_task(str(tmp_path / "rows.jsonl")), DataConfig(), 0).report
    assert (report.left_out, sum(report.found.values())) == (2, 28)
    assert report.left_out_rows == (
        f"{tmp_path}/rows.jsonl, row 5: the assistant speaks first",
        f"{tmp_path}/rows.jsonl, row 6: message 1 is empty",
    )


def test_split_of_a_saved_dataset_is_found_by_its_name(tmp_path: Path) -> None:
    rows = {name: datasets.Dataset.from_list([{"q": name}]) for name in ("train", "validation", "test")}
    datasets.DatasetDict(rows).save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "task.yaml").write_text(
        "name: a\nsource: {train: saved, test: {path: saved, split: validation}}\n"
        "target: x\ntemplates: [{name: a, prompt: '{{ q }}'}]\n"
    )
    task = load_task(str(tmp_path / "task.yaml"))
    assert [item.prompt for item in load_examples(task, "test")] == ["validation"]
    data = load_splits(task, DataConfig(), 0)
    assert {item.prompt for item in (*data.train, *data.validation)} == {"train"}


def test_alpaca_prompt_is_the_published_one(tmp_path: Path) -> None:
    lines(tmp_path / "rows.jsonl", [{"instruction": "Add.", "input": "1 1", "output": "2"}])
    for n in range(20):
        lines(tmp_path / "rows.jsonl", [{"instruction": f"Add {n}.", "input": "1 1", "output": "2"}])
    task = load_task(str(tmp_path / "rows.jsonl"))
    data = load_splits(task, DataConfig(), 0)
    item = (*data.train, *data.validation, *data.test)[0]
    assert item.prompt.endswith("### Instruction:\nAdd 19.\n\n### Input:\n1 1\n\n### Response:")
    assert item.input_span is not None
    assert item.prompt[slice(*item.input_span)] == "1 1"
    assert not task.chat


def test_built_in_tasks_are_whole() -> None:
    names = library_names()
    assert "dialogue_summary" in names
    for name in names:
        task = load_task(name)
        assert task.name == name
        data = load_splits(task, DataConfig(), 0)
        assert data.train
        assert data.validation
        assert data.test
        assert data.report.left_out == data.report.duplicates == data.report.overlaps == 0, data.report.sentences


def test_real_dialogue_task(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text(
        f"name: dialogsum\nsource: {{train: {shared_data}/dialogsum/train.jsonl, "
        f"test: {shared_data}/dialogsum/test.jsonl}}\nid: fname\ninput: dialogue\ntarget: '{{{{ summary }}}}'\n"
        "splits: {test: {targets: ['{{ summary1 }}', '{{ summary2 }}', '{{ summary3 }}']}}\n"
        'metrics: [rouge]\ntemplates: [{name: a, prompt: "{{ dialogue }}\\n\\nSummary:"}]\n'
    )
    data = load_splits(load_task(str(tmp_path / "task.yaml")), DataConfig(train=400), 0)
    assert (len(data.train), len(data.test)) == (400, 500)
    assert all(len(item.targets) == 3 for item in data.test)
    for item in data.train:
        assert item.input_span == (0, len(item.prompt.removesuffix("\n\nSummary:").rstrip()))


def test_texts_from_every_form(tmp_path: Path) -> None:
    assert len(load_texts("plain_text")) > 10
    lines(tmp_path / "a.jsonl", [{"text": "one"}, {"text": " "}, {"text": "two"}])
    (tmp_path / "a.txt").write_text("one\nstill one\n\n\n \ntwo\n")
    assert load_texts(str(tmp_path / "a.jsonl")) == ["one", "two"]
    assert load_texts(str(tmp_path / "a.txt")) == ["one\nstill one", "two"]


def test_texts_without_a_text_column(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", [{"body": "one"}])
    with pytest.raises(DataError, match=r"a\.jsonl, row 1: there is no text in column 'text'") as fault:
        load_texts(str(tmp_path / "a.jsonl"))
    assert "Columns: body." in str(fault.value)
