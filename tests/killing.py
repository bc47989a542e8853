"""Kill a comparison with SIGKILL at a random moment, let the same command go on, and see whether anything differs.

Progress is read from outside, from the lines that the run has written to its store, so that a kill can be aimed at
training or at evaluation and still fall at any point of a step: while it computes, or while it writes.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from luthier.experiments.execution import InProcess
from luthier.experiments.plan import Plan
from luthier.experiments.units import Unit
from small_job import digests, write_job

STAGES = ("training", "evaluation")
_JITTER = 0.03
_PATIENCE = 300.0


@dataclass(frozen=True)
class Kill:
    """One killed and finished comparison.

    Attributes:
        stage: ``training`` or ``evaluation``.
        at: Lines of that stage written when the kill came.
        total: Lines that the stage writes in all.
        differing: Files that are not the uninterrupted run's, bit for bit; empty when all is well.
    """

    stage: str
    at: int
    total: int
    differing: tuple[str, ...]


def write_comparison(folder: Path, model: Path, *, steps: int = 40) -> Path:
    """Write tasks and a configuration: no shots, full and LoRA with dropout; a choice task and a text are retained."""
    job = write_job(folder, train=24, validation=6, test=24)
    config = {
        "model": str(model),
        "task": str(job / "echo.yaml"),
        "arms": [
            "zero_shot",
            {"name": "full", "method": "full", "training": {"learning_rate": 3e-3}},
            {"name": "lora", "method": "lora", "settings": {"rank": 4, "dropout": 0.2}},
        ],
        "retain": [str(job / "colour.yaml")],
        "retention_text": str(job / "text.txt"),
        "device": "cpu",
        "training": {"steps": steps, "batch_size": 4, "validations": 4, "checkpoint_seconds": 0},
        # Every example is a batch of its own, so a kill between batches can fall anywhere.
        "evaluation": {"batch_tokens": 1, "resamples": 100},
    }
    path = folder / "compare.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


PROGRAM = """
import luthier.report.page
from luthier.cli import main
luthier.report.page.figures = lambda *_, **__: []
main()
"""
"""The command line, whose reports have no charts: nothing here looks at one, and each takes longer than a training."""


def start(config: Path, out: Path) -> subprocess.Popen[bytes]:
    """Start ``luthier compare`` in a process of its own, with one thread."""
    command = [sys.executable, "-c", PROGRAM, "compare", str(config), "--runs", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    log = (out.parent / f"{out.name}.log").open("ab")
    with log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def finish(config: Path, out: Path) -> None:
    """Run the command to its end."""
    code = start(config, out).wait(timeout=_PATIENCE)
    assert code == 0, (out.parent / f"{out.name}.log").read_text()[-4000:]


def outcome(out: Path) -> dict[str, str]:
    """Digests of what must be the same: ``results.json``, every stored weight, card and text."""
    kept = digests(out)
    return {
        name: digest
        for name, digest in kept.items()
        if name.endswith("results.json") or "/adapter/" in name or name.endswith("/result.json")
    }


def progress(out: Path, stage: str) -> int:
    """Lines that a stage has written, finished or not."""
    kinds = ("models",) if stage == "training" else ("predictions", "texts")
    names = ("log.jsonl",) if stage == "training" else ("partial.jsonl", "predictions.jsonl")
    return sum(_lines(path) for kind in kinds for name in names for path in out.glob(f"store/{kind}/*/{name}"))


def _lines(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except OSError:  # renamed or removed while we looked
        return 0


def kill_and_finish(config: Path, out: Path, stage: str, reference: Path, draw: random.Random) -> Kill:
    """Kill a fresh comparison somewhere in a stage, run the command again, and compare with the uninterrupted run."""
    total = progress(reference, stage)
    at = total
    while at == total:  # a kill that came after the stage says nothing of it
        shutil.rmtree(out, ignore_errors=True)
        at = _kill(config, out, stage, draw.randint(1, total - 1), draw.uniform(0, _JITTER))
    finish(config, out)
    expected, found = outcome(reference), outcome(out)
    differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    return Kill(stage, at, total, tuple(differing))


def _kill(config: Path, out: Path, stage: str, target: int, later: float) -> int:
    """Kill a comparison some time after a stage has written so many lines; return how many there are then."""
    process = start(config, out)
    deadline = time.monotonic() + _PATIENCE
    while process.poll() is None and progress(out, stage) < target and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(later)
    process.kill()
    process.wait()
    return progress(out, stage)


def kills(folder: Path, model: Path, *, times: int, seed: int) -> Iterator[Kill]:
    """Kill ``times`` comparisons in each stage; the first thing done is the uninterrupted run."""
    config = write_comparison(folder / "job", model)
    reference = folder / "uninterrupted"
    finish(config, reference)
    draw = random.Random(seed)
    for number in range(times):
        for stage in STAGES:
            yield kill_and_finish(config, folder / f"{stage}-{number}", stage, reference, draw)


def stop_in_the_third_part(patch: pytest.MonkeyPatch) -> None:
    """Interrupt a run in this process after the first unit of the third list of units that it executes."""
    whole, calls = InProcess.execute, list[Plan]()

    def stopping(self: InProcess, plan: Plan, units: Sequence[Unit]) -> None:
        calls.append(plan)
        if len(calls) == 3:
            whole(self, plan, units[:1])
            raise KeyboardInterrupt
        whole(self, plan, units)

    patch.setattr(InProcess, "execute", stopping)
