"""The store's contents: nothing damaged is believed, and nothing is removed that a run may need."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from luthier.errors import StoreError
from luthier.files.store import About, Entry, damage, open_entry, read_record
from luthier.files.store_contents import Unwanted, clean, stored, using_store

EVERYTHING = Unwanted()


def made(out: Path, number: int = 1, *, kind: str = "models", run: str = "first") -> Entry:
    """A finished entry of two files."""
    entry = open_entry(out, kind, {"n": number}, About("echo", "lora", run))
    with entry.held("making"):
        (entry.work / "result.json").write_text('{"steps": 4}')
        (entry.work / "adapter").mkdir()
        (entry.work / "adapter" / "weights").write_bytes(bytes(1000))
        entry.finish()
    return entry


def test_an_entry_says_what_it_was_made_for_and_holds_what_was_written(tmp_path: Path) -> None:
    entry = made(tmp_path)
    record = read_record(entry.folder)
    assert record.about == About("echo", "lora", "first")
    assert record.inputs == {"n": 1}
    assert record.files.keys() == {"result.json", "adapter/weights"}
    assert entry.checked("result.json").read_text() == '{"steps": 4}'
    assert entry.checked("adapter") == entry.folder / "adapter"
    assert damage(entry.folder) == ""


def edit(folder: Path) -> None:
    (folder / "adapter" / "weights").write_bytes(bytes(999) + b"\1")


def add(folder: Path) -> None:
    (folder / "adapter" / "more").touch()


def remove(folder: Path) -> None:
    (folder / "adapter" / "weights").unlink()


def forget(folder: Path) -> None:
    (folder / "entry.json").unlink()


def other_inputs(folder: Path) -> None:
    record = json.loads((folder / "entry.json").read_text())
    (folder / "entry.json").write_text(json.dumps(record | {"inputs": {"n": 2}}))


def nonsense(folder: Path) -> None:
    (folder / "entry.json").write_text("[" * 100_000)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (edit, "adapter/weights was changed"),
        (add, "adapter/more was added"),
        (remove, "adapter/weights is missing"),
        (forget, "entry.json is missing or unreadable"),
        (other_inputs, "entry.json does not belong to this folder"),
        (nonsense, "entry.json is missing or unreadable"),
    ],
)
def test_what_was_changed_is_named_with_its_folder(change: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    entry = made(tmp_path)
    change(entry.folder)
    with pytest.raises(StoreError) as fault:
        entry.checked("adapter")
    assert str(entry.folder) in str(fault.value)
    assert said in str(fault.value)
    assert "--remake-damaged" in str(fault.value)
    assert [item.path for item in clean(tmp_path, Unwanted(damaged=True)).removed] == [entry.folder]
    assert not entry.finished


def test_the_contents_are_listed_with_sizes(tmp_path: Path) -> None:
    entry = made(tmp_path)
    half = open_entry(tmp_path, "models", {"n": 2})
    with half.held("making"):
        (half.work / "log.jsonl").write_text("12345")
    answers = tmp_path / "store" / "answers" / "abc.jsonl"
    answers.parent.mkdir()
    answers.write_text("123")
    found = {(item.kind, item.state): item for item in stored(tmp_path)}
    assert found.keys() == {("models", "finished"), ("models", "unfinished"), ("answers", "finished")}
    assert found["models", "finished"].about == entry.about
    assert found["models", "finished"].size > 1012
    assert (found["models", "unfinished"].size, found["answers", "finished"].size) == (5, 3)


def test_only_what_fulfils_every_condition_is_removed(tmp_path: Path) -> None:
    old, new, text = made(tmp_path, 1), made(tmp_path, 2, run="second"), made(tmp_path, 3, kind="texts")
    weeks_ago = time.time() - 20 * 86400
    for entry in (old, text):
        os.utime(entry.folder, (weeks_ago, weeks_ago))
    unwanted = Unwanted(kind="models", run="first", unused_days=14)
    assert len(clean(tmp_path, unwanted, only_say=True).removed) == 1
    assert old.folder.exists()
    assert [item.path for item in clean(tmp_path, unwanted).removed] == [old.folder]
    assert not old.folder.exists()
    assert new.folder.exists()
    assert text.folder.exists()
    assert len(clean(tmp_path, EVERYTHING).removed) == 2
    assert stored(tmp_path) == []


RUN = """
import sys
from pathlib import Path
from luthier.files.store import open_entry
from luthier.files.store_contents import using_store
out = Path(sys.argv[1])
with using_store(out):
    entry = open_entry(out, "models", {"n": 1})
    assert entry.finished
    with open_entry(out, "models", {"n": 7}).held("making"):
        print("ready", flush=True)
        sys.stdin.readline()
        print(entry.checked("result.json").read_text())
"""


def test_a_run_that_is_going_on_loses_nothing(tmp_path: Path) -> None:
    used, idle = made(tmp_path, 1), made(tmp_path, 2)
    long_ago = time.time() - 9999
    for entry in (used, idle):
        os.utime(entry.folder, (long_ago, long_ago))
    command = [sys.executable, "-c", RUN, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
        found = clean(tmp_path, EVERYTHING)
        said, _ = run.communicate("\n", timeout=60)
    assert said == '{"steps": 4}\n'
    assert [item.path for item in found.removed] == [idle.folder]
    assert len(found.in_use) == 2, "what it has read, and what it is making"
    assert len(clean(tmp_path, EVERYTHING).removed) == 2, "afterwards both may go"


def test_what_a_killed_run_left_of_itself_holds_nothing_back(tmp_path: Path) -> None:
    made(tmp_path)
    running = tmp_path / "store" / "running"
    running.mkdir()
    (running / "1-dead.lock").touch()
    shutil.copytree(running, tmp_path / "store" / "models" / ".removing-x")
    assert len(clean(tmp_path, EVERYTHING).removed) == 1
    assert not list(running.iterdir())
    assert not (tmp_path / "store" / "models" / ".removing-x").exists()


def test_damaged_entries_are_made_again_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = made(tmp_path, 1), made(tmp_path, 2)
    edit(bad.folder)
    with using_store(tmp_path, remake_damaged=True):
        left = [entry for entry in (good, bad) if entry.finished]
    assert left == [good]
    assert f"{bad.folder}: its files are not what was written" in capsys.readouterr().err
