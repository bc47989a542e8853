"""Ctrl-C and SIGTERM: what is done is kept, the command to go on with is said, and the same bits come out."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from killing import finish, outcome, progress, start, write_comparison
from luthier.config.compare import CompareConfig
from luthier.errors import ConfigError
from luthier.experiments.tune import tune
from luthier.files.store_contents import using_store
from luthier.signals import Terminated, raise_when_terminated, uninterrupted
from small_job import comparison, luthier, tuning, write_job
from tiny_models import tiny_folder

PATIENCE = 120.0


def stop(config: Path, out: Path, number: signal.Signals, *, steps: int) -> tuple[int, str]:
    """Start a comparison, send it a signal after some steps of training, and return its exit code and what it said."""
    process = start(config, out)
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and progress(out, "training") < steps and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(number)
    code = process.wait(timeout=PATIENCE)
    return code, (out.parent / f"{out.name}.log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_stopped_comparison_says_how_to_go_on_and_goes_on(
    number: signal.Signals, code: int, workers: int, tmp_path: Path
) -> None:
    config = write_comparison(tmp_path / "job", tiny_folder("llama"))
    text = config.read_text().replace("checkpoint_seconds: 0", "checkpoint_seconds: 9999")
    config.write_text(f"{text}workers: {workers}\n")
    whole, out = tmp_path / "whole", tmp_path / "stopped"
    finish(config, whole)
    ended, said = stop(config, out, number, steps=4)
    assert ended == code, said
    assert "Traceback" not in said
    assert re.search(r"training: stopped after step \d+ of 40; a checkpoint is kept", said)
    assert f"luthier compare {config} --runs {out}" in said.replace("-c ", "luthier ", 1)
    finish(config, out)
    assert re.search(r"training: goes on after step \d+ of 40", (tmp_path / "stopped.log").read_text())
    assert outcome(out) == outcome(whole)


def test_a_signal_waits_for_the_end_of_a_block_and_a_second_one_does_not() -> None:
    done: list[str] = []

    def steps(signals: int) -> None:
        with uninterrupted():
            for _ in range(signals):
                os.kill(os.getpid(), signal.SIGINT)
            done.append("step")
        done.append("next step")

    with pytest.raises(KeyboardInterrupt):
        steps(1)
    assert done == ["step"]
    with pytest.raises(KeyboardInterrupt):
        steps(2)
    assert done == ["step"], "the second one ended it"


def test_a_request_to_end_is_an_interruption() -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        raise_when_terminated()
        with pytest.raises(Terminated), uninterrupted():
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_no_run_lands_in_the_store(tmp_path: Path) -> None:
    for name in ("store", "Store"):
        ran = luthier("compare", "--name", name, "--runs", tmp_path)
        assert ran.code == 2
        assert "folder of the results that all runs share" in ran.err
    with using_store(tmp_path):
        pass
    inside = tmp_path / "store" / "models" / "mine"
    with pytest.raises(ConfigError, match="lies in the store"), using_store(inside):
        pass
    config = comparison("llama", write_job(tmp_path / "job"), tmp_path)
    with pytest.raises(ConfigError, match="lies in the store"):
        tune(tuning(config, arm="lora", save=inside))
    assert CompareConfig(name="stores").name == "stores"


def test_a_killed_process_is_started_with_the_default_handlers() -> None:
    """Ignored signals stay ignored: a worker's Ctrl-C is its parent's."""
    program = (
        "import os, signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from luthier.signals import uninterrupted\n"
        "with uninterrupted():\n    os.kill(os.getpid(), signal.SIGINT)\nprint('went on')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "went on\n"
