"""Peak memory since a starting point, measured by the operating system or the device.

On a CPU it is the greatest resident memory of the process. One process trains and evaluates several arms after another,
and the C library keeps what an arm has freed (see :mod:`.allocator`): that memory would count for the next arm as well.
So it is given back to the system at the starting point, and where that cannot be done nothing is measured.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import platform
from collections.abc import Iterator
from pathlib import Path

import torch

from luthier.kernels.allocator import give_back_freed_memory

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_PROBE_BYTES = 16 * 2**20
_GIVEN_BACK = 0.75
"""Share of a freed block that must leave the process for the C library to be believed."""


def reset_peak(device: torch.device) -> None:
    """Set the starting point: what was freed before does not count for what is measured after it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif measures_resident_memory():
        gc.collect()  # what a finished arm left in circles
        give_back_freed_memory()
        _CLEAR.write_text("5")  # VmHWM becomes VmRSS: proc(5)


@contextlib.contextmanager
def settled_objects() -> Iterator[None]:
    """Leave what lives now out of the collections of garbage inside.

    Libraries hold a million objects. Every starting point looks at all of them, a third of a second each, which for
    dozens of small tasks is more than their answers take.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def peak_bytes(device: torch.device) -> int | None:
    """Return the peak since :func:`reset_peak`: allocated on a CUDA device, resident otherwise; None if unknown."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return _status_bytes("VmHWM") if measures_resident_memory() else None


def greatest(*peaks: int | None) -> int | None:
    """Return the peak over several processes; None, not measured, where one of them could not measure its own."""
    known = [peak for peak in peaks if peak is not None]
    return max(known) if known and len(known) == len(peaks) else None


@functools.cache
def measures_resident_memory() -> bool:
    """Whether this process can forget an earlier peak, and gives freed memory back when it is told to: it is tried.

    False where the system has no such gauge (macOS, Windows), where it may not be reset (some containers), and with an
    allocator that keeps what is freed.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    try:
        _CLEAR.write_text("5")
        give_back_freed_memory()
        before = _status_bytes("VmRSS")
        block = torch.empty(_PROBE_BYTES, dtype=torch.uint8).fill_(1)
        del block
        give_back_freed_memory()
        _CLEAR.write_text("5")
        after = _status_bytes("VmHWM")
    except (OSError, AttributeError):
        return False
    if before is None or after is None:
        return False
    # Kept or given back at once, the block must be gone in the end, and the gauge must have followed.
    return after - before < (1 - _GIVEN_BACK) * _PROBE_BYTES


def _status_bytes(name: str) -> int | None:
    line = next((line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:")), None)
    return int(line.split()[1]) * 1024 if line else None
