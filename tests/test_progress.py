"""Progress in a log: a line before the first unit ends, and rates that are never 0.0."""

from __future__ import annotations

import pytest

from luthier import progress as module
from luthier.progress import duration, pace, progress


@pytest.mark.parametrize(
    ("units", "seconds", "said"),
    [
        (396, 10, "39.6 steps/s"),
        (10, 10, "1.0 steps/s"),
        (5, 60, "12 s/step"),
        (4, 6, "1.5 s/step"),
        (2, 3000, "25 min/step"),
        (1, 10_800, "3.0 h/step"),
        (0, 5, ""),
        (5, 0, "5000000000.0 steps/s"),
    ],
)
def test_a_rate_below_one_a_second_is_a_time_for_each(units: int, seconds: float, said: str) -> None:
    assert pace(units, seconds, "steps") == said


def test_times_are_rounded_as_people_say_them() -> None:
    assert [duration(value) for value in (0.04, 9.6, 45.2, 720, 12_240)] == [
        "0.0 s",
        "9.6 s",
        "45 s",
        "12 min",
        "3.4 h",
    ]


class _Clock:
    """Time that passes only when it is told to."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    found = _Clock()
    monkeypatch.setattr(module, "time", found)
    return found


def test_a_log_has_a_line_before_the_first_unit_ends(clock: _Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("full: training", 8, "steps") as advance:
        assert capsys.readouterr().err == "full: training: 0/8 steps\n"
        clock.now = 24
        advance(2, "loss 2.33")
        assert capsys.readouterr().err == "full: training: 2/8 steps, 12 s/step, 72 s left, loss 2.33\n"
        clock.now = 25
        advance(1, "loss 2.31")
        assert capsys.readouterr().err == "", "one line in ten seconds"
        clock.now = 96
        advance(5, "")
    assert capsys.readouterr().err == "full: training: 8/8 steps, 12 s/step\n"


def test_what_an_earlier_process_completed_does_not_count(clock: _Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("echo", 10, "examples", done=6) as advance:
        clock.now = 2
        advance(4, "")
    assert capsys.readouterr().err == "echo: 6/10 examples\necho: 10/10 examples, 2.0 examples/s\n"
    with progress("echo", 10, "examples", done=10):
        assert capsys.readouterr().err == "", "nothing is left to begin"
