"""Predictions side by side, small enough to be carried by one page."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.errors import LuthierError
from luthier.files.jsonl import numbered_lines
from luthier.metrics.prediction_log import read_predictions
from luthier.records import Prediction
from luthier.results.records import RunResults

MOST_BYTES = 7_000_000
"""Bytes of predictions inside a page; what does not fit stays in the logs, and the page says so."""
LONGEST_PROMPT = 4_000
LONGEST_ANSWER = 2_000


@dataclass(frozen=True, slots=True)
class SideBySide:
    """What the page browses.

    Attributes:
        rows: For each example ``id, template, prompt, targets, choice`` and ``answers``, one for each arm or ``None``;
            of an arm with several training runs a list of them.
        total: Examples in the logs; more than ``rows`` when they did not all fit.
        gaps: What could not be read.
    """

    rows: list[dict[str, Any]]
    total: int
    gaps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Logs:
    """The predictions of every training run of every arm by id (empty where there are none), and what is lost."""

    runs: dict[str, tuple[dict[str, Prediction], ...]]
    gaps: tuple[str, ...]

    @property
    def arms(self) -> dict[str, dict[str, Prediction]]:
        """Those of each arm's first run."""
        return {arm: runs[0] for arm, runs in self.runs.items()}


def read_logs(run: Path, results: RunResults) -> Logs:
    """Read the log of every run of every arm; one that is missing or damaged is a gap."""
    gaps: list[str] = []
    found = {}
    for arm in results.arms:
        places = [(f"{arm.name}, seed {one.seed},", one.predictions) for one in arm.per_seed]
        places = places or [(arm.name, arm.predictions)]
        found[arm.name] = tuple(_log(run, name, place, gaps) for name, place in places)
    return Logs(found, tuple(gaps))


def side_by_side(run: Path, read: Logs, *, most_bytes: int = MOST_BYTES) -> SideBySide:
    """Lay the answers of all arms beside one another, in the order of the examples."""
    gaps = list(read.gaps)
    logs = [log for runs in read.runs.values() for log in runs]
    sizes = [len(runs) for runs in read.runs.values()]
    examples = _examples(run, gaps)
    ids = list(dict.fromkeys([*examples, *(key for log in logs for key in log)]))
    rows: list[dict[str, Any]] = []
    spent = 0
    for key in ids:
        answers = [log.get(key) for log in logs]
        if not any(answers):
            continue
        row = _row(key, examples.get(key, {}), answers, sizes)
        # Brackets are embedded as six-character escapes, so the written form is what counts.
        spent += len(json.dumps(row, ensure_ascii=False).replace("<", "\\u003c").encode("utf-8", "backslashreplace"))
        if spent > most_bytes:
            break
        rows.append(row)
    total = sum(any(key in log for log in logs) for key in ids)
    return SideBySide(rows, total, tuple(gaps))


def _log(run: Path, arm: str, place: str, gaps: list[str]) -> dict[str, Prediction]:
    if not place:
        return {}
    try:
        return {prediction.id: prediction for prediction in read_predictions(run / place)}
    except LuthierError as fault:
        gaps.append(f"Predictions of {arm} are left out. {fault}")
        return {}


def _examples(run: Path, gaps: list[str]) -> dict[str, Mapping[str, Any]]:
    path = run / "predictions" / "examples.jsonl"
    try:
        examples = [json.loads(line) for _, line in numbered_lines(path)]
        return {str(example["id"]): example for example in examples}
    except OSError:
        gaps.append(f"Prompts are left out: {path.name} is not there.")
    except (ValueError, KeyError, TypeError):
        gaps.append(f"Prompts are left out: {path.name} is damaged.")
    return {}


def _row(
    key: str, example: Mapping[str, Any], answers: Sequence[Prediction | None], sizes: Sequence[int]
) -> dict[str, Any]:
    """Return what the page shows of an example; ``sizes`` are the numbers of runs of the arms, in order."""
    known = next(answer for answer in answers if answer)
    texts = iter([_clip(answer.text, LONGEST_ANSWER) if answer else None for answer in answers])
    by_arm = [list(itertools.islice(texts, size)) for size in sizes]
    return {
        "id": key,
        "template": str(example.get("template", "")),
        "prompt": _clip(str(example.get("prompt", "")), LONGEST_PROMPT),
        "targets": [_clip(target, LONGEST_ANSWER) for target in known.targets],
        "choice": bool(known.choices),
        "answers": [own if len(own) > 1 else own[0] for own in by_arm],
    }


def _clip(text: str, most: int) -> str:
    hidden = len(text) - most
    return text if hidden <= 0 else f"{text[:most]} … ({hidden:,} more characters)"
