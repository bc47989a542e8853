"""``kill -9`` at random moments: the run goes on and ends with the same bytes.

``KILLS=10 SEED=7 pytest -m slow tests/training/test_killed_training.py`` kills ten times at other moments.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from luthier.training.log import read_log

KILLS = int(os.environ.get("KILLS", "3"))
SEED = int(os.environ.get("SEED", "0"))
STEPS = 60


def launch(work: Path, adapter: Path, method: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(__file__).with_name("killed.py")), str(work), str(adapter), method, str(STEPS)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finish(work: Path, adapter: Path, method: str) -> float:
    """Let it run to its end; return the seconds that training took."""
    process = launch(work, adapter, method)
    assert process.stdout is not None
    process.stdout.readline()
    started = time.monotonic()
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return time.monotonic() - started


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_killed_training_ends_with_the_same_bytes(method: str, tmp_path: Path) -> None:
    seconds = finish(tmp_path / "whole", tmp_path / "whole-adapter", method)
    draw = random.Random(SEED)
    steps_at_kill = []
    for _ in range(KILLS):
        with launch(tmp_path / "killed", tmp_path / "killed-adapter", method) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "loaded\n"
            time.sleep(draw.uniform(0, seconds / KILLS))
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
        steps_at_kill.append(len(read_log(tmp_path / "killed" / "log.jsonl")))
    print(f"{method}: lines of the log at each kill {steps_at_kill}")
    finish(tmp_path / "killed", tmp_path / "killed-adapter", method)
    assert contents(tmp_path / "killed-adapter") == contents(tmp_path / "whole-adapter")
    whole, killed = (
        [line["loss"] for line in read_log(tmp_path / name / "log.jsonl") if "loss" in line]
        for name in ("whole", "killed")
    )
    assert killed == whole
    assert len(whole) == STEPS
