"""Being stopped: Ctrl-C and a request to end reach a computation between its steps, where what it has done can be kept.

``SIGINT`` raises KeyboardInterrupt by itself; :func:`raise_when_terminated` makes ``SIGTERM``, by which clusters and
containers stop a process, raise :class:`Terminated`, which is one. A second signal never waits.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any


class Terminated(KeyboardInterrupt):
    """This process was asked to end."""


def raise_when_terminated() -> None:
    """Let ``SIGTERM`` raise :class:`Terminated` in the main thread, for the rest of the process."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _raise_terminated)


def exit_code(stopped: KeyboardInterrupt) -> int:
    """Return the exit code by which a shell knows the signal: 128 and its number."""
    return 128 + (signal.SIGTERM if isinstance(stopped, Terminated) else signal.SIGINT)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let a signal to stop wait until the block has ended; a second one ends it at once.

    Outside the main thread, which alone receives signals, nothing is done.
    """
    before: dict[int, Callable[[int, FrameType | None], Any]] = {}
    waiting: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if waiting:
            before[number](number, frame)
        waiting.append(number)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if callable(handler):  # neither ignored nor left to the system
                before[number] = handler
                signal.signal(number, note)
    try:
        yield
    finally:
        for caught, own in before.items():
            signal.signal(caught, own)
    if waiting:
        before[waiting[0]](waiting[0], None)


def _raise_terminated(number: int, frame: FrameType | None) -> None:
    raise Terminated
