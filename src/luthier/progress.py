"""Progress of long computations: a bar on a terminal and in a notebook, in place, and plain lines in a log."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import TypeAlias

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from luthier.console import open_console
from luthier.notebook import Area, in_notebook, notebook_area
from luthier.stdio import complain, echo

Advance: TypeAlias = Callable[[int, str], None]
"""Called with the units completed since the last call, and a short note (``"loss 1.23"``)."""

_LINE_SECONDS = 10.0
_PROGRESS_LINE = re.compile(r"(?P<label>.+): (?P<done>\d+)/(?P<total>\d+) ")
"""How a line of progress begins."""


@contextlib.contextmanager
def progress(label: str, total: int, unit: str, *, done: int = 0) -> Iterator[Advance]:
    """Report the progress of a computation: on standard error, or in the output of the cell of a notebook.

    Args:
        label: Name of the computation.
        total: Number of units.
        unit: Their name, in the plural.
        done: Units that an earlier process completed; they do not count in the rate.
    """
    area = notebook_area()
    if area is not None:
        with _in_place(area, label, total, unit, done) as advance:
            yield advance
    elif sys.stderr.isatty():
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


@contextlib.contextmanager
def _in_place(area: Area, label: str, total: int, unit: str, done: int) -> Iterator[Advance]:
    count = _Count(label, total, unit, done, time.monotonic())

    def advance(units: int, note: str) -> None:
        count.done += units
        area.show(label, count.line(note), count.done / max(total, 1))

    try:
        advance(0, "")
        yield advance
    finally:
        area.remove(label)


def _lines(label: str, total: int, unit: str, done: int) -> Advance:
    count = _Count(label, total, unit, done, time.monotonic())
    said = count.started
    if done < total:
        # Before the first unit ends, which may be minutes from now: a log shows that it began.
        say(count.line(""))

    def advance(units: int, note: str) -> None:
        nonlocal said
        count.done += units
        now = time.monotonic()
        if count.done >= total or now - said >= _LINE_SECONDS:
            said = now
            say(count.line(note))

    return advance


class _Count:
    """How much of a computation is done, written as a line.

    Args:
        label: Name of the computation.
        total: Number of units.
        unit: Their name, in the plural.
        done: Units that an earlier process completed.
        started: When this process began.
    """

    def __init__(self, label: str, total: int, unit: str, done: int, started: float) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.before = self.done = done
        self.started = started

    def line(self, note: str) -> str:
        """Return what is done, the rate, the time that is left, and a note."""
        fresh, seconds = self.done - self.before, time.monotonic() - self.started
        left = seconds / fresh * (self.total - self.done) if fresh > 0 and self.done < self.total else None
        remaining = f"{duration(left)} left" if left is not None else ""
        parts = (f"{self.label}: {self.done:.0f}/{self.total} {self.unit}", pace(fresh, seconds, self.unit))
        return ", ".join(part for part in (*parts, remaining, note) if part)


def say(message: str) -> None:
    """Write one plain line: to standard error, or in a notebook, which marks that as a fault, to standard output."""
    if in_notebook():
        echo(message)
    else:
        complain(message)


def repeat(message: str) -> None:
    """Say what another process said; in a notebook its progress stands in place."""
    found, area = _PROGRESS_LINE.match(message), notebook_area()
    if found is None or area is None:
        say(message)
    elif found["done"] == found["total"]:
        area.drop(found["label"])
    else:
        area.show(found["label"], message, int(found["done"]) / int(found["total"]))
