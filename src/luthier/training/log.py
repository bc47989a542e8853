"""The training log, ``log.jsonl``: one line for each step, and one for each validation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from luthier.files.atomic import write_atomically
from luthier.files.jsonl import append_lines, read_until_torn

Line: TypeAlias = dict[str, float | int | str | None]


class TrainingLog:
    """Appends lines to the log; when a killed run goes on, the lines after its checkpoint are removed.

    Args:
        path: The path of the file.
        step: The step of the checkpoint; 0 for none.
        validated: The step of its latest validation; 0 for none.
        also: Called with every line that is written.
    """

    def __init__(
        self, path: Path, *, step: int, validated: int = 0, also: Callable[[Line], None] = lambda _: None
    ) -> None:
        self.path = path
        self._also = also
        kept = [line for line in read_log(path) if _step(line) <= (validated if "validation_score" in line else step)]
        # In one piece: a kill here must not lose the lines before the checkpoint.
        write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept))

    def append(self, line: Line) -> None:
        """Write one line and hand it to the operating system."""
        append_lines(self.path, [json.dumps(line)])
        self._also(line)


def _step(line: Line) -> int:
    return int(line["step"] or 0)


def read_log(path: Path) -> list[Line]:
    """Read a training log; a last line that a kill cut in half is left out."""
    return read_until_torn(path, json.loads)


def validation_scores(path: Path, *, higher_is_better: bool) -> tuple[float, ...]:
    """Return by what the best weights were chosen at each validation, first to last, higher is better."""
    sign = 1 if higher_is_better else -1
    return tuple(
        float(line["chosen_by"] or 0) if "chosen_by" in line else sign * float(line["validation_score"] or 0)
        for line in read_log(path)
        if "validation_score" in line
    )


def target_score_at(path: Path, step: int | None, *, higher_is_better: bool) -> float | None:
    """Return the target's validation score after a step, higher is better; None where it was not measured then."""
    sign = 1 if higher_is_better else -1
    found = (line for line in read_log(path) if "validation_score" in line and line["step"] == step)
    return next((sign * float(line["validation_score"] or 0) for line in found), None)


def logged_peaks(path: Path) -> tuple[int | None, ...]:
    """Return the peak memory in bytes at each step of a training log, whichever process took it; None if unknown."""
    peaks = [line["memory_bytes"] for line in read_log(path) if "memory_bytes" in line]
    return tuple(int(peak) if peak is not None else None for peak in peaks)
