"""What compiled libraries print past Python while they read a stranger's file is said as our own lines are.

The library ``tokenizers`` quotes the names of tokens in its warnings and panics, and writes them straight to the file
descriptors 1 and 2: a terminal would obey an escape character in such a name. So both descriptors are turned aside to a
file without a name meanwhile, and what lies there afterwards is said, with control characters written out.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import IO

from luthier.progress import say

_LINES = 20
_LONGEST = 300
_TURNING = threading.Lock()
"""Descriptors belong to the process: one thread at a time turns them aside."""


@contextlib.contextmanager
def native_output_said(source: str) -> Iterator[None]:
    """Turn the file descriptors 1 and 2 aside while a library reads a file; then say what it printed, line by line.

    What other threads print meanwhile is said with it. Python's own streams are written out before and after, so that
    nothing of theirs changes its place. Not to be nested.

    Args:
        source: What is read, to stand before each line.
    """
    with _TURNING, tempfile.TemporaryFile() as aside:
        try:
            with _turned_to(aside):
                yield
        finally:
            _say_all(source, aside)


@contextlib.contextmanager
def _turned_to(aside: IO[bytes]) -> Iterator[None]:
    _write_out()
    with ExitStack() as restored:
        for descriptor in (1, 2):
            with contextlib.suppress(OSError):  # one that the process was started without
                before = os.dup(descriptor)
                restored.callback(os.close, before)
                restored.callback(os.dup2, before, descriptor)
                os.dup2(aside.fileno(), descriptor)
        restored.callback(_write_out)  # what Python's streams hold of it, before they are put back
        yield


def _write_out() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or none
            stream.flush()


def _say_all(source: str, aside: IO[bytes]) -> None:
    """Say the first lines, each cut to a readable length, and how many more there are."""
    aside.seek(0)
    hidden = 0
    for number, line in enumerate(filter(bytes.strip, aside)):
        if number >= _LINES:
            hidden += 1
            continue
        text = line.decode("utf-8", "backslashreplace").rstrip()
        say(f"{source}: {text if len(text) <= _LONGEST else text[:_LONGEST] + '…'}")
    if hidden:
        say(f"{source}: … and {hidden:,} more lines")
