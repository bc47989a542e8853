"""Progress of long computations: a bar with the rate and the remaining time on a terminal, plain lines in a log."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TypeAlias

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

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


@contextlib.contextmanager
def _bar(label: str, total: int, unit: str, done: int) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    started = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total, completed=done, rate="", note="")

        def advance(units: int, note: str) -> None:
            seconds = time.monotonic() - started
            fresh = bar.tasks[0].completed + units - done
            bar.update(task, advance=units, note=note, rate=f"{fresh / max(seconds, 1e-9):.1f} {unit}/s")

        yield advance


def _lines(label: str, total: int, unit: str, done: int) -> Advance:
    started = time.monotonic()
    state = {"done": done, "said": started}

    def advance(units: int, note: str) -> None:
        state["done"] += units
        now = time.monotonic()
        finished = state["done"] >= total
        if finished or now - state["said"] >= _LINE_SECONDS:
            state["said"] = now
            rate = (state["done"] - done) / max(now - started, 1e-9)
            left = f", {(total - state['done']) / max(rate, 1e-9):.0f} s left" if not finished else ""
            tail = f", {note}" if note else ""
            print(  # noqa: T201 - the log is the standard error
                f"{label}: {state['done']:.0f}/{total} {unit}, {rate:.1f}/s{left}{tail}", file=sys.stderr, flush=True
            )

    return advance


def say(message: str) -> None:
    """Write one plain line to standard error."""
    print(message, file=sys.stderr, flush=True)  # noqa: T201 - the log is the standard error
