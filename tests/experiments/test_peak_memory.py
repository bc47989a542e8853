"""An arm's peak memory is its own, whatever was compared before it in the same process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from luthier.kernels.peak_memory import measures_resident_memory
from luthier.results.records import read_costs

PEAKS = """
import sys
import luthier.report.page
from luthier.cli import main
luthier.report.page.figures = lambda *_, **__: []  # drawn after all is measured
sys.argv = ["luthier", "compare", *sys.argv[1:]]
main()
"""
SHORT = (
    *("--device", "cpu"),
    *("--set", "training.steps=3", "--set", "training.validations=1", "--set", "training.validation_examples=8"),
    *("--set", "data.test=8", "--set", "evaluation.retain_examples=2", "--set", "evaluation.resamples=100"),
)


def peaks(out: Path, arms: str, *more: str) -> dict[str, int]:
    """Peak memory by arm, of a comparison in a process of its own."""
    command = [sys.executable, "-c", PEAKS, "--arms", arms, "--runs", str(out), "--name", "run", *SHORT, *more]
    subprocess.run(command, capture_output=True, timeout=280, check=True)
    costs = read_costs(out / "run").arms
    return {name: arm.peak_memory_bytes or 0 for name, arm in costs.items()}


@pytest.mark.slow
def test_an_arm_after_another_takes_what_it_takes_alone(tmp_path: Path) -> None:
    if not measures_resident_memory():
        pytest.skip("this system cannot measure the peak of a part of a process")
    alone = peaks(tmp_path / "lora", "lora") | peaks(tmp_path / "zero", "zero_shot")
    together = peaks(tmp_path / "all", "full,lora,zero_shot")
    workers = peaks(tmp_path / "workers", "full,lora,zero_shot", "--workers", "2")
    for name, peak in alone.items():
        assert together[name] == pytest.approx(peak, rel=0.1), f"{name} after others"
        assert workers[name] == pytest.approx(peak, rel=0.1), f"{name} in a worker"
