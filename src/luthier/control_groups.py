"""The control groups of this process, by which Linux limits a container or a job."""

from __future__ import annotations

from pathlib import Path


def control_groups(controller: str, system: Path) -> list[Path]:
    """Return the folders of this process's control group and of those above it: the smallest limit of all holds.

    Args:
        controller: ``cpu`` or ``memory`` for the first version of control groups, "" for the second.
        system: Root of ``/proc`` and ``/sys``.
    """
    top = system / "sys" / "fs" / "cgroup" / controller
    lines = text_of(system / "proc" / "self" / "cgroup").splitlines()
    named = [line.split(":", 2) for line in lines if line.count(":") >= 2]
    own = next((path for _, names, path in named if controller in names.split(",")), None)
    if own is None:
        return []
    parts = [part for part in own.split("/") if part not in ("", "..")]
    # In a container the path may be that of the host: then only the top is there, and it is the container's own.
    return [top.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]


def text_of(path: Path) -> str:
    """Return what a file of the kernel says, without the line break at its end; "" where it is not there."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
