"""Fixtures that the tests of all packages share."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_sessionstart() -> None:
    """Look for no garbage while tests are imported: there is next to none among a million objects that stay."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Leave what the imports made out of every search for garbage: each arm and each test would walk through it."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tests share the processors among processes; threads of each besides would wait for one another."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """No test cuts the power: what is written need not be on the disk before the next line runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _settled_objects_stay() -> Iterator[None]:
    """What an evaluation leaves out of the searches for garbage while it lasts would let the imports in at its end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "unfreeze", lambda: None)
        yield


@pytest.fixture(scope="module", autouse=True)
def _settled() -> None:
    """Leave what the modules of tests before have loaded out of every search for garbage, too."""
    gc.collect()
    gc.freeze()


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
