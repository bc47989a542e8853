"""Every way to hand rows over gives the same rows."""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.errors import DataError
from luthier.tasks.loader import load_task
from luthier.tasks.names import library_names
from luthier.tasks.rows import hub
from luthier.tasks.rows.sources import Source, given_splits, pin, read_rows

ROWS: list[dict[str, object]] = [
    {"prompt": 'a, "b"\nc', "completion": "é 😀"},
    {"prompt": "  d\t", "completion": ""},
    {"prompt": "x" * 70_000, "completion": "1"},
]


def write_jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), encoding="utf-8")


def write_json(path: Path) -> None:
    path.write_text(json.dumps(ROWS, indent=1), encoding="utf-8")


def write_csv(path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["prompt", "completion"])
        writer.writeheader()
        writer.writerows(ROWS)


def write_parquet(path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path, row_group_size=2)


WRITERS: dict[str, Callable[[Path], None]] = {
    "rows.jsonl": write_jsonl,
    "rows.json": write_json,
    "rows.csv": write_csv,
    "rows.parquet": write_parquet,
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str, packed: bool) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    if packed:
        packed_path = tmp_path / f"{name}.gz"
        packed_path.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        path = packed_path
    assert list(read_rows(Source(str(path)))) == ROWS


def test_gzip_is_recognised_by_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(gzip.compress(b'{"a": 1}\n', mtime=0))
    assert list(read_rows(Source(str(path)))) == [{"a": 1}]


def test_byte_order_mark_is_not_part_of_the_first_column(tmp_path: Path) -> None:
    for name, text in (("a.csv", "a,b\n1,2\n"), ("a.jsonl", '{"a": "1", "b": "2"}'), ("a.json", '[{"a":"1","b":"2"}]')):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8-sig")
        assert list(read_rows(Source(str(path)))) == [{"a": "1", "b": "2"}]


def test_tsv_takes_quotes_as_they_are_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "dev.tsv"
    path.write_text('0\ta "stray quote\n1\t"whole"\n')
    named = Source(str(path), columns=("label", "sentence"))
    assert [row["sentence"] for row in read_rows(named)] == ['a "stray quote', '"whole"']
    path.write_text('0\t"a ""b"""\n')
    quoted = Source(str(path), columns=("label", "sentence"), quoting="standard")
    assert list(read_rows(quoted)) == [{"label": "0", "sentence": 'a "b"'}]


def test_delimiter_may_be_given(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a;b\n1;2\n")
    assert list(read_rows(Source(str(path), delimiter=";"))) == [{"a": "1", "b": "2"}]


def test_json_object_with_a_list_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "bbh.json"
    path.write_text('{"canary": "x",\n "examples": [{"input": "a"}, {"input": "b"}]}')
    assert [row["input"] for row in read_rows(Source(str(path), field="examples"))] == ["a", "b"]


def test_json_lines_in_a_json_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('{"a": 1}\n{"a": 2}\n')
    assert [row["a"] for row in read_rows(Source(str(path)))] == [1, 2]


def test_unnamed_column_gets_a_name(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(",text\n0,a\n")
    assert list(read_rows(Source(str(path)))) == [{"column_1": "0", "text": "a"}]


def test_folder_of_splits_by_any_of_their_names(tmp_path: Path) -> None:
    for name in ("train-00000-of-00002", "train-00001-of-00002", "dev", "test"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"from": name}))
    (tmp_path / "README.md").write_text("not rows")
    parts = given_splits(Source(str(tmp_path)))
    assert list(parts) == ["train", "validation", "test"]
    assert [row["from"] for row in read_rows(parts["train"])] == ["train-00000-of-00002", "train-00001-of-00002"]
    assert [row["from"] for row in read_rows(parts["validation"])] == ["dev"]


def test_folder_written_by_save_to_disk(tmp_path: Path) -> None:
    whole = datasets.Dataset.from_list(ROWS)
    whole.save_to_disk(str(tmp_path / "one"))
    assert given_splits(Source(str(tmp_path / "one"))) == {}
    assert list(read_rows(Source(str(tmp_path / "one")))) == ROWS
    apart = datasets.DatasetDict({"train": whole, "validation": whole.select([1])})
    apart.save_to_disk(str(tmp_path / "two"))
    parts = given_splits(Source(str(tmp_path / "two")))
    assert list(parts) == ["train", "validation"]
    assert list(read_rows(parts["validation"])) == ROWS[1:2]


def test_hub_dataset_is_pinned_to_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    sha = "0123456789abcdef0123456789abcdef01234567"
    asked: list[tuple[str, str | None]] = []

    def commit(path: str, revision: str | None) -> str:
        asked.append((path, revision))
        return sha

    monkeypatch.setattr(hub, "pin", commit)
    pinned = pin(Source("hf:owner/name:config", revision="main"))
    assert pinned.revision == sha
    assert str(pinned) == f"hf:owner/name:config@{sha}"
    assert pin(pinned) is pinned
    assert asked == [("hf:owner/name:config", "main")]


def test_hub_dataset_is_read_at_its_commit_and_split(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def load(name: str, config: str | None, *, split: str, revision: str | None) -> datasets.Dataset:
        asked.append((name, config, split, revision))
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load)
    source = Source("hf:owner/name:config", split="train_sft", revision="abc")
    assert list(read_rows(source)) == ROWS
    assert asked == [("owner/name", "config", "train_sft", "abc")]


def test_hub_that_cannot_be_reached_is_an_error_of_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **others: object) -> object:
        raise ConnectionError("no route to host\nmore")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", refuse)
    with pytest.raises(DataError, match=r"hf:owner/name: cannot be read from the hub \(ConnectionError: no route"):
        pin(Source("hf:owner/name"))
    with pytest.raises(DataError) as fault:
        list(read_rows(Source("hf:owner/name:config", split="test")))
    assert "to owner/name/config in a folder, and name the folder by --data" in str(fault.value.fix)


def test_a_copy_in_the_folder_of_data_stands_for_the_hub(tmp_path: Path) -> None:
    """Written by `save_to_disk` at the path that the message names; the hub is not asked."""
    data = tmp_path / "data"
    parts = {"train": datasets.Dataset.from_list(ROWS), "test": datasets.Dataset.from_list(ROWS[:1])}
    datasets.DatasetDict(parts).save_to_disk(str(data / "owner" / "name" / "config"))
    task = tmp_path / "task.yaml"
    task.write_text(
        "name: copied\nsource: {path: 'hf:owner/name:config', revision: main}\ntarget: '{{ row | tojson }}'\n"
        "templates: [{name: a, prompt: 'x'}]\n"
    )
    source = load_task(str(task), data, rows=False).sources["all"]
    assert source.path == str(data / "owner" / "name" / "config")
    assert list(read_rows(given_splits(source)["test"])) == ROWS[:1]
    assert load_task(str(task), tmp_path, rows=False).sources["all"].path == "hf:owner/name:config"


def test_a_data_set_of_the_hub_is_never_named_by_the_library_without_its_commit() -> None:
    for name in sorted(library_names()):
        for source in load_task(name, rows=False).sources.values():
            assert not source.on_hub or re.fullmatch("[0-9a-f]{40}", source.revision or "")


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(
        st.dictionaries(st.text(max_size=5), st.text(max_size=20) | st.integers() | st.none(), max_size=3), min_size=1
    ),
    indent=st.sampled_from([None, 0, 3]),
    chunk=st.integers(1, 40),
)
def test_json_array_is_read_alike_however_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]], indent: int | None, chunk: int
) -> None:
    path = tmp_path_factory.mktemp("array") / "rows.json"
    path.write_text(json.dumps(rows, indent=indent, ensure_ascii=False), encoding="utf-8", errors="surrogatepass")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("luthier.files.json_rows.CHUNK_BYTES", chunk)
        assert list(read_rows(Source(str(path)))) == rows


def test_json_array_is_not_read_ahead(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('[{"a": 1},\n' + "\n" * 1_000_000 + "{broken}]")
    assert next(iter(read_rows(Source(str(path))))) == {"a": 1}


def test_real_sources_are_read_whole(shared_data: Path) -> None:
    counts = {
        "alpaca/alpaca_5000.json": 5000,
        "dialogsum/train.jsonl": 12460,
        "hate_speech/labeled_data.csv": 24783,
        "crows_pairs/crows_pairs_anonymized.csv": 1508,
        "glue/RTE/dev.tsv": 139,
        "winogender/all_sentences.tsv": 720,
        "superglue/BoolQ/val.jsonl": 3270,
    }
    for name, count in counts.items():
        assert sum(1 for _ in read_rows(Source(str(shared_data / name)))) == count, name
    bbh = Source(str(shared_data / "bbh/word_sorting.json"), field="examples")
    assert {tuple(row) for row in read_rows(bbh)} == {("input", "target")}
