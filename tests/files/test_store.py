"""The run store: atomic, keyed by everything, found again, and plain about what the file system refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from safetensors import SafetensorError

from luthier.errors import StoreError
from luthier.files import atomic
from luthier.files.atomic import finish_folder, temporary_folder, write_atomically, writing
from luthier.files.digests import digest
from luthier.files.store import open_entry

INPUTS = {"model": "abc", "seed": 1, "training": {"epochs": 3}}


def test_an_entry_is_found_again_by_its_inputs_in_any_order(tmp_path: Path) -> None:
    entry = open_entry(tmp_path, "models", INPUTS)
    assert not entry.finished
    with entry.held("training"):
        (entry.work / "result.json").write_text("{}")
        entry.finish()
    again = open_entry(tmp_path, "models", {"training": {"epochs": 3}, "seed": 1, "model": "abc"})
    assert again.finished
    assert again.key == entry.key
    assert not entry.work.exists()
    assert {path.name for path in again.folder.iterdir()} == {"result.json", "entry.json"}
    assert '"epochs": 3' in (again.folder / "entry.json").read_text()
    other = open_entry(tmp_path, "models", {**INPUTS, "seed": 2})
    assert not other.finished


def test_what_a_killed_run_left_is_still_there(tmp_path: Path) -> None:
    before = open_entry(tmp_path, "models", INPUTS)
    with before.held("training"):
        (before.work / "half.txt").write_text("half")
    entry = open_entry(tmp_path, "models", INPUTS)
    with entry.held("training"):
        assert not entry.finished
        assert (entry.work / "half.txt").read_text() == "half"


HOLDER = """
import sys, time
from pathlib import Path
from luthier.files import store
entry = store.open_entry(Path(sys.argv[1]), "models", {"n": 1})
with entry.held("training"):
    print("held", flush=True)
    sys.stdin.readline()
    (entry.work / "result").write_text("made by the first")
    entry.finish()
"""


def test_a_second_process_waits_and_finds_what_the_first_made(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        entry = open_entry(tmp_path, "models", {"n": 1})
        threading.Timer(0.5, lambda: print("go on", file=first.stdin, flush=True)).start()
        with entry.held("training"):
            assert entry.finished
            assert (entry.folder / "result").read_text() == "made by the first"
    assert "training: another process is at it; waiting" in capfd.readouterr().err
    assert [path.name for path in entry.folder.parent.iterdir()] == [entry.key]


def test_the_digest_tells_apart_what_differs() -> None:
    values: list[object] = [
        {},
        [],
        "",
        None,
        0,
        False,
        {"a": 1},
        {"a": "1"},
        {"a": None},
        {"a": [1]},
        "\u00e9",
        "e\u0301",
        "\ud800",
    ]
    assert len({digest(value) for value in values}) == len(values)
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    def broken_off() -> None:
        with temporary_folder(tmp_path) as folder:
            (folder / "a").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken_off()
    assert list(tmp_path.iterdir()) == []
    with temporary_folder(tmp_path) as folder:
        (folder / "a").write_text("whole")
        finish_folder(folder, tmp_path / "final")
    assert [path.name for path in tmp_path.iterdir()] == ["final"]
    assert (tmp_path / "final" / "a").read_text() == "whole"


def test_the_half_folders_of_killed_processes_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".writing-dead").mkdir()
    (tmp_path / "step-1").mkdir()
    with temporary_folder(tmp_path):
        assert not (tmp_path / ".writing-dead").exists()
    assert (tmp_path / "step-1").is_dir()


def test_a_file_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "file.txt"
    write_atomically(path, "one")
    write_atomically(path, b"two")
    assert path.read_text() == "two"

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic, "_sync", broken)
    with pytest.raises(StoreError, match="No space left on device"):
        write_atomically(path, "three")
    assert path.read_text() == "two"
    assert [item.name for item in path.parent.iterdir()] == ["file.txt"]


KILLED = """
import os, signal, sys
from pathlib import Path
from luthier.files import atomic, store
entry = store.open_entry(Path(sys.argv[1]), "models", {"n": 1})
entry.work.mkdir(parents=True, exist_ok=True)
(entry.work / "a").write_text("x" * 1000)
calls = [0]
def counted(real):
    def call(*arguments, **options):
        calls[0] += 1
        if calls[0] == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    return call
atomic._sync = counted(atomic._sync)
Path.rename = counted(Path.rename)
Path.chmod = counted(Path.chmod)
entry.finish()
print(calls[0])
"""


def test_killed_while_finishing_it_is_finished_or_not(tmp_path: Path) -> None:
    """Killed before each step of finishing (two files forced to the disk, mode, name, name forced to the disk)."""
    for at in (1, 3, 4, 5, 99):
        out = tmp_path / str(at)
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(out), str(at)], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == (0 if at == 99 else -signal.SIGKILL), done.stderr
        if at == 99:
            assert done.stdout.split() == ["5"]
        entry = open_entry(out, "models", {"n": 1})
        assert entry.finished == (at >= 5)
        place = entry.folder if entry.finished else entry.work
        assert (place / "a").read_text() == "x" * 1000
        if not entry.finished:
            entry.finish()
            assert entry.finished


@pytest.mark.parametrize(
    ("fault", "part"),
    [
        (OSError(28, "No space left on device", "/x/y"), "/x/y: cannot write: No space left on device"),
        (PermissionError(13, "Permission denied"), "cannot write: Permission denied"),
        (SafetensorError("I/O error: No space left"), "cannot write: I/O error"),
    ],
)
def test_refusals_are_said_with_place_and_cure(fault: Exception, part: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught, writing(tmp_path):
        raise fault
    assert part in str(caught.value)
    assert "--runs" in str(caught.value)
    assert "what is finished is kept" in str(caught.value)


def test_other_faults_pass_through(tmp_path: Path) -> None:
    with pytest.raises(KeyError), writing(tmp_path):
        raise KeyError("x")


def test_an_output_folder_that_is_a_file_or_read_only(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot write"), open_entry(tmp_path / "file", "models", INPUTS).held("x"):
        pass
    if os.geteuid() == 0:
        pytest.skip("the super-user may write everywhere")
    (tmp_path / "locked").mkdir(mode=0o500)
    locked = open_entry(tmp_path / "locked", "models", INPUTS)
    with pytest.raises(StoreError, match="Permission denied"), locked.held("x"):
        pass
