"""Running out of memory or of disk is a message, whichever library found out."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from luthier import cli
from luthier.errors import ResourceError
from luthier.exhausted import exhausted


def chained() -> BaseException:
    try:
        try:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        except OSError as reason:
            raise RuntimeError("the worker failed") from reason
    except RuntimeError as fault:
        return fault


MEMORY: dict[str, BaseException] = {
    "Python": MemoryError(),
    "numpy": MemoryError("Unable to allocate 3.00 TiB for an array with shape (9,)"),
    "torch on a CPU": RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory"),
    "torch on a GPU": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "C++": RuntimeError("std::bad_alloc"),
    "loader": ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    "mmap": OSError(errno.ENOMEM, "Cannot allocate memory"),
    "oneDNN": RuntimeError("could not create a primitive"),
    "threads": RuntimeError("can't start new thread"),
    "a reason behind it": chained(),
}


@pytest.mark.parametrize("source", MEMORY)
def test_memory(source: str) -> None:
    found = exhausted(MEMORY[source])
    assert isinstance(found, ResourceError)
    assert "memory ran out" in str(found)
    assert "--workers" in str(found)


def test_room_on_a_disk() -> None:
    found = exhausted(OSError(errno.ENOSPC, "No space left on device", "/x/y"))
    assert "/x/y: no room is left on the disk" in str(found)


@pytest.mark.parametrize(
    "other", [ValueError("x"), RuntimeError("shapes differ"), OSError(errno.EPERM, "not permitted")]
)
def test_other_faults_are_not_mistaken(other: Exception) -> None:
    assert exhausted(other) is None


def test_the_command_line_says_it_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def app(**_: object) -> None:
        raise MEMORY["torch on a CPU"]

    monkeypatch.setattr(cli, "app", app)
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    assert "error: memory ran out" in capsys.readouterr().err


LIMITED = """
import resource, sys
limit = int(sys.argv[1]) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
from luthier.cli import main
sys.argv = ["luthier", "compare", "--arms", "full", "--runs", sys.argv[2], "--device", "cpu",
            "--set", "training.steps=1", "--set", "data.test=2"]
main()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space")
@pytest.mark.parametrize("mebibytes", [300, 700, 1100])
def test_a_limit_of_the_address_space(mebibytes: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIMITED, str(mebibytes), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    if done.returncode != 0:
        assert "Traceback" not in done.stderr
        assert done.returncode == 2 or done.returncode < 0, "a library may end the process itself"
