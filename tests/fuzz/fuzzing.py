"""Try hostile inputs at a door: each must be taken, or be refused with a message, within some seconds.

    python tests/fuzz/fuzzing.py --count 2000 --seed 1        # figures by door, and what fell

A case is one call of the function that a verb calls. Taken: it returned. Refused: a LuthierError, whose message is one
that a terminal may show. Everything else, and whatever takes longer than ten seconds, is a find; so is a character that
a terminal would obey and that reaches file descriptor 1 or 2.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType
from typing import TypeAlias

from luthier.errors import LuthierError

SECONDS = 10
Case: TypeAlias = Callable[[], object]
Door: TypeAlias = Callable[[Random, Path], Case]
"""Writes what is needed into a fresh folder, and returns the call."""
_RAW = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What may not reach a terminal from a file: controls, and what reorders text."""


class TooLong(BaseException):
    """A case has taken its time; no handler of exceptions may swallow it."""


@dataclass
class Figures:
    """What became of the cases of one door."""

    door: str
    taken: int = 0
    refused: int = 0
    slowest: float = 0.0
    finds: list[str] = field(default_factory=list)

    @property
    def cases(self) -> int:
        """How many were tried."""
        return self.taken + self.refused + len(self.finds)

    def __str__(self) -> str:
        return (
            f"{self.door:<16}{self.cases:>7}{self.taken:>8}{self.refused:>9}{len(self.finds):>7}{self.slowest:>10.2f} s"
        )


HEADING = f"{'door':<16}{'cases':>7}{'taken':>8}{'refused':>9}{'finds':>7}{'slowest':>12}"


def fuzz(name: str, door: Door, *, count: int, seed: int) -> Figures:
    """Try cases; the number of a find, with the seed, makes it again."""
    figures = Figures(name)
    for number in range(count):
        folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        try:
            _try(figures, door, number, f"{name}/{seed}/{number}", folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return figures


def _try(figures: Figures, door: Door, number: int, seed: str, folder: Path) -> None:
    call = door(Random(seed), folder)
    started = time.monotonic()
    said = io.StringIO()
    with _descriptors_watched(figures, number):
        _call(call, said, figures, number)
    figures.slowest = max(figures.slowest, time.monotonic() - started)


def _call(call: Case, said: io.StringIO, figures: Figures, number: int) -> None:
    try:
        with _alarm(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()
    except LuthierError as fault:
        figures.refused += 1
        _check_words(figures, number, str(fault))
    except TooLong:
        figures.finds.append(f"case {number}: longer than {SECONDS} s")
    except Exception as fault:  # a find
        frames = [frame for frame in traceback.extract_tb(fault.__traceback__) if "/luthier/" in frame.filename]
        places = [f"{frame.filename.rpartition('/luthier/')[2]}:{frame.lineno}" for frame in frames[-2:]]
        what = str(fault)[:120].encode("ascii", "backslashreplace").decode()
        figures.finds.append(f"case {number}: {type(fault).__name__}: {what} ({' → '.join(places) or 'outside'})")
    else:
        figures.taken += 1
        _check_words(figures, number, said.getvalue())


def _check_words(figures: Figures, number: int, text: str) -> None:
    """What was said must be printable: a lone surrogate is not, in any encoding."""
    try:
        text.encode()
    except UnicodeEncodeError:
        figures.finds.append(f"case {number}: a message that cannot be written: {text[:80]!a}")


@contextlib.contextmanager
def _descriptors_watched(figures: Figures, number: int) -> Iterator[None]:
    """What compiled libraries write past Python reaches a terminal as it is: nothing in it may be obeyed there."""
    with tempfile.TemporaryFile() as seen:
        before = [os.dup(descriptor) for descriptor in (1, 2)]
        try:
            for descriptor in (1, 2):
                os.dup2(seen.fileno(), descriptor)
            yield
        finally:
            for descriptor, own in zip((1, 2), before, strict=True):
                os.dup2(own, descriptor)
                os.close(own)
        seen.seek(0)
        text = seen.read().decode("utf-8", "replace")
    if raw_characters(text):
        figures.finds.append(f"case {number}: raw characters on a file descriptor: {text[:120]!a}")


def raw_characters(text: str) -> list[str]:
    """Return the characters of an output that a terminal would obey."""
    return _RAW.findall(text)


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    def ring(_: int, __: FrameType | None) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def main() -> int:
    """Print the figures of all doors, or of some."""
    import argparse
    import sys

    sys.path.insert(0, str(Path(__file__).parents[1]))
    os.environ.setdefault("TOKENIZERS_LOG", "warn")  # it is read when the library is imported
    from doors import DOORS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="cases at each door")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--door", choices=sorted(DOORS), action="append")
    parser.add_argument("--json", type=Path, help="write the finds to this file as well")
    options = parser.parse_args()
    print(HEADING)
    found: dict[str, list[str]] = {}
    for name in options.door or DOORS:
        figures = fuzz(name, DOORS[name], count=options.count, seed=options.seed)
        print(figures, flush=True)
        found[name] = figures.finds
        for find in figures.finds[:20]:
            print(f"    {find}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))
    return int(any(found.values()))


if __name__ == "__main__":
    raise SystemExit(main())
