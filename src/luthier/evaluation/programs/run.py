"""Run a program that a model wrote in a process of its own: without network, rights or files, and within limits."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from luthier.errors import TaskError
from luthier.evaluation.programs import confined

_REPORT = 4096
"""Bytes of a report at most."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may take.

    Attributes:
        seconds: Of computing, of each of its processes.
        wall_seconds: Until its end: more, because other processes may have the processor meanwhile.
        memory: Bytes of address space, of each of its processes.
        disk: Bytes that it may write, all files together.
        processes: How many it may be at a time.
    """

    seconds: int = 3
    wall_seconds: int = 15
    memory: int = 2**30
    disk: int = 64 * 2**20
    processes: int = 16


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended.

    Attributes:
        passed: Whether it came to its end without an exception.
        why: What happened otherwise; "" where it passed.
    """

    passed: bool
    why: str = ""


LIMITS = Limits()


def run_program(program: str, limits: Limits = LIMITS) -> Outcome:
    """Run a program in Python as a module of no name, and say whether it came to its end.

    It begins in an empty folder, the only place that it can write to, which is gone afterwards.

    Raises:
        TaskError: When the system does not let it be set apart; it is not run then.
    """
    with tempfile.TemporaryDirectory(prefix="luthier-program-") as folder:
        return _run(program, limits, folder)


@functools.cache
def require_confinement() -> None:
    """Check that programs can be run apart.

    Raises:
        TaskError: When they cannot.
    """
    outcome = run_program("pass")
    if not outcome.passed:
        raise _refusal(outcome.why)


def _run(program: str, limits: Limits, folder: str) -> Outcome:
    if sys.platform != "linux":
        raise _refusal("only Linux can take its network away")
    mark = secrets.token_hex(16)
    asked = {"program": program, "mark": mark, "folder": folder, "limits": asdict(limits), "paths": _paths()}
    environment = {"PATH": os.defpath, "HOME": folder, "TMPDIR": folder, "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-I", "-B", str(Path(confined.__file__))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )
    assert process.stdin is not None
    try:
        with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
            stdin.write(json.dumps(asked).encode())
        deadline = time.monotonic() + limits.wall_seconds
        report = _report(process, deadline)
        code = process.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return Outcome(False, f"it took more than {limits.wall_seconds} s")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    if code == confined.REFUSED and not report.startswith(mark):
        raise _refusal(report)
    return _outcome(report.removeprefix(f"{mark} ") if report.startswith(mark) else "", code, limits)


def _report(process: subprocess.Popen[bytes], deadline: float) -> str:
    """Return what a process reports; what reports without end is ended, and has reported nothing.

    Raises:
        TimeoutExpired: When it takes too long.
    """
    assert process.stdout is not None
    stream, received = process.stdout.fileno(), b""
    while len(received) <= _REPORT:
        ready, _, _ = select.select([stream], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise subprocess.TimeoutExpired(process.args, deadline)
        more = os.read(stream, _REPORT)
        if not more:
            return received.decode("utf-8", "replace")
        received += more
    os.killpg(process.pid, signal.SIGKILL)
    return ""


def _outcome(said: str, code: int, limits: Limits) -> Outcome:
    if said == "passed":
        return Outcome(True)
    if code in (128 + signal.SIGXCPU, 128 + signal.SIGKILL):
        return Outcome(False, f"it took more than {limits.seconds} s of computing")
    return Outcome(False, said or f"it ended itself (exit code {code})")


def _paths() -> list[str]:
    """The folders that Python reads modules from."""
    return [path for path in (*sysconfig.get_paths().values(), *sys.path) if path and Path(path).is_dir()]


def _refusal(why: str) -> TaskError:
    return TaskError(
        f"programs that a model wrote cannot be run apart from this system: {why}",
        fix="Run on Linux 5.12 or later, as root or as a user who may make namespaces; many containers forbid that.",
    )
