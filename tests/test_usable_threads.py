"""Threads: as many as there are usable cores, asleep while they wait, and as the user says where the user says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from luthier.threads import THREAD_VARIABLES, prepare_threads, threads_in_words, usable_cores

ALLOWED = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def test_threads_sleep_while_they_wait() -> None:
    environment: dict[str, str] = {}
    prepare_threads(environment)
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    assert environment["GOMP_SPINCOUNT"] == environment["KMP_BLOCKTIME"] == "0"
    assert {environment[name] for name in THREAD_VARIABLES} == {str(usable_cores())}


@pytest.mark.parametrize("given", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "9"}, {"KMP_BLOCKTIME": "200"}])
def test_what_the_user_set_about_waiting_stays(given: dict[str, str]) -> None:
    environment = dict(given)
    prepare_threads(environment)
    assert {name: environment[name] for name in environment if name not in THREAD_VARIABLES} == given


@pytest.mark.parametrize("name", THREAD_VARIABLES)
def test_a_number_of_threads_that_the_user_set_stays(name: str) -> None:
    environment = {name: "7"}
    prepare_threads(environment)
    assert {other: environment[other] for other in THREAD_VARIABLES if other in environment} == {name: "7"}


COMMAND = """
import os, sys
from luthier import cli
def app(**_):
    assert "torch" not in sys.modules
    import torch
    print(os.environ["OMP_WAIT_POLICY"], torch.get_num_threads())
cli.app = app
cli.main()
"""
PYTHON = """
import os, sys, luthier
assert "torch" not in sys.modules
luthier.load_model
import torch
print(os.environ["OMP_WAIT_POLICY"], torch.get_num_threads())
"""


@pytest.mark.parametrize("program", [COMMAND, PYTHON])
def test_the_command_line_and_the_library_settle_it_before_torch_is_loaded(program: str) -> None:
    ours = ("OMP_", "GOMP_", "MKL_", "KMP_", *THREAD_VARIABLES)  # set by other tests of this process
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.split() == ["PASSIVE", str(usable_cores())]


def system(tmp_path: Path, own: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": own, **files}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/a/b\n", {"sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, ALLOWED),
        ("0::/a/b\n", {"sys/fs/cgroup/a/b/cpu.max": "100000 100000\n"}, 1),
        ("0::/a/b\n", {"sys/fs/cgroup/a/cpu.max": "50000 100000\n"}, 1),  # of the group above; half a core is one
        ("0::/of/the/host\n", {"sys/fs/cgroup/cpu.max": "100000 100000\n"}, 1),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "999900000 100000\n"}, ALLOWED),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "nonsense\n"}, ALLOWED),
        (
            "4:memory:/x\n3:cpu,cpuacct:/x\n",
            {"sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "100000\n", "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000\n"},
            1,
        ),
        (
            "3:cpu,cpuacct:/x\n",
            {"sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000\n"},
            ALLOWED,
        ),
        ("", {}, ALLOWED),
    ],
)
def test_cores_are_counted_within_the_quota_of_a_container(
    own: str, files: dict[str, str], expected: int, tmp_path: Path
) -> None:
    assert usable_cores(system(tmp_path, own, files)) == expected


def test_a_system_without_control_groups_has_the_cores_that_it_may_run_on(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == ALLOWED


def test_it_says_how_many_threads_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    cores = f"{usable_cores()} usable core"
    assert f"computing with 1 thread, on {cores}" in threads_in_words(1)
    assert "2 workers with 3 threads each" in threads_in_words(3, workers=2)
    monkeypatch.setenv("OMP_NUM_THREADS", "999")
    assert "999 threads (OMP_NUM_THREADS=999)" in threads_in_words(999)
