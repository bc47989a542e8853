"""Every error that a user can cause.

    LuthierError            what is wrong, where, and how to fix it
    ├── ConfigError         a configuration file, key or flag
    ├── DataError           a file of rows: missing, unreadable, malformed
    ├── TaskError           a task YAML or one of its templates
    ├── ModelError          a model folder, a tokenizer or an adapter
    ├── TrainingError       training cannot start or cannot go on
    │   └── DivergenceError     its loss or its weights are no numbers any more
    ├── StoreError          the run store: read-only, full, damaged
    ├── WorkerError         a worker process of a comparison that died
    ├── ResourceError       memory, or room on a disk, that ran out
    └── Faults              several of the above, reported together

The command line prints ``str(error)`` without a traceback and exits with code 2. A broken invariant of
Luthier itself is an ``assert``, never one of these.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator, Sequence


class LuthierError(Exception):
    """An error that the user can fix.

    Args:
        what: One sentence that says what is wrong, with the offending value.
        where: File, line, row or key, as the user would write it (``"data.jsonl, line 7"``).
        fix: How to fix it, as an imperative sentence.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what = writable(what)
        self.where = writable(where)
        self.fix = writable(fix)
        super().__init__(str(self))

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.what,), {"where": self.where, "fix": self.fix}  # whole in another process too

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n  → {self.fix}" if self.fix else head


def writable(text: str) -> str:
    r"""Return a text that every encoding of Unicode can write: half of a surrogate pair is its escape, ``\ud800``.

    JSON can hold one (``"\ud800"``), and Python makes one of each byte of a file's name that is no UTF-8.
    """
    return text.encode("utf-8", "backslashreplace").decode()


class ConfigError(LuthierError):
    """A configuration file, key or flag is wrong."""


class DataError(LuthierError):
    """A file of rows cannot be read, or a row in it cannot be used."""


class TaskError(LuthierError):
    """A task YAML, or one of its templates, is wrong."""


class ModelError(LuthierError):
    """A model folder, a tokenizer or an adapter cannot be used."""


class TrainingError(LuthierError):
    """Training cannot start, or cannot go on."""


class DivergenceError(TrainingError):
    """The loss or the weights of a training are not finite: other trainings may go on."""


class NoSignalError(DivergenceError):
    """Most steps of a training on rewards have nothing to learn from: other trainings may go on."""


class StoreError(LuthierError):
    """The run store cannot be read or written."""


class WorkerError(LuthierError):
    """A worker process of a comparison died repeatedly."""


class ResourceError(LuthierError):
    """Memory, or room on a disk, ran out."""


class Faults(LuthierError):
    """Several faults found in one pass, so that the user can fix them all at once.

    Args:
        what: What the faults have in common (``"3 rows of data.jsonl cannot be used"``).
        faults: The faults, in the order in which they occur in the file.
        shown: How many of them are printed; the rest are counted.
    """

    def __init__(self, what: str, faults: Sequence[LuthierError], *, shown: int = 10) -> None:
        self.faults = tuple(faults)
        self.shown = shown
        super().__init__(what)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.what, self.faults), {"shown": self.shown}

    def __str__(self) -> str:
        lines = [self.what + ":"]
        for fault in self.faults[: self.shown]:
            lines.append("  - " + str(fault).replace("\n", "\n    "))
        hidden = len(self.faults) - self.shown
        if hidden > 0:
            lines.append(f"  … and {hidden} more")
        return "\n".join(lines)


def raise_faults(what: str, faults: Sequence[LuthierError]) -> None:
    """Raise nothing, the only fault, or all of them together."""
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise Faults(what, faults)


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its class where it has none."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def did_you_mean(name: str, known: Iterable[str], *, shown: Iterable[str] | None = None) -> str:
    """Return ``"Did you mean 'x'? Known: a, b, x."`` for an unknown name.

    Args:
        name: The name.
        known: Those that there are.
        shown: Those that are listed, where there are too many for a reader; all of them when not given.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f"Did you mean '{close[0]}'? " if close else ""
    return f"{hint}Known: {listed(names if shown is None else sorted(shown))}."


def listed(names: Iterable[str], shown: int = 80) -> str:
    """Return names with commas between them; of a long list the first, and how many more there are."""
    names = list(names)
    rest = f" … and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + rest


@contextlib.contextmanager
def collecting(faults: list[LuthierError]) -> Iterator[None]:
    """Append an error to ``faults`` and continue, so that all of them are reported at once."""
    try:
        yield
    except LuthierError as fault:
        faults.append(fault)
