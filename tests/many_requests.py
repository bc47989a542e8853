"""An evaluation of very many requests in a process of its own: measured from outside, killed, and completed.

Half of the requests are choices, half are free text. What was answered is read from the files that it writes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from luthier.metrics.prediction_log import read_predictions
from luthier.records import Prediction
from small_job import write_job

TASKS = ("colour", "echo")
_PATIENCE = 600.0


@dataclass(frozen=True)
class Evaluation:
    """What is run again and again: each time into a store of its own, or into one where a killed one was at work.

    Attributes:
        job: Folder of the tasks.
        model: Folder of the model.
        requests: In all.
        batch_tokens: Tokens in one forward pass.
    """

    job: Path
    model: Path
    requests: int
    batch_tokens: int

    def start(self, out: Path) -> subprocess.Popen[bytes]:
        """Start ``luthier eval`` with one thread; what it says is appended to a file beside its store."""
        command = [sys.executable, "-c", "from luthier.cli import main; main()", "eval", "--model", str(self.model)]
        command += ["--tasks", ",".join(str(self.job / f"{name}.yaml") for name in TASKS), "--runs", str(out)]
        command += ["--device", "cpu", "--set", "evaluation.resamples=100"]
        command += ["--set", f"evaluation.batch_tokens={self.batch_tokens}"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        with said(out).open("ab") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


@dataclass(frozen=True)
class MeasuredProcess:
    """The measurements of a run that ended.

    Attributes:
        peak_bytes: Peak resident memory in bytes.
        seconds: Wall seconds from start to end.
    """

    peak_bytes: int
    seconds: float


def write_evaluation(folder: Path, model: Path, requests: int, *, batch_tokens: int = 8192) -> Evaluation:
    """Write the rows and tasks of an evaluation."""
    return Evaluation(write_job(folder, test=requests // len(TASKS)), model, requests, batch_tokens)


def said(out: Path) -> Path:
    """The file with the output of the runs that use a store."""
    return out.with_name(f"{out.name}.log")


def run(evaluation: Evaluation, out: Path) -> MeasuredProcess:
    """Run an evaluation to its end."""
    began, peak = time.monotonic(), 0
    process = evaluation.start(out)
    while process.poll() is None and time.monotonic() - began < _PATIENCE:
        peak = max(peak, _resident(process.pid))
        time.sleep(0.01)
    assert process.poll() == 0, said(out).read_text()[-4000:]
    return MeasuredProcess(peak, time.monotonic() - began)


def _resident(pid: int) -> int:
    """Bytes of memory that a process holds now; 0 where the system does not say."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def run_and_kill(evaluation: Evaluation, out: Path, when: Callable[[], bool]) -> None:
    """Start an evaluation and kill it with SIGKILL as soon as something is seen to be so."""
    began = time.monotonic()
    process = evaluation.start(out)
    while process.poll() is None and not when() and time.monotonic() - began < _PATIENCE:
        time.sleep(0.01)
    assert process.poll() is None, f"it ended before it could be killed: {said(out).read_text()[-4000:]}"
    process.kill()
    process.wait()


def logged(out: Path, task: str) -> dict[str, float]:
    """Ids that an unfinished evaluation has answered for a task, with the seconds that each took."""
    return {
        own["id"]: own["seconds"]
        for path in out.glob("store/predictions/*/partial.jsonl")
        for line in path.read_bytes().splitlines(keepends=True)
        if line.endswith(b"\n")
        for own in json.loads(line)["predictions"]
        if own["task"] == task
    }


def answers(out: Path, task: str) -> list[Prediction]:
    """The finished log of a task."""
    logs = [read_predictions(path) for path in out.glob("store/predictions/*/predictions.jsonl")]
    return next(log for log in logs if log[0].task == task)


def without_seconds(log: Sequence[Prediction]) -> list[Prediction]:
    """A log, without what a clock measured."""
    return [replace(own, seconds=0.0) for own in log]


def kept_answers(out: Path) -> list[str]:
    """Keys of all answers that were kept for later evaluations, in the order in which they were given."""
    return [line.split()[0] for path in out.glob("store/answers/*.jsonl") for line in path.read_text().splitlines()]
