"""The memory that is left, within whichever limit is the smallest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from luthier.kernels.free_memory import free_bytes

CPU = torch.device("cpu")
MIB = 2**20


def system(folder: Path, own: str, files: dict[str, str]) -> Path:
    """A root with 4 GiB available and this process in a control group."""
    machine = {"proc/meminfo": f"MemTotal: 9999999 kB\nMemAvailable: {4 * 2**20} kB\n", "proc/self/cgroup": own}
    for name, text in {**machine, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def second(group: str, limit: str, used: int, cached: int = 0) -> dict[str, str]:
    """Files of a control group of the second version; bytes in MiB."""
    return {
        f"sys/fs/cgroup/{group}/memory.max": limit,
        f"sys/fs/cgroup/{group}/memory.current": str(used * MIB),
        f"sys/fs/cgroup/{group}/memory.stat": f"anon 1\ninactive_file {cached * MIB}\n",
    }


def first(group: str, limit: str, used: int, cached: int = 0) -> dict[str, str]:
    """The same of the first version."""
    return {
        f"sys/fs/cgroup/memory/{group}/memory.limit_in_bytes": limit,
        f"sys/fs/cgroup/memory/{group}/memory.usage_in_bytes": str(used * MIB),
        f"sys/fs/cgroup/memory/{group}/memory.stat": f"cache 1\ntotal_inactive_file {cached * MIB}\n",
    }


V2, V1 = "0::/a/b\n", "5:cpu:/\n4:memory:/a/b\n0::/\n"
UNLIMITED = str(2**63 - 4096)
"""What the first version says where there is no limit."""


@pytest.mark.parametrize(
    ("own", "files", "mebibytes"),
    [
        ("", {}, 4096),
        (V2, second("a/b", "max", 100), 4096),
        (V2, second("a/b", str(1000 * MIB), 300), 700),
        (V2, second("a/b", str(1000 * MIB), 300, cached=200), 900),  # pages of files are given back
        (V2, second("a/b", str(9000 * MIB), 300), 4096),
        (V2, second("a/b", str(3000 * MIB), 300) | second("a", str(1000 * MIB), 600), 400),  # the one above has less
        (V2, second("a/b", "max", 300) | {"sys/fs/cgroup/a/b/memory.high": str(500 * MIB)}, 200),  # slowed down there
        (V2, second("a/b", str(1000 * MIB), 1100), 0),
        (V1, first("a/b", UNLIMITED, 100), 4096),
        (V1, first("a/b", str(1000 * MIB), 300, cached=100), 800),
        (V1, first("", str(1000 * MIB), 600), 400),  # in a container the path is that of the host
    ],
)
def test_the_smallest_limit_holds(tmp_path: Path, own: str, files: dict[str, str], mebibytes: int) -> None:
    assert free_bytes(CPU, system(tmp_path, own, files)) == mebibytes * MIB


def test_where_nothing_is_known_nothing_is_said(tmp_path: Path) -> None:
    assert free_bytes(CPU, tmp_path) is None
    assert free_bytes(torch.device("mps")) is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what is available")
def test_this_machine_has_some() -> None:
    free = free_bytes(CPU)
    assert free is not None
    assert 0 < free < 2**50


LIMITED = """
import resource, torch
from luthier.kernels.free_memory import free_bytes
used = int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmSize"))) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + 64 * 2**20, used + 64 * 2**20))
print(free_bytes(torch.device("cpu")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space")
def test_a_limit_of_the_address_space_holds() -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, timeout=60, check=True)
    assert 32 * MIB < int(done.stdout) <= 64 * MIB
