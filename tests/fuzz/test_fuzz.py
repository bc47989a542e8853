"""Hostile inputs at every door: no traceback, and nothing takes longer than ten seconds."""

from __future__ import annotations

import pytest
from doors import DOORS
from fuzzing import fuzz

QUICK = {"templates": 60, "chat templates": 20, "YAML": 60, "models": 12, "score": 40, "data": 40, "terminal": 20}


ENTRIES = list(DOORS)


@pytest.mark.parametrize("door", ENTRIES)
def test_a_few_hostile_inputs(door: str) -> None:
    figures = fuzz(door, DOORS[door], count=QUICK[door], seed=0)
    assert not figures.finds, "\n".join(figures.finds)


@pytest.mark.slow
@pytest.mark.parametrize("door", ENTRIES)
def test_thousands_of_hostile_inputs(door: str, capsys: pytest.CaptureFixture[str]) -> None:
    figures = fuzz(door, DOORS[door], count=QUICK[door] * 10, seed=1)
    with capsys.disabled():
        print(f"\n{figures}")
    assert not figures.finds, "\n".join(figures.finds)
