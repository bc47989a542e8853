"""What the README and the guides tell a reader to type runs: every command, in the order of its page, offline.

The commands are the documented ones, unchanged. They are quick because the built-in tasks have a few short rows here
(``small_library``), and a reader's own files too (``doc_files``).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from doc_files import write_benchmarks, write_files, write_published, write_run
from doc_session import Session, check_shown, read_page, run_command
from documentation import GUIDES, ROOT, Block, reading
from luthier.tasks.task_sets import task_sets
from small_library import use_library, write_small_library

NOT_RUN = {
    "make install": "CI runs it, and it needs a package registry",
    "make demo": "it is `luthier compare --workers 2`, which runs below, on all rows",
    "make test": "CI runs it",
    "source .venv/bin/activate": "the environment of these tests is another one",
    "pip install -e '.[deploy]'": "it needs a package registry; CI installs it",
    "pip install -e '.[harness]'": "it needs a package registry",
    "python -m luthier.evaluation.lm_eval run": "data sets of the hub",
    "luthier eval --model mini --tasks lm_eval:": "data sets of the hub",
    "luthier eval --model mini --adapter my-lora --tasks lm_eval:": "data sets of the hub",
    "luthier compare --model mini --task topic --retain everyday,lm_eval:": "data sets of the hub",
    "luthier curve --task dialogue_summary --sizes 50,": "the tasks have four rows here",
    "luthier compare recipes/claims/cures-": "half an hour of two cores; tests/recipes/test_claims.py reads the files",
    "luthier eval --model Helsinki-NLP/opus-mt-en-de": "a model of the hub",
}
"""Beginnings of the commands that cannot run here, and why."""
MORE = {
    "docs/metrics.md": write_run,
    "docs/report.md": write_run,
    "docs/methods.md": write_published,
    "docs/suites.md": write_benchmarks,
}
"""What the reader of one page has besides."""
DRAWN = {"README", "report"}
"""Pages whose reports have their charts; those of the others are the same, and take longer than all the rest."""
PAGES = [page for page in GUIDES if reading(page)]


def left_out(command: str) -> bool:
    return any(command.startswith(start) for start in NOT_RUN)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    library = write_small_library(tmp_path_factory.mktemp("site"))
    with pytest.MonkeyPatch.context() as patch:
        use_library(library, patch)
        # What a clock measures is measured once, not nine times.
        patch.setattr("luthier.evaluation.latency.PASSES", 1)
        yield library
    task_sets.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs(page: Path, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    if page.stem not in DRAWN:
        monkeypatch.setattr("luthier.report.page.figures", lambda *_, **__: [])
    write_files(tmp_path)
    MORE.get(page.relative_to(ROOT).as_posix(), lambda _: None)(tmp_path)
    read_page(reading(page), Session(tmp_path), left_out)


def test_what_is_left_out_is_still_documented() -> None:
    commands = [command for page in GUIDES for block in reading(page) for command in block.commands]
    gone = [start for start in NOT_RUN if not any(command.startswith(start) for command in commands)]
    assert not gone, f"no page has these commands any more; take them out of NOT_RUN: {gone}"
    assert sum(map(left_out, commands)) < len(commands) / 5


# The test itself can fail.


def test_a_command_that_fails_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("luthier tasks show no_such_task", "cat no_such_file", "cat no_such_file | luthier tasks list"):
        with pytest.raises(AssertionError, match="README"):
            run_command(command, "README.md:1")
    with pytest.raises(AssertionError, match="not be in"):
        Session(tmp_path).read(Block("README.md", 1, "python", "raise AssertionError('not be in')"))


def test_a_session_or_an_output_that_is_shown_otherwise_is_noticed(tmp_path: Path) -> None:
    session = Session(tmp_path)
    session.read(Block("README.md", 1, "pycon", ">>> 1 + 1\n3\n"))
    with pytest.raises(AssertionError, match=r"Got:\s+2"):
        session.end("README.md")
    check_shown("one … three 3\n", "one two three   4.5\n", "here")
    with pytest.raises(AssertionError, match="is printed:\none two"):
        check_shown("one three\n", "one two three\n", "here")
