"""Training computes the same numbers as when the golden losses were recorded.

Recorded with the code of commit cf797bd. A change that should not change numbers leaves ``golden_losses.json``
untouched; see ``golden_losses.py`` for how it is recorded anew.

On a machine like the one of the recording (same packages, processor and threads) every bit must be equal; elsewhere the
numbers must agree within a relative tolerance of 1e-4. The identifier of each test says which of the two it asserts.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from golden_losses import CASES, RECORDED, THREADS, fingerprint, train_case

TOLERANCE = 1e-4
GOLDEN = json.loads(RECORDED.read_text(encoding="utf-8"))
HERE = fingerprint()
DIFFERENT = sorted(key for key in HERE if HERE[key] != GOLDEN["recorded_on"].get(key))
COMPARISON = f"within {TOLERANCE}" if DIFFERENT else "to the bit"


@pytest.mark.parametrize("case", CASES, ids=[f"{case}, {COMPARISON}" for case in CASES])
def test_losses_and_gradient_norms_are_the_recorded_ones(case: str, tmp_path: Path) -> None:
    assert torch.get_num_threads() == THREADS
    expected = [(float.fromhex(step["loss"]), float.fromhex(step["gradient_norm"])) for step in GOLDEN["losses"][case]]
    found = train_case(case, tmp_path)
    if DIFFERENT:
        flat = [number for step in expected for number in step]
        message = f"compared within {TOLERANCE} only, because {', '.join(DIFFERENT)} differ from the recording"
        assert [number for step in found for number in step] == pytest.approx(flat, rel=TOLERANCE), message
    else:
        assert found == expected, "compared to the bit, because this machine is like that of the recording"


def test_every_case_is_recorded_and_nothing_else() -> None:
    assert tuple(GOLDEN["losses"]) == CASES
    assert all(len(steps) == 4 for steps in GOLDEN["losses"].values())


def test_training_moves_every_recorded_loss() -> None:
    """A case whose weights do not move, or whose losses repeat, would prove little."""
    for case, steps in GOLDEN["losses"].items():
        assert len({step["loss"] for step in steps}) == 4, case
        # A sliding window hides the whole prefix from one batch of the Mistral: its gradient is zero there.
        assert sum(float.fromhex(step["gradient_norm"]) > 0 for step in steps) >= 3, (
            case
        )  # a window may hide a prefix once
