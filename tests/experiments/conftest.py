"""One finished comparison of each kind of model, shared by the tests that only read it."""

from __future__ import annotations

import pytest

from luthier.experiments.compare import compare
from small_job import Done, comparison, write_job


@pytest.fixture(scope="session", params=["llama", "t5"])
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp(f"compare-{request.param}")
    job = write_job(folder / "job")
    config = comparison(request.param, job, folder / "runs")
    return Done(request.param, job, config, compare(config))
