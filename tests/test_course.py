"""The lessons of the course run as they are written, each in a folder of its own: commands and Python alike."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from doc_session import Session, read_page
from documentation import COURSE, blocks
from luthier.tasks.task_sets import task_sets
from small_library import LESSON_ROWS, use_library, write_small_library

LESSONS = sorted(COURSE.glob("[0-9]*.md"))


WHOLE = os.environ.get("LUTHIER_WHOLE_COURSE") == "1"
"""Run the lessons on all rows of the built-in tasks, as a reader does: 17 minutes of one core."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let the built-in tasks have fewer rows: what is shown in a lesson comes from all, what is typed must run."""
    if WHOLE:
        yield
        return
    written = write_small_library(tmp_path_factory.mktemp("site"), LESSON_ROWS)
    with pytest.MonkeyPatch.context() as patch:
        use_library(written, patch)
        yield
    task_sets.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
@pytest.mark.usefixtures("library")
def test_a_lesson_runs(lesson: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = list(blocks(lesson))
    if not any("--workers" in block.body for block in page):
        # What a clock measures is measured once, not nine times. Worker processes measure as they do for users, and
        # what was measured otherwise is another result.
        monkeypatch.setattr("luthier.evaluation.latency.PASSES", 1)
    read_page(page, Session(tmp_path))


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_a_lesson_names_the_files_that_it_shows(lesson: Path) -> None:
    assert not [str(block) for block in blocks(lesson) if block.kind == "yaml" and not block.file]


def test_the_course_has_ten_lessons_and_its_first_page_names_each() -> None:
    assert len(LESSONS) == 10
    first = (COURSE / "README.md").read_text(encoding="utf-8")
    assert [lesson.name for lesson in LESSONS] == re.findall(r"\]\((\d\d-[\w-]+\.md)\)", first)
