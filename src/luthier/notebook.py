"""A place in a notebook's output that is written anew again and again: what goes on, without a line for each step.

It needs IPython's own display alone, no widgets, and IPython is never imported but where a notebook runs.
"""

from __future__ import annotations

import functools
import html
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TypeAlias

from luthier.visible import visible

_SECONDS = 0.2
"""Between two writings: a page that shows more of them is slow, and nobody reads them."""

Row: TypeAlias = tuple[str, float | None]
"""A line, and how much of it is done as a share; None for a line without a bar."""


class Area:
    """The lines that stand in a place of the output, each under a key, and shown in the order in which they came.

    Args:
        write: Writes the place anew, as HTML and as text.
    """

    def __init__(self, write: Callable[[str, str], None]) -> None:
        self._write = write
        self._rows: dict[str, Row] = {}
        self._written = -_SECONDS
        self._lock = threading.Lock()

    def show(self, key: str, line: str, share: float | None = None) -> None:
        """Put a line under a key, or in place of the one that stands there; it may be seen a little later."""
        with self._lock:
            new = key not in self._rows
            self._rows[key] = (line, share)
            if new or time.monotonic() - self._written >= _SECONDS:
                self._render()

    def remove(self, key: str) -> None:
        """Remove the line under a key, and those that came after it: what was begun inside has ended with it."""
        with self._lock:
            keys = list(self._rows)
            if key in keys:
                for ended in keys[keys.index(key) :]:
                    del self._rows[ended]
                self._render()

    def drop(self, key: str) -> None:
        """Remove the line under a key alone, if there is one."""
        with self._lock:
            if self._rows.pop(key, None) is not None:
                self._render()

    def _render(self) -> None:
        self._written = time.monotonic()
        rows = list(self._rows.values())
        self._write("".join(_html(line, share) for line, share in rows), "\n".join(visible(line) for line, _ in rows))


def _html(line: str, share: float | None) -> str:
    bar = "" if share is None else f'<progress value="{min(1.0, share):.4f}" max="1" style="width: 14em"></progress> '
    return f'<div style="font-variant-numeric: tabular-nums">{bar}{html.escape(visible(line))}</div>'


def notebook_area() -> Area | None:
    """Return the place of the cell that is running now; None outside of a notebook."""
    shell = _shell()
    return _area_of(int(shell.execution_count)) if shell is not None else None


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    return _shell() is not None


def _shell() -> Any | None:
    """Return IPython's shell where it belongs to a kernel; a terminal's has none."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell if getattr(shell, "kernel", None) is not None else None


@functools.lru_cache(maxsize=1)
def _area_of(cell: int) -> Area:
    """Return the one place of a cell: computations that follow one another write into the same."""
    from IPython.display import display

    handle = display({"text/html": "", "text/plain": ""}, raw=True, display_id=True)
    return Area(lambda markup, text: handle.update({"text/html": markup, "text/plain": text}, raw=True))
