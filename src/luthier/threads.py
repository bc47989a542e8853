"""How many threads a process computes with, and how they wait: settled before torch and its libraries are loaded.

Between two operations the threads of OpenMP wait for the next one by spinning, which is quick on an idle machine.
Beside one other busy process the spinning threads take the processor from the one that is waited for, and a training
takes nine times as long. So they are told to sleep. Libraries read this from the environment when they are loaded:

    OMP_WAIT_POLICY     every OpenMP: GNU's (the wheels of Linux), Intel's (conda, Windows), LLVM's (macOS)
    GOMP_SPINCOUNT      GNU's, where it was set for a whole machine
    KMP_BLOCKTIME       Intel's and LLVM's: milliseconds that a thread spins before it sleeps

What the user has set is never changed.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

from luthier.control_groups import control_groups, text_of

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Say how many threads there are; the first one counts for torch."""
_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
_SYSTEM = Path("/")


def prepare_threads(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let the threads of libraries that are loaded from now on sleep while they wait, one for each usable core.

    Args:
        environment: Of this process, or the one that another process is given.
    """
    if not any(name in environment for name in _WAITING):
        environment.update(_WAITING)
    if not any(name in environment for name in THREAD_VARIABLES):
        environment.update(dict.fromkeys(THREAD_VARIABLES, str(usable_cores())))


def usable_cores(system: Path = _SYSTEM) -> int:
    """Return the cores that this process may use at a time: those it may run on, within the quota of its container.

    Args:
        system: Root of ``/proc`` and ``/sys``; only Linux has them.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [_quota_v2(group) for group in control_groups("", system)] + [
        _quota_v1(group) for group in control_groups("cpu", system)
    ]
    return max(1, min([allowed, *(int(quota) for quota in quotas if quota is not None)]))


def threads_in_words(threads: int, workers: int = 1) -> str:
    """Return a line that says what is computed with: ``2 workers with 1 thread each, on 2 usable cores``."""
    cores = usable_cores()
    each = f"{threads} {'thread' if threads == 1 else 'threads'}"
    who = each if workers == 1 else f"{workers} workers with {each} each"
    given = [name for name in THREAD_VARIABLES[:2] if os.environ.get(name, str(cores)) != str(cores)]
    reason = f" ({given[0]}={os.environ[given[0]]})" if given and workers == 1 else ""
    return f"computing with {who}{reason}, on {cores} usable {'core' if cores == 1 else 'cores'}"


def _quota_v2(group: Path) -> float | None:
    """Return the cores of ``cpu.max``: ``"150000 100000"`` is 1.5; None where there is no limit."""
    words = text_of(group / "cpu.max").split()
    return _share(words[0], words[1]) if len(words) == 2 else None


def _quota_v1(group: Path) -> float | None:
    return _share(text_of(group / "cpu.cfs_quota_us"), text_of(group / "cpu.cfs_period_us"))


def _share(quota: str, period: str) -> float | None:
    try:
        cores = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return cores if cores > 0 else None
