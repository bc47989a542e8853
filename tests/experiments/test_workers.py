"""Workers: a comparison run by several processes gives the same bits, and survives the death of any of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.config.compare import CompareConfig
from luthier.errors import ConfigError, DataError, Faults, LuthierError, WorkerError
from luthier.experiments import workers as worker_pool
from luthier.experiments.compare import compare
from luthier.experiments.fault_messages import fault_from_json, fault_to_json
from luthier.experiments.units import Unit
from small_job import Done, comparison, write_job


@pytest.fixture
def pythonpath(monkeypatch: pytest.MonkeyPatch, all_passes: None) -> None:
    """Let worker processes import what this process imports; both ask the clock as often."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))


def test_two_workers_give_the_bits_of_one_process(
    done: Done, tmp_path: Path, pythonpath: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert torch.get_num_threads() == 1
    two = done.config.model_copy(update={"runs": tmp_path / "runs", "workers": 2})
    run = compare(two)
    assert run.name == done.run.name, "the number of workers is no part of what a run is"
    assert (run / "results.json").read_bytes() == (done.run / "results.json").read_bytes()
    said = capsys.readouterr().err
    assert "full: training" in said, "what workers say is repeated"
    before = (run / "results.json").read_bytes()
    assert compare(two) == run
    assert (run / "results.json").read_bytes() == before
    assert "training" not in capsys.readouterr().err, "nothing is done again"


def longer(tmp_path: Path, **changes: Any) -> CompareConfig:
    """A comparison whose training takes some seconds, checkpointed at every step."""
    job = write_job(tmp_path / "job")
    training = {"steps": 60, "batch_size": 4, "checkpoint_seconds": 0}
    lora = {"name": "lora", "method": "lora", "settings": {"rank": 4, "dropout": 0.1}}
    settings = {"arms": ["zero_shot", lora], "training": training, "retain": []} | changes
    return comparison("llama", job, tmp_path / "runs", **settings)


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_nothing_differs(
    tmp_path: Path, pythonpath: None, capsys: pytest.CaptureFixture[str]
) -> None:
    config = longer(tmp_path)
    whole = (compare(config.model_copy(update={"runs": tmp_path / "whole"})) / "results.json").read_bytes()
    killed = threading.Event()

    def kill_once() -> None:
        """Kill the worker that trains, once it has written a checkpoint."""
        while not killed.is_set():
            for folder in (tmp_path / "runs" / "store" / "models").glob("*.work/step-*"):
                if int(folder.name.removeprefix("step-")) >= 5:
                    os.kill(_holder(folder.parent.with_suffix(".lock")), signal.SIGKILL)
                    killed.set()
                    return
            time.sleep(0.005)

    watcher = threading.Thread(target=kill_once)
    watcher.start()
    try:
        run = compare(config.model_copy(update={"workers": 2}))
    finally:
        happened = killed.is_set()
        killed.set()
        watcher.join()
    assert happened, "the training ended before it could be killed"
    assert "its worker died (exit code -9); another one goes on with it" in capsys.readouterr().err
    assert (run / "results.json").read_bytes() == whole


def _holder(lock: Path) -> int:
    """The process that holds a lock: it has the lock's file open."""
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if link.readlink() == lock:
                return int(link.parts[2])
        except OSError:  # a process that has ended, or a file that it has closed
            continue
    raise AssertionError(f"nobody holds {lock}")


def test_a_fault_in_a_worker_is_raised_as_it_is(tmp_path: Path, pythonpath: None) -> None:
    """A loss that is not finite: seen in the worker alone, while it trains."""
    config = longer(tmp_path, arms=[{"name": "full", "method": "full", "training": {"learning_rate": 1e30}}])
    with pytest.raises(LuthierError, match="not finite") as raised:
        compare(config.model_copy(update={"workers": 2}))
    assert "arm 'full'" in raised.value.where
    assert raised.value.fix


def fake_worker(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Put another program in the place of every worker."""
    real: Callable[..., subprocess.Popen[str]] = subprocess.Popen

    def popen(_: Any, **options: Any) -> subprocess.Popen[str]:
        return real([sys.executable, "-c", program], **options)

    monkeypatch.setattr(subprocess, "Popen", popen)


DYING = """
import sys
sys.stdin.readline()
print('{"type": "ready"}', flush=True)
sys.stdin.readline()
sys.exit(7)
"""


def test_a_unit_at_which_workers_keep_dying_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_worker(monkeypatch, DYING)
    with pytest.raises(WorkerError, match=r"a worker process died at 'train lora, seed 0' \(exit code 7\)"):
        worker_pool.run_in_workers(CompareConfig(), [Unit("train", "lora", 0)], (), count=1, threads=1)


def test_a_worker_that_cannot_start_is_not_started_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_worker(monkeypatch, "import sys; sys.exit(3)")
    with pytest.raises(WorkerError, match="died before it was ready"):
        worker_pool.run_in_workers(CompareConfig(), [Unit("evaluate", "zero_shot")], (), count=2, threads=1)


def test_faults_are_the_same_after_a_journey_as_json() -> None:
    one = ConfigError("what", where="here", fix="Do it.")
    several = Faults("two faults", [one, DataError("other")])
    for fault in (one, several):
        found = fault_from_json(fault_to_json(fault))
        assert type(found) is type(fault)
        assert str(found) == str(fault)
