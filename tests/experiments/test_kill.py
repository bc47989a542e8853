"""A comparison that is killed anywhere goes on to the same bits."""

from __future__ import annotations

from pathlib import Path

import pytest

from killing import STAGES, kills, outcome
from tiny_models import tiny_folder


@pytest.mark.slow
def test_killed_comparisons_end_as_the_uninterrupted_one(tmp_path: Path) -> None:
    seen = list(kills(tmp_path, tiny_folder("llama"), times=2, seed=1))
    compared = outcome(tmp_path / "uninterrupted")
    assert any(name.endswith("/results.json") for name in compared)
    assert sum(name.endswith(".safetensors") for name in compared) == 4, "weights and reference logits of two arms"
    assert [kill.stage for kill in seen] == [*STAGES] * 2
    for kill in seen:
        assert kill.differing == (), kill
        assert 0 < kill.at < kill.total
