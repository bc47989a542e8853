"""How much memory this process can still take: on its device, or on the machine within every limit that is set.

On Linux these are what the kernel can give without swapping (``MemAvailable``), the limits of the control groups (of a
container, of a job), of which pages that only cache files do not count as taken, and the limit of the address space
(``ulimit -v``). Other systems tell none of them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from luthier.control_groups import control_groups, text_of

_SYSTEM = Path("/")


def free_bytes(device: torch.device, system: Path = _SYSTEM) -> int | None:
    """Return the bytes that can still be allocated for tensors on a device; None where that is not known.

    Args:
        device: Of the tensors.
        system: Root of ``/proc`` and ``/sys``.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch has reserved and does not use is free for tensors as well.
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    if device.type != "cpu":
        return None
    found = [*_available(system), *_left_by_groups(system), *_left_of_address_space(system)]
    return max(0, min(found)) if found else None


def _available(system: Path) -> Iterator[int]:
    yield from _kibibytes(system / "proc" / "meminfo", "MemAvailable")


def _left_by_groups(system: Path) -> Iterator[int]:
    for group in control_groups("", system):
        for limit in ("memory.max", "memory.high"):
            yield from _left(group, limit, "memory.current", "inactive_file")
    for group in control_groups("memory", system):
        yield from _left(group, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def _left(group: Path, limit: str, used: str, cached: str) -> Iterator[int]:
    """Yield what a control group leaves; nothing where it has no limit (``max``, or one beyond any memory)."""
    bounds, taken = (_number(text_of(group / name)) for name in (limit, used))
    if bounds is None or taken is None:
        return
    counted = dict(line.split(maxsplit=1) for line in text_of(group / "memory.stat").splitlines() if " " in line)
    yield bounds - taken + (_number(counted.get(cached, "")) or 0)


def _left_of_address_space(system: Path) -> Iterator[int]:
    if sys.platform == "win32":
        return
    import resource  # there is none on Windows

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        yield from (limit - used for used in _kibibytes(system / "proc" / "self" / "status", "VmSize"))


def _kibibytes(path: Path, name: str) -> Iterator[int]:
    for line in text_of(path).splitlines():
        words = line.split()
        if words and words[0] == f"{name}:" and (number := _number(words[1])) is not None:
            yield 1024 * number


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None
