"""Files that are wrong: each message says what, where, and what to do."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from luthier.errors import DataError, Faults, LuthierError
from luthier.records import Row
from luthier.tasks.rows.sources import Source, given_splits, read_rows

GOOD = b'{"a": "x"}\n'
CASES: dict[str, tuple[str, bytes, dict[str, object], list[str]]] = {
    "malformed row": (
        "a.jsonl",
        GOOD * 6 + b'{"a": }\n' + GOOD,
        {},
        ["a.jsonl, line 7", "not JSON: Expecting value at column 7", "one JSON object a line"],
    ),
    "row that is a list": ("a.jsonl", b'{"a": 1}\n["a"]\n', {}, ["line 2", "must be a JSON object, this is a list"]),
    "row that is null": ("a.jsonl", b'{"a": 1}\nnull\n', {}, ["line 2", "this is null"]),
    "Latin-1": (
        "a.jsonl",
        GOOD + b'{"a": "caf\xe9"}\n',
        {},
        ["line 2", "byte 0xe9 at byte 11", "Save the file as UTF-8"],
    ),
    "Latin-1 in CSV": ("a.csv", b"a,b\n1,2\ncaf\xe9,2\n", {}, ["a.csv, line 3", "byte 0xe9 at byte 4"]),
    "Latin-1 in an array": ("a.json", b'[{"a": 1},\n{"a": "caf\xe9"}]', {}, ["a.json, line 2", "0xe9"]),
    "UTF-16": ("a.csv", "a,b\n".encode("utf-16"), {}, ["UTF-16"]),
    "NUL": ("a.jsonl", GOOD + b'{"a": "\x00"}\n', {}, ["line 2", "NUL byte at byte 8"]),
    "NUL in CSV": ("a.csv", b"a,b\n1,\x002\n", {}, ["a.csv, line 2", "NUL byte at byte 3"]),
    "empty file": ("a.jsonl", b"", {}, ["a.jsonl", "the file is empty"]),
    "blank file": ("a.jsonl", b"\n\n", {}, ["there are no rows"]),
    "header alone": ("a.csv", b"a,b\n", {}, ["there are no rows"]),
    "empty array": ("a.json", b"[]", {}, ["there are no rows"]),
    "ragged row": ("a.csv", b"a,b\n1,2\n3\n", {}, ["a.csv, line 3", "1 fields where there are 2 columns", "a, b"]),
    "ragged row after a field of two lines": ("a.csv", b'a,b\n"1\n1",2\n3,4,5\n', {}, ["line 4", "3 fields"]),
    "column twice": ("a.csv", b"a,b,a\n1,2,3\n", {}, ["a.csv, line 1", "columns named twice: a"]),
    "other delimiter": ("a.csv", b"a;b\n1;2\n", {}, ["line 1", "one column only", "`delimiter: ';'`"]),
    "open quote": ("a.csv", b'a,b\n1,2\n"3,4\n5,6\n', {}, ["begins on line 3", "not CSV", "quoting: none"]),
    "open quote in the header": ("a.csv", b'"a,b\n1,2\n', {}, ["begins on line 1", "not CSV"]),
    "old Mac line ends": ("a.tsv", b"a\tb\r1\t2\r", {}, ["begins on line 1", "a carriage return inside a field"]),
    "two kinds of fault": ("a.csv", b"a,b\n1\n2,\xff\n", {}, ["2 rows of", "line 2: 1 fields", "line 3: not UTF-8"]),
    "array not closed": ("a.json", b'[{"a": 1},\n{"a": 2}', {}, ["line 2", "the array is not closed"]),
    "array without comma": ("a.json", b'[{"a": 1}\n{"a": 2}]', {}, ["line 2", "',' or ']' expected, '{' found"]),
    "broken object in an array": (
        "a.json",
        b'[{"a": 1},\n\n{"a" 2}]' + b" " * 40,
        {},
        ["row 2, line 3", "':' delimiter"],
    ),
    "numbers in an array": ("a.json", b"[1, 2]", {}, ["2 rows of", "row 1, line 1", "this is a number"]),
    "one object": ("a.json", b'{"meta": 1,\n"rows": [{"a": 1}]}', {}, ["one JSON object, not rows", "Lists: rows"]),
    "field that is not there": ("a.json", b'{\n"rows": [{"a": 1}]}', {"field": "row"}, ["no list under 'row'", "rows"]),
    "delimiter of JSON lines": ("a.jsonl", GOOD, {"delimiter": ";"}, ["delimiter given, but the file is jsonl"]),
    "cut gzip": (
        "a.jsonl.gz",
        gzip.compress(GOOD * 9999, mtime=0)[:-9],
        {},
        ["the gzip stream is damaged or cut short"],
    ),
    "zip": ("a.jsonl", b"PK\x03\x04rest", {}, ["the file is zip", "Unpack it"]),
    "no Parquet": ("a.parquet", b"PAR1 and nothing else", {}, ["not a Parquet file that can be read"]),
    "unknown format": ("a.dat", b"hello", {}, ["cannot tell the format from 'a.dat'", "jsonl, json, csv"]),
    "deep nesting": ("a.jsonl", b'{"a":' + b"[" * 100_000 + b"\n", {}, ["line 1", "JSON"]),
}


@pytest.mark.parametrize("case", CASES)
def test_wrong_file(tmp_path: Path, case: str) -> None:
    name, content, settings, said = CASES[case]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(LuthierError) as fault:
        list(read_rows(Source(str(path), **settings)))  # type: ignore[arg-type]
    for part in (str(path), *said):
        assert part in str(fault.value)


def test_missing_file_names_a_neighbour(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(GOOD)
    with pytest.raises(DataError, match=r"train\.jsnl: no such file or folder") as fault:
        list(read_rows(Source(str(tmp_path / "train.jsnl"))))
    assert f"Did you mean '{tmp_path / 'train.jsonl'}'?" in str(fault.value)


def test_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"The folder .*nowhere does not exist either"):
        list(read_rows(Source(str(tmp_path / "nowhere" / "a.jsonl"))))


def test_all_faults_at_once_and_good_rows_before_them(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{\n" + GOOD + b"[\n" + GOOD)
    rows: list[Row] = []
    with pytest.raises(Faults) as faults:
        rows.extend(read_rows(Source(str(path))))
    assert [fault.where for fault in faults.value.faults] == [f"{path}, line 1", f"{path}, line 3"]
    assert str(faults.value).startswith(f"2 rows of {path} cannot be used:")


def test_a_file_that_is_all_wrong_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"no\n" * 1_000_000)
    with pytest.raises(Faults) as faults:
        list(read_rows(Source(str(path))))
    assert len(faults.value.faults) == 20
    assert "20 or more rows" in str(faults.value)
    assert "… and 10 more" in str(faults.value)


def test_endless_line_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.files.opening.ROW_BYTES", 1 << 20)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": "' + b"x" * (1 << 21))
    with pytest.raises(DataError, match=r"line 1: the line is longer than 1 MiB"):
        list(read_rows(Source(str(path))))
    array = tmp_path / "a.json"
    array.write_bytes(b'[{"a": "' + b"x" * (1 << 21))
    with pytest.raises(DataError, match="one row is longer than 1 MiB"):
        list(read_rows(Source(str(array))))


def test_name_that_no_file_can_have() -> None:
    with pytest.raises(DataError, match=r"cannot be opened \(File name too long\)"):
        given_splits(Source("a" * 300))


def test_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.jsonl")
    with pytest.raises(DataError, match=r"rows\.jsonl: not a file that can be read twice"):
        list(read_rows(Source(str(tmp_path / "rows.jsonl"))))


def test_folder_with_two_files_for_a_split(tmp_path: Path) -> None:
    for name in ("dev.jsonl", "val.csv"):
        (tmp_path / name).write_bytes(GOOD)
    with pytest.raises(DataError, match=r"two files for the validation split: dev\.jsonl and val\.csv"):
        given_splits(Source(str(tmp_path)))


def test_folder_without_rows(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("x")
    with pytest.raises(DataError, match=r"no file of rows in the folder \(it holds notes\.md\)"):
        given_splits(Source(str(tmp_path)))


def test_folder_read_without_saying_which_split(tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"a": name}))
    with pytest.raises(DataError, match="the folder has several splits: test, train"):
        list(read_rows(Source(str(tmp_path))))
    with pytest.raises(DataError, match="the folder has no validation split"):
        list(read_rows(Source(str(tmp_path), split="validation")))


def test_hub_id_that_is_none() -> None:
    with pytest.raises(DataError, match=r"'hf:a/b/c' is not hf:owner/name\[:config\]"):
        list(read_rows(Source("hf:a/b/c", split="train")))


def test_damaged_saved_dataset(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(DataError, match="a saved dataset that cannot be read"):
        list(read_rows(Source(str(tmp_path))))
