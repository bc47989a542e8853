"""The lessons of the course run as they are written, each in a folder of its own: commands and Python alike."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

COURSE = Path(__file__).resolve().parents[1] / "docs" / "course"
LESSONS = sorted(COURSE.glob("[0-9]*.md"))
_FENCE = re.compile(r"^```(?P<kind>\w*)\n(?P<body>.*?)^```", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"`(?P<name>\w+\.yaml)`:\s*$")


def _run(command: list[str], folder: Path) -> None:
    own = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | own,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def _read_session(session: str, name: str) -> None:
    """Run what stands behind ``>>>``, and compare what it gives."""
    runner = doctest.DocTestRunner(verbose=False)
    said: list[str] = []
    runner.run(doctest.DocTestParser().get_doctest(session, {}, name, name, 0), out=said.append)
    assert not runner.failures, "".join(said)


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_a_lesson_runs(lesson: Path, tmp_path: Path) -> None:
    text, session = lesson.read_text(encoding="utf-8"), ""
    for found in _FENCE.finditer(text):
        kind, body = found["kind"], found["body"]
        if kind == "sh":
            for line in body.replace("\\\n", " ").splitlines():
                _run(["bash", "-c", line], tmp_path)
        elif kind == "python":
            _run([sys.executable, "-c", body], tmp_path)
        elif kind == "yaml":
            named = _NAMED.search(text[: found.start()].rstrip())
            assert named, f"{lesson.name}: the file's name must stand before the block"
            (tmp_path / named["name"]).write_text(body, encoding="utf-8")
        elif kind == "pycon":
            session += body
    _read_session(session, lesson.name)


def test_the_course_has_ten_lessons_and_its_first_page_names_each() -> None:
    assert len(LESSONS) == 10
    first = (COURSE / "README.md").read_text(encoding="utf-8")
    assert [lesson.name for lesson in LESSONS] == re.findall(r"\]\((\d\d-[\w-]+\.md)\)", first)
