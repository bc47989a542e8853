"""What ``results.json`` promises: the same bits with the same threads, a stated tolerance with others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from luthier.experiments.compare import compare
from luthier.results.records import RunResults, read_costs, read_results
from small_job import comparison, write_job

SHORT = {"steps": 2, "batch_size": 4, "validations": 1}
TOLERANCE = 1e-6
"""Relative; of a token loss by the same weights in float32, as ``docs/report.md`` states it."""


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def _run(folder: Path, job: Path, threads: int) -> Path:
    torch.set_num_threads(threads)
    return compare(comparison("llama", job, folder, arms=["zero_shot", "full"], retain=[], training=SHORT))


def _losses(results: RunResults) -> tuple[float, float]:
    loss = results.arms[1].token_loss
    assert loss is not None
    return loss.before.value, loss.after.value


def test_the_run_records_its_threads_and_repeats_to_the_bit_with_the_same(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job")
    one, again, two = (_run(tmp_path / name, job, threads) for name, threads in (("a", 1), ("b", 1), ("c", 2)))
    assert (one / "results.json").read_bytes() == (again / "results.json").read_bytes()
    assert [read_results(run).threads for run in (one, two)] == [1, 2]
    assert [read_costs(run).threads for run in (one, two)] == [1, 2]
    before, _ = _losses(read_results(one))
    other, _ = _losses(read_results(two))
    assert other == pytest.approx(before, rel=TOLERANCE, abs=0)
