"""One finished run and one adapter, made once; every wrong command is run beside them and must leave them alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from small_job import QUICK_TRAINING, Ran, Refused, Workshop, digests, luthier, write_job
from tiny_models import tiny_folder


@pytest.fixture(scope="session", autouse=True)
def _one_pass() -> Iterator[None]:
    """What a clock measures is measured once, not nine times; the tests of the measurement itself undo it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("luthier.evaluation.latency.PASSES", 1)
        yield


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    folder = tmp_path_factory.mktemp("workshop")
    made = Workshop(write_job(folder / "job"), tiny_folder("llama"), folder / "runs", folder / "adapter")
    tuned = luthier(
        *("tune", "-m", made.model, "-t", made.job / "echo.yaml", "--arm", "lora", "--save", made.adapter),
        *("--runs", made.runs, *QUICK_TRAINING),
    )
    assert tuned.code == 0, tuned.err
    compared = luthier(*made.compare, "--arms", "zero_shot,lora", "--name", "done")
    assert compared.code == 0, compared.err
    # Known answers are not a result: every evaluation adds to them. Dates and commands are those of the last run.
    dated = ("store/answers/", "done/costs.json", "done/report.", "done/tables/")
    finished = {name: kept for name, kept in digests(made.runs).items() if not name.startswith(dated)}
    return replace(made, finished=finished)


@pytest.fixture
def job(workshop: Workshop, tmp_path: Path) -> Path:
    """A copy of the job that a test may spoil."""
    return Path(shutil.copytree(workshop.job, tmp_path / "job"))


@pytest.fixture
def model(workshop: Workshop, tmp_path: Path) -> Path:
    """A copy of the model that a test may spoil."""
    return Path(shutil.copytree(workshop.model, tmp_path / "model"))


@pytest.fixture
def refused(workshop: Workshop) -> Refused:
    """Run a wrong command: it must say what, where and what to do, exit with 2, and lose nothing."""

    def run(*arguments: object, says: tuple[str, ...]) -> Ran:
        ran = luthier(*arguments)
        print(ran.err)
        assert ran.code == 2, ran.err
        assert "Traceback" not in ran.err + ran.out
        for words in says:
            assert words in ran.err, f"{words!r} is not in: {ran.err}"
        assert "→" in ran.err, f"no advice in: {ran.err}"
        kept = digests(workshop.runs)
        assert {name: kept.get(name) for name in workshop.finished} == workshop.finished
        return ran

    return run
