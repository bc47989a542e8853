"""What is shown on a terminal: text as it is, and nothing that a terminal would obey."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from luthier.console import PlainConsole
from luthier.progress import say
from luthier.version import __version__

HOSTILE = "\x1b]0;owned\x07 [red]x[/red] :smile: \u202eabc \x9b31m\r"
SHOWN = r"\u001b]0;owned\u0007 [red]x[/red] :smile: \u202eabc \u009b31m\r"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", "from luthier.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, env=os.environ | environment, check=False)


def test_colours_stay_and_controls_of_the_text_are_written_out() -> None:
    file = io.StringIO()
    console = PlainConsole(
        file=file, force_terminal=True, width=200, markup=False, emoji=False, color_system="standard"
    )
    console.print(HOSTILE, style="red", highlight=False)
    shown = SHOWN.replace(r"\u0007", "").replace(r"\r", "")  # which rich leaves out of texts
    assert file.getvalue().strip() == f"\x1b[31m{shown}\x1b[0m"


def test_what_is_said_is_written_out(capsys: pytest.CaptureFixture[str]) -> None:
    say(HOSTILE)
    assert capsys.readouterr().err == f"{SHOWN}\n"


@pytest.mark.parametrize("words", [("\x1b]0;owned\x07",), ("compare", "--\x1b[2J"), ("tasks", "show", "\x1b[2J\u202e")])
def test_an_error_about_hostile_words(words: tuple[str, ...]) -> None:
    ran = run(*words, PYTHONUTF8="1")
    assert ran.returncode == 2
    assert b"\x1b" not in ran.stdout + ran.stderr
    assert "\u202e".encode() not in ran.stdout + ran.stderr
    assert b"Traceback" not in ran.stderr


def test_an_ascii_terminal() -> None:
    ran = run("tasks", "list", PYTHONIOENCODING="ascii", LANG="C", PYTHONUTF8="0")
    assert ran.returncode == 0, ran.stderr
    assert b"translation_en_es" in ran.stdout.replace(b" ", b"") or b"translation" in ran.stdout
    assert all(byte < 128 for byte in ran.stdout)


def test_version_and_short_help() -> None:
    assert run("--version").stdout.decode().strip() == f"luthier {__version__}"
    assert run("tasks", "-h").stdout == run("tasks", "--help").stdout
