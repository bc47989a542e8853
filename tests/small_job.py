"""A whole job in miniature: tasks of a few rows that tiny models can hold, and the command line run in this process."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from unittest import mock

import yaml

from luthier.config.compare import CompareConfig
from luthier.config.evaluate import EvaluateConfig
from luthier.config.merge import MergeConfig
from luthier.config.tune import TuneConfig
from luthier.results.records import RunResults, read_results
from tiny_models import tiny_folder

ANIMALS = ("cat", "dog", "hen", "cow", "fox", "owl")
COLOURS = ("red", "blue", "green", "black", "white")
QUICK_TRAINING = (
    *("--device", "cpu"),
    *("--set", "training.steps=2"),
    *("--set", "training.batch_size=4"),
    *("--set", "training.validations=1"),
)
"""Flags that make a training short."""
QUICK_EVAL = ("--device", "cpu", "--set", "evaluation.resamples=100")
"""Flags that make an evaluation short."""
QUICK = (*QUICK_TRAINING, "--set", "evaluation.resamples=100")
"""Flags that make a comparison short."""

ECHO: dict[str, Any] = {
    "name": "echo",
    "source": {"train": "train.jsonl", "validation": "validation.jsonl", "test": "test.jsonl"},
    "id": "id",
    "input": "text",
    "target": "{{ answer }}",
    "metrics": ["token_f1", "exact_match"],
    "primary": "token_f1",
    "max_new_tokens": 4,
    "few_shot": {"shots": 2},
    "templates": [{"name": "plain", "prompt": "{{ text }}\nanimal:"}],
}
COLOUR: dict[str, Any] = {
    "name": "colour",
    "source": {"train": "train.jsonl", "validation": "validation.jsonl", "test": "test.jsonl"},
    "id": "id",
    "input": "text",
    "target": "{{ colour }}",
    "choices": list(COLOURS),
    "chance": 0.2,
    "metrics": ["accuracy"],
    "templates": [{"name": "plain", "prompt": "{{ text }}\ncolour:"}],
}


def rows(split: str, count: int) -> list[dict[str, str]]:
    """Rows such as ``{"id": "test-0", "text": "test 0: a red cat sat", "answer": "cat", "colour": "red"}``."""
    made = []
    for number in range(count):
        animal, colour = ANIMALS[number % len(ANIMALS)], COLOURS[number % len(COLOURS)]
        text = f"{split} {number}: a {colour} {animal} sat"
        made.append({"id": f"{split}-{number}", "text": text, "answer": animal, "colour": colour})
    return made


def write_rows(path: Path, content: Sequence[Mapping[str, Any]]) -> Path:
    """Write JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    return path


def write_task(folder: Path, spec: Mapping[str, Any] = ECHO, **changes: Any) -> Path:
    """Write a task's YAML; a key changed to None is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{spec['name']}.yaml"
    kept = {key: value for key, value in {**spec, **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump(kept, sort_keys=False), encoding="utf-8")
    return path


def write_job(folder: Path, *, train: int = 12, validation: int = 3, test: int = 6) -> Path:
    """Write the rows, the two tasks and a plain text of a job into a folder."""
    for split, count in (("train", train), ("validation", validation), ("test", test)):
        write_rows(folder / f"{split}.jsonl", rows(split, count))
    write_task(folder, ECHO)
    write_task(folder, COLOUR)
    (folder / "text.txt").write_text("the cat sat on the red mat.\n\na dog and a fox sat by the sea.\n")
    return folder


@dataclass(frozen=True)
class Ran:
    """What a command said."""

    code: int
    out: str
    err: str


def luthier(*arguments: object) -> Ran:
    """Run a command line in this process, from the same entry as the installed program."""
    from luthier.cli import main

    out, err = io.StringIO(), io.StringIO()
    argv = ["luthier", *(str(argument) for argument in arguments)]
    with mock.patch.object(sys, "argv", argv), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
            code = 0
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else int(left.code is not None)
    return Ran(code, out.getvalue(), err.getvalue())


def digests(folder: Path) -> dict[str, str]:
    """Digest of every file below a folder, by its path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


Refused: TypeAlias = Callable[..., Ran]


@dataclass(frozen=True)
class Workshop:
    """A finished job.

    Attributes:
        job: Rows, ``echo.yaml``, ``colour.yaml`` and ``text.txt``.
        model: A tiny decoder.
        runs: Folder of the store, and of the finished run ``done``.
        adapter: A LoRA adapter that ``tune`` wrote.
        finished: Digest of every file that the finished run and ``tune`` left in ``runs``.
    """

    job: Path
    model: Path
    runs: Path
    adapter: Path
    finished: dict[str, str] = field(default_factory=dict)

    @property
    def compare(self) -> tuple[object, ...]:
        """A comparison that is right; flags after it win over its own."""
        return (
            *("compare", "--model", self.model, "--task", self.job / "echo.yaml", "--arms", "zero_shot"),
            *("--retain", "none", "--retention-text", "none", "--runs", self.runs, *QUICK),
        )


@dataclass(frozen=True)
class Done:
    """A finished comparison."""

    kind: str
    job: Path
    config: CompareConfig
    run: Path

    @property
    def results(self) -> RunResults:
        """What it found."""
        return read_results(self.run)


def comparison(kind: str, job: Path, out: Path, **changes: Any) -> CompareConfig:
    """Zero shots, two shots, full and LoRA; a choice task and a plain text are retained."""
    settings: dict[str, Any] = {
        "model": str(tiny_folder(kind)),
        "task": str(job / "echo.yaml"),
        "arms": [
            "zero_shot",
            "2_shot",
            {"name": "full", "method": "full", "training": {"learning_rate": 3e-3}},
            {"name": "lora", "method": "lora", "settings": {"rank": 4, "dropout": 0.1}},
        ],
        "retain": [str(job / "colour.yaml")],
        "retention_text": str(job / "text.txt"),
        "runs": out,
        "device": "cpu",
        "training": {"steps": 8, "batch_size": 4, "validations": 2},
        "evaluation": {"resamples": 100},
    }
    return CompareConfig.model_validate({**settings, **changes})


def tuning(config: CompareConfig, **changes: Any) -> TuneConfig:
    """Return the settings that train the first arm of a comparison as the comparison trains it."""
    shared = config.model_dump(
        include={"model", "task", "runs", "seed", "device", "training", "decoding"}, exclude_unset=True
    )
    return TuneConfig.model_validate({**shared, "arm": config.arms[0], "data": _section(config, "data"), **changes})


def evaluation(config: CompareConfig, **changes: Any) -> EvaluateConfig:
    """Return the settings that evaluate the model of a comparison on its task as the comparison evaluates it."""
    shared = config.model_dump(include={"model", "runs", "seed", "device", "decoding"}, exclude_unset=True)
    scoring = _section(config, "evaluation")
    return EvaluateConfig.model_validate({**shared, "tasks": [config.task], "evaluation": scoring, **changes})


def merging(config: CompareConfig, adapter: Path, out: Path, **changes: Any) -> MergeConfig:
    """Return the settings that merge an adapter into the model of a comparison."""
    shared = config.model_dump(include={"model", "task", "seed", "device", "decoding"}, exclude_unset=True)
    return MergeConfig.model_validate({**shared, "adapter": adapter, "out": out, **changes})


def _section(config: CompareConfig, name: str) -> dict[str, Any]:
    values: dict[str, Any] = getattr(config, name).model_dump(exclude_unset=True)
    return values
