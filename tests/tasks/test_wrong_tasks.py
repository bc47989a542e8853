"""Task files that are wrong: each message names the file, the line and the way out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from luthier.config.data import DataConfig
from luthier.errors import Faults, LuthierError, TaskError
from luthier.tasks.loader import load_examples, load_splits, load_task

GOOD = """\
name: colours
source: rows.jsonl
target: "{{ answer }}"
metrics: [exact_match]
templates:
  - name: plain
    prompt: "Colour of {{ thing }}?"
"""
ROWS = [{"thing": f"thing {number}", "answer": "red" if number % 2 else "blue"} for number in range(40)]


def write(folder: Path, text: str, rows: object = ROWS) -> str:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))  # type: ignore[attr-defined]
    path = folder / "task.yaml"
    path.write_text(text)
    return str(path)


def test_the_good_one_is_good(tmp_path: Path) -> None:
    assert load_task(write(tmp_path, GOOD)).primary == "exact_match"


FILES: dict[str, tuple[str, str, list[str]]] = {
    "unknown key": ("metrics:", "metrix:", ["line 4", "unknown key 'metrix'", "Did you mean 'metrics'?"]),
    "unknown key in a template": (
        "    prompt:",
        "    promt:",
        ["line 7", "'templates.0.promt'", "'prompt'"],
    ),
    "no name": ("name: colours\n", "", ["key 'name' is missing", "Add `name:`"]),
    "bad name": ("colours", "My Task!", ["line 1", "lower-case letters", "'My Task!'"]),
    "no source": ("source: rows.jsonl\n", "", ["key 'source' is missing"]),
    "source without path": ("rows.jsonl", "{format: csv}", ["line 2", "either one path, or paths under train"]),
    "source with both": ("rows.jsonl", "{path: a, train: b}", ["line 2", "either one path, or paths under train"]),
    "unknown format": ("rows.jsonl", "{path: a, format: xml}", ["line 2", "must be one of jsonl, json, csv"]),
    "unknown quoting": ("rows.jsonl", "{path: a, quoting: never}", ["line 2", "must be one of standard, none"]),
    "long delimiter": ("rows.jsonl", '{path: a, delimiter: "||"}', ["line 2", "source.delimiter", "at most 1"]),
    "column twice": ("rows.jsonl", "{path: a, columns: [b, b]}", ["line 2", "given twice: b"]),
    "escaping path": ("rows.jsonl", "../rows.jsonl", ["line 2", "leaves the task's folder", "absolute path"]),
    "NUL in the path": ("rows.jsonl", '"a\\0"', ["line 2", "the path holds a NUL"]),
    "bad hub id": ("rows.jsonl", "hf:a/b/c", ["line 2", "is not hf:owner/name[:config]"]),
    "chance above 1": ("metrics:", "chance: 1.5\nmetrics:", ["line 4", "'chance'", "less than or equal to 1", "1.5"]),
    "chance in words": ("metrics:", "chance: half\nmetrics:", ["line 4", "'chance'", "'half'"]),
    "unknown metric": ("exact_match", "exact_mach", ["line 4", "Unknown metric 'exact_mach'", "'exact_match'?"]),
    "no metric": ("[exact_match]", "[]", ["line 4", "the task has no metric"]),
    "metric twice": ("[exact_match]", "[rouge, rouge]", ["line 4", "given twice: rouge"]),
    "primary of no metric": (
        "[exact_match]",
        "[rouge]\nprimary: rouge3",
        ["line 5", "'rouge3' is not among what the metrics give", "rouge1, rouge2"],
    ),
    "no templates": ('  - name: plain\n    prompt: "Colour of {{ thing }}?"\n', "", ["line 5", "templates"]),
    "empty templates": (
        'templates:\n  - name: plain\n    prompt: "Colour of {{ thing }}?"\n',
        "templates: []\n",
        ["line 5", "a task needs one template or more"],
    ),
    "template twice": ("templates:", "templates:\n  - {name: plain, prompt: x}", ["line 5", "given twice: plain"]),
    "all held out": ("  - name: plain", "  - name: plain\n    held_out: true", ["every template is held out"]),
    "not Jinja": ("{{ thing }}", "{{ thing", ["line 7", "templates.0.prompt", "not a Jinja template"]),
    "unknown filter": ("{{ answer }}", "{{ answer | uper }}", ["line 3, target", "No filter named 'uper'"]),
    "no target": ('target: "{{ answer }}"\n', "", ["there is no target"]),
    "two targets": (
        "metrics:",
        "targets: [a]\nmetrics:",
        ["give one of target, targets, targets_column and targets_lines"],
    ),
    "no targets": ('target: "{{ answer }}"', "targets: []", ["targets is empty"]),
    "one choice": ("metrics:", "choices: [red]\nmetrics:", ["line 4", "a choice needs two answers or more"]),
    "choices that YAML reads as truth values": (
        "metrics:",
        "choices: [yes, no]\nmetrics:",
        ["line 4", "unquoted yes, on, true as a truth value", "unquoted no, off, false", 'Quote it, as in "no"'],
    ),
    "choices that YAML reads as one number": ("metrics:", "choices: [1, 1.0]\nmetrics:", ["line 4", "given twice: 1"]),
    "choice twice": ("metrics:", "choices: [red, red]\nmetrics:", ["line 4", "given twice: red"]),
    "choices twice": (
        "metrics:",
        "choices: [a, b]\nchoices_column: c\nmetrics:",
        ["one of choices, choices_column and choices_lines"],
    ),
    "shares": ("metrics:", "split: {train: 0.5}\nmetrics:", ["line 4", "must sum to 1"]),
    "share above 1": ("metrics:", "split: {train: 80}\nmetrics:", ["line 4", "split.train", "less than or equal to 1"]),
    "shots below 0": ("metrics:", "few_shot: {shots: -1}\nmetrics:", ["line 4", "few_shot.shots", "-1"]),
    "exemplars from test": (
        "metrics:",
        "few_shot: {split: test}\nmetrics:",
        ["line 4", "few_shot.split", "one of train, validation", "would show what is asked"],
    ),
    "exemplars from nowhere": ("metrics:", "few_shot: {split: dev}\nmetrics:", ["line 4", "one of train, validation"]),
    "unknown order": ("metrics:", "few_shot: {order: last}\nmetrics:", ["line 4", "must be one of drawn, first"]),
    "no fixed rows": ("metrics:", "few_shot: {rows: []}\nmetrics:", ["line 4", "rows is empty"]),
    "fixed rows of a split": (
        "metrics:",
        "few_shot: {rows: [{thing: sky, answer: blue}], split: train, order: first}\nmetrics:",
        ["line 4", "leave out order and split"],
    ),
    "more shots than rows": (
        "metrics:",
        "few_shot: {shots: 2, rows: [{thing: sky, answer: blue}]}\nmetrics:",
        ["line 4", "2 shots are wanted, and there are 1 rows"],
    ),
    "fixed row without a column": (
        "metrics:",
        "few_shot:\n  rows:\n    - {thing: sky, answer: blue}\n    - {thin: sky, answer: blue}\nmetrics:",
        ["line 7, few_shot.rows.1", "column 'thing' does not exist", "Did you mean 'thin'?"],
    ),
    "fixed row without a target": (
        "metrics:",
        "few_shot:\n  rows: [{thing: sky, answer: ''}]\nmetrics:",
        ["line 5, few_shot.rows.0", "the target is empty"],
    ),
    "fixed row with a stray target": (
        "metrics:",
        "choices: [red, blue]\nfew_shot:\n  rows: [{thing: sky, answer: bleu}]\nmetrics:",
        ["line 6, few_shot.rows.0", "the target 'bleu' is not among the choices", "Did you mean 'blue'?"],
    ),
    "bad expression": ("metrics:", "extract: {find: '(a'}\nmetrics:", ["line 4", "extract.find", "not a regular expr"]),
    "no group": ("metrics:", "extract: {find: 'is .*'}\nmetrics:", ["line 4", "extract.find", "no group", "parenthes"]),
    "no expression": ("metrics:", "extract: {which: last}\nmetrics:", ["key 'extract.find' is missing"]),
    "unknown match": ("metrics:", "extract: {find: (a), which: 2nd}\nmetrics:", ["line 4", "one of first, last"]),
    "extract from choices": (
        "metrics:",
        "choices: [red, blue]\nextract: {find: (a)}\nmetrics:",
        ["a task with choices generates none"],
    ),
    "normalised without choices": (
        "[exact_match]",
        "['accuracy:by=bytes']",
        ["line 4", "divides the log-probabilities of choices, and the task has no choices"],
    ),
    "unknown normalisation": (
        "[exact_match]",
        "['accuracy:by=words']",
        ["line 4", "'words' is no by of the metric 'accuracy'", "Known: bytes, characters, prior, sum, tokens"],
    ),
    "bad preamble": ("metrics:", "preamble: '{{ thing'\nmetrics:", ["line 4, preamble", "not a Jinja template"]),
    "empty preamble": ("metrics:", "preamble: ''\nmetrics:", ["line 4", "'preamble'", "at least 1"]),
    "bad part": ("metrics:", "part: '{{ thing'\nmetrics:", ["line 4, part", "not a Jinja template"]),
    "no tokens": ("metrics:", "max_new_tokens: 0\nmetrics:", ["line 4", "max_new_tokens", "0"]),
    "unknown split": ("metrics:", "splits: {dev: {target: a}}\nmetrics:", ["line 4", "unknown key 'splits.dev'"]),
    "key twice": ("metrics:", "name: again\nmetrics:", ["line 4", "key 'name' was given on line 1 too"]),
    "not YAML": ("[exact_match]", "[exact_match", ["line 5", "not YAML"]),
    "no mapping": (GOOD, "- a\n", ["not a mapping of keys to values"]),
}


@pytest.mark.parametrize("case", FILES)
def test_wrong_task_file(tmp_path: Path, case: str) -> None:
    old, new, said = FILES[case]
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(LuthierError) as fault:
        load_task(path)
    for part in (path, *said):
        assert part in str(fault.value)


def test_all_faults_of_a_file_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("{{ answer }}", "{{ answer").replace("{{ thing }}", "{% thing").replace("rows.j", "../rows.j")
    with pytest.raises(Faults) as faults:
        load_task(write(tmp_path, text.replace("exact_match", "exact")))
    assert len(faults.value.faults) == 4


def test_unknown_task_names_those_there_are() -> None:
    with pytest.raises(TaskError) as fault:
        load_task("dialog_summary")
    assert "no built-in task, file or folder is called 'dialog_summary'" in str(fault.value)
    assert "Did you mean 'dialogue_summary'?" in str(fault.value)


def test_missing_task_file(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"none\.yaml: cannot read the file \(No such file or directory\)"):
        load_task(str(tmp_path / "none.yaml"))


ROWS_CASES: dict[str, tuple[tuple[str, str], dict[str, object], list[str]]] = {
    "unknown column": (
        ("{{ thing }}", "{{ thin }}"),
        {},
        ["rows.jsonl, row 1", "task.yaml, line 7", "column 'thin' does not exist", "Did you mean 'thing'?"],
    ),
    "column that one row lacks": (("", ""), {"answer": "red"}, ["rows.jsonl, row 7", "column 'thing' does not exist"]),
    "unknown column in the preamble": (
        ("metrics:", "preamble: 'On {{ thin }}'\nmetrics:"),
        {},
        ["rows.jsonl, row 1", "task.yaml, line 4", "column 'thin' does not exist", "Did you mean 'thing'?"],
    ),
    "unknown id": (("metrics:", "id: key\nmetrics:"), {}, ["row 1", "column 'key' does not exist", "answer, thing"]),
    "empty id": (("metrics:", "id: thing\nmetrics:"), {"thing": "", "answer": "a"}, ["row 7", "'thing' is empty"]),
    "unknown group": (("metrics:", "group: key\nmetrics:"), {}, ["row 1", "column 'key' does not exist"]),
    "unknown input": (("metrics:", "input: text\nmetrics:"), {}, ["row 1", "the input column 'text' does not exist"]),
    "stray target": (
        ("metrics:", "choices: [red, blue]\nmetrics:"),
        {"thing": "x", "answer": "bleu"},
        ["rows.jsonl, row 7", "the target 'bleu' is not among the choices", "Did you mean 'blue'?"],
    ),
    "choices that are no list": (
        ("metrics:", "choices_column: thing\nmetrics:"),
        {},
        ["row 1", "column 'thing' is not a list of choices"],
    ),
    "choices that are the same": (
        ("metrics:", "choices: ['{{ answer }}', red]\nmetrics:"),
        {},
        ["20 of 40 rows", "row 2", "the right answer 'red' stands twice among the choices: red, red"],
    ),
    "targets that are no list": (
        ('target: "{{ answer }}"', "targets_column: thing"),
        {},
        ["row 1", "column 'thing' is not a list of answers"],
    ),
    "half of a character": (("", ""), {"thing": "a\ud800", "answer": "b"}, ["row 7", "half of a character (U+D800)"]),
    "label out of range": (
        ("{{ answer }}", "{{ ['a'][thing|length] }}"),
        {},
        ["row 1", "has no element 7", "Columns: thing, answer"],
    ),
    "id twice": (("metrics:", "id: answer\nmetrics:"), {}, ["the id 'blue' in column 'answer' is not unique"]),
}


@pytest.mark.parametrize("case", ROWS_CASES)
def test_wrong_row(tmp_path: Path, case: str) -> None:
    (old, new), row, said = ROWS_CASES[case]
    rows = [*ROWS[:6], row, *ROWS[7:]] if row else ROWS
    path = write(tmp_path, GOOD.replace(old, new, 1), rows)
    with pytest.raises(LuthierError) as fault:
        load_splits(load_task(path), DataConfig(), 0)
    for part in said:
        assert part in str(fault.value)


def test_empty_target_is_counted_and_named(tmp_path: Path) -> None:
    rows = [*ROWS[:6], {"thing": "x", "answer": " "}, {"thing": "y", "answer": None}, *ROWS[8:]]
    task = load_task(write(tmp_path, GOOD, rows))
    report = load_splits(task, DataConfig(), 0).report
    assert (report.rows, report.left_out, sum(report.found.values())) == (40, 2, 38)
    first = f"{tmp_path}/rows.jsonl, row 7: the target is empty"
    assert f"2 rows have an empty prompt or target: left out (the first: {first})." in report.sentences


def test_too_many_empty_targets_are_an_error(tmp_path: Path) -> None:
    rows = [{"thing": f"{number}", "answer": "red" if number > 4 else ""} for number in range(40)]
    task = load_task(write(tmp_path, GOOD, rows))
    with pytest.raises(LuthierError, match=r"5 of 40 rows have an empty prompt or target \(12%\)") as fault:
        load_splits(task, DataConfig(), 0)
    assert "row 1: the target is empty" in str(fault.value)
    assert load_splits(task, DataConfig(max_lost=0.2), 0).report.left_out == 5


def test_split_without_examples_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("source: rows.jsonl", "source: {test: rows.jsonl}"))
    with pytest.raises(LuthierError, match=r"the train split has no examples") as fault:
        load_examples(load_task(path), "train")
    assert "40 rows: 0 train, 0 validation, 40 test (as given)" in str(fault.value)
    with pytest.raises(LuthierError, match="no split is called 'dev'"):
        load_examples(load_task(path), "dev")
