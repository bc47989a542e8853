"""Progress of long computations: a bar with the rate and the remaining time on a terminal, plain lines in a log."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TypeAlias

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from luthier.console import open_console
from luthier.stdio import complain

Advance: TypeAlias = Callable[[int, str], None]
"""Called with the units completed since the last call, and a short note (``"loss 1.23"``)."""

_LINE_SECONDS = 10.0


@contextlib.contextmanager
def progress(label: str, total: int, unit: str, *, done: int = 0) -> Iterator[Advance]:
    """Report the progress of a computation on standard error.

    Args:
        label: Name of the computation.
        total: Number of units.
        unit: Their name, in the plural.
        done: Units that an earlier process completed; they do not count in the rate.
    """
    if sys.stderr.isatty():
        with _bar(label, total, unit, done) as advance:
            yield advance
    else:
        yield _lines(label, total, unit, done)


def pace(units: float, seconds: float, unit: str) -> str:
    """Write a rate so that it has digits that mean something: ``39.6 examples/s``, or ``12 s/step`` below one a second.

    Args:
        units: Units completed.
        seconds: What they took.
        unit: Their name, in the plural.
    """
    if units <= 0:
        return ""
    rate = units / max(seconds, 1e-9)
    if rate >= 1:
        return f"{rate:.1f} {unit}/s"
    return f"{duration(seconds / units)}/{unit.removesuffix('s')}"


def duration(seconds: float) -> str:
    """Write a time roughly: ``1.5 s``, ``45 s``, ``12 min``, ``3.4 h``."""
    if seconds < 600:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


@contextlib.contextmanager
def _bar(label: str, total: int, unit: str, done: int) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    started = time.monotonic()
    with Progress(*columns, console=open_console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total, completed=done, rate="", note="")

        def advance(units: int, note: str) -> None:
            fresh = bar.tasks[0].completed + units - done
            bar.update(task, advance=units, note=note, rate=pace(fresh, time.monotonic() - started, unit))

        yield advance


def _lines(label: str, total: int, unit: str, done: int) -> Advance:
    started = time.monotonic()
    state = {"done": done, "said": started}
    if done < total:
        # Before the first unit ends, which may be minutes from now: a log shows that it began.
        say(f"{label}: {done}/{total} {unit}")

    def advance(units: int, note: str) -> None:
        state["done"] += units
        now = time.monotonic()
        finished = state["done"] >= total
        if finished or now - state["said"] >= _LINE_SECONDS:
            state["said"] = now
            fresh, seconds = state["done"] - done, now - started
            left = seconds / fresh * (total - state["done"]) if fresh > 0 and not finished else None
            remaining = f"{duration(left)} left" if left is not None else ""
            parts = (f"{label}: {state['done']:.0f}/{total} {unit}", pace(fresh, seconds, unit), remaining, note)
            say(", ".join(part for part in parts if part))

    return advance


def say(message: str) -> None:
    """Write one plain line to standard error."""
    complain(message)
