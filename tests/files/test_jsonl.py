"""JSON Lines that a kill may have cut anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from luthier.errors import StoreError
from luthier.files.atomic import open_atomically
from luthier.files.jsonl import append_lines, numbered_lines, read_lines, read_until_torn


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "log.jsonl"
    append_lines(path, [])
    append_lines(path, ['{"a": 1}'])
    append_lines(path, ['{"a": 2}', '{"a": "\u2028"}'])
    assert read_until_torn(path, json.loads) == [{"a": 1}, {"a": 2}, {"a": "\u2028"}]


@pytest.mark.parametrize("torn", [b"{", b'{"a": 2}', b'{"a": "caf\xc3'])
def test_a_torn_last_line_is_left_out_and_cut_off(torn: bytes, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a": 1}\n' + torn)
    assert list(read_lines(path)) == [b'{"a": 1}\n']
    assert list(read_lines(path, torn=True)) == [b'{"a": 1}\n', torn]
    assert read_until_torn(path, json.loads) == [{"a": 1}]
    assert path.read_bytes().endswith(torn)
    assert read_until_torn(path, json.loads, truncate=True) == [{"a": 1}]
    assert path.read_bytes() == b'{"a": 1}\n'


def test_nothing_is_read_after_a_line_that_cannot_be_parsed(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a": 1}\n\0\0\0\n{"a": 3}\n')
    assert read_until_torn(path, json.loads, truncate=True) == [{"a": 1}]
    assert path.read_bytes() == b'{"a": 1}\n'


def test_what_is_appended_does_not_become_part_of_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a"')
    append_lines(path, ['{"a": 3}'])
    assert path.read_bytes() == b'{"a": 1}\n{"a"\n{"a": 3}\n'


def test_no_file_has_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert read_until_torn(path, json.loads, truncate=True) == []
    assert list(read_lines(path)) == []
    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        list(numbered_lines(path))


def test_a_file_that_cannot_be_read_or_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot write"):
        append_lines(tmp_path, ["{}"])
    with pytest.raises(StoreError):
        list(read_lines(tmp_path))


def test_lines_are_numbered_with_the_blank_ones(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'\n{"a": 1}\n  \n{"a": 2}')
    assert list(numbered_lines(path)) == [(2, b'{"a": 1}\n'), (4, b'{"a": 2}')]


def test_a_file_opened_atomically_keeps_its_old_content_when_writing_breaks_off(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def broken_off() -> None:
        with open_atomically(path) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken_off()
    assert [other.name for other in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"
    with open_atomically(path) as file:
        file.write(b"new")
    assert path.read_text() == "new"
