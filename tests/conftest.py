"""Fixtures that the tests of all packages share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tests share the processors among processes; threads of each besides would wait for one another."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real public data, which is not part of the project."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"real data not present at {folder}")
    return folder


@pytest.fixture(scope="session")
def stories260k() -> Path:
    """A real pretrained model of 260,032 parameters, which is not part of the project."""
    folder = SHARED / "models" / "stories260k"
    if not folder.is_dir():
        pytest.skip(f"real model not present at {folder}")
    return folder
