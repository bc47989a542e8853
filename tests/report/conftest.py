"""A finished run that the tests of this package share, and its report."""

from __future__ import annotations

import pytest

import example_run
from luthier.report.page import write_report


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> example_run.Reported:
    run = tmp_path_factory.mktemp("report") / "run"
    results = example_run.build(run)
    page = write_report(run)
    return example_run.Reported(
        run, results, page.read_text(encoding="utf-8"), (run / "report.md").read_text(encoding="utf-8")
    )
