"""Peak memory is that of what is measured, and not of what the process did before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from luthier.kernels import peak_memory
from luthier.kernels.peak_memory import greatest, measures_resident_memory, peak_bytes, reset_peak

CPU = torch.device("cpu")
MIB = 2**20

ONE_AFTER_ANOTHER = """
import torch
from luthier.kernels.allocator import keep_freed_memory
from luthier.kernels.peak_memory import peak_bytes, reset_peak
keep_freed_memory()
cpu = torch.device("cpu")

def peak(mebibytes):
    # Many blocks beside small ones that stay, as training allocates them: the heap cannot simply be cut off.
    reset_peak(cpu)
    blocks, kept = [], []
    for _ in range(mebibytes):
        blocks.append(torch.zeros(2**18))
        kept.append(bytearray(100))
    return peak_bytes(cpu), kept

small, one = peak(20)
large, two = peak(400)
again, three = peak(20)
print(small, large, again)
"""


@pytest.fixture
def _measured() -> None:
    if not measures_resident_memory():
        pytest.skip("this system cannot measure the peak of a part of a process")


def run(program: str) -> list[int]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    return [int(word) for word in done.stdout.split()]


@pytest.mark.usefixtures("_measured")
def test_what_was_freed_before_does_not_count() -> None:
    small, large, again = run(ONE_AFTER_ANOTHER)
    assert large > small + 350 * MIB
    assert again < small + 20 * MIB, "the large one before it is not in it"


@pytest.mark.parametrize("lacking", ["_CLEAR", "_STATUS"])
def test_what_cannot_be_measured_is_none(lacking: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(peak_memory, lacking, tmp_path / "none" / "here")
    measures_resident_memory.cache_clear()
    try:
        reset_peak(CPU)
        assert peak_bytes(CPU) is None
    finally:
        measures_resident_memory.cache_clear()


def test_an_allocator_that_keeps_what_is_freed_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    freed: list[torch.Tensor] = []
    real = torch.empty

    def keeping(size: int, *, dtype: torch.dtype) -> torch.Tensor:
        freed.append(real(size, dtype=dtype))
        return freed[-1]

    monkeypatch.setattr(torch, "empty", keeping)
    measures_resident_memory.cache_clear()
    try:
        assert peak_bytes(CPU) is None
    finally:
        measures_resident_memory.cache_clear()


def test_the_peak_over_processes_is_known_only_if_all_are() -> None:
    assert greatest(3, 5, 4) == 5
    assert greatest(3, None) is None
    assert greatest() is None
