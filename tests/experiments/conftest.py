"""One finished comparison of each kind of model, shared by the tests that only read it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from luthier.evaluation.latency import PASSES
from luthier.experiments.compare import compare
from small_job import Done, comparison, write_job


@pytest.fixture(scope="session", autouse=True)
def _one_pass() -> Iterator[None]:
    """What a clock measures is measured once, not nine times; the tests of the measurement itself undo it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("luthier.evaluation.latency.PASSES", 1)
        yield


@pytest.fixture
def all_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock measures as often as it does for users."""
    monkeypatch.setattr("luthier.evaluation.latency.PASSES", PASSES)


@pytest.fixture(scope="session", params=["llama", "t5"])
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp(f"compare-{request.param}")
    job = write_job(folder / "job")
    config = comparison(request.param, job, folder / "runs")
    return Done(request.param, job, config, compare(config))
