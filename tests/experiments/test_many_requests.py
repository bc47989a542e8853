"""An evaluation of many requests that is killed goes on where it was, and answers nothing twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from many_requests import (
    TASKS,
    answers,
    kept_answers,
    logged,
    run,
    run_and_kill,
    said,
    without_seconds,
    write_evaluation,
)
from tiny_models import tiny_folder

REQUESTS = 1200


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_where_it_was(tmp_path: Path) -> None:
    """Killed once among the choices, once among the free text: the log is that of an uninterrupted one, bit for bit."""
    evaluation = write_evaluation(tmp_path / "job", tiny_folder("llama"), REQUESTS, batch_tokens=512)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(evaluation, whole)
    answered: dict[str, dict[str, float]] = {}
    for task in TASKS:

        def some_answered(task: str = task) -> bool:
            return len(logged(killed, task)) > REQUESTS // 6

        run_and_kill(evaluation, killed, some_answered)
        answered[task] = logged(killed, task)
        assert REQUESTS // 6 < len(answered[task]) < REQUESTS // 2
    run(evaluation, killed)

    for task in TASKS:
        log = answers(killed, task)
        assert len(log) == REQUESTS // 2
        assert without_seconds(log) == without_seconds(answers(whole, task))
        again = [own.id for own in log if own.id in answered[task] and own.seconds != answered[task][own.id]]
        assert again == [], "answered before the kill, and not again"
    kept = kept_answers(killed)
    assert len(set(kept)) == len(kept), "no answer was given twice"
    lines = said(killed).read_text()
    assert "colour: 600/600 examples" in lines
    assert "echo: 600/600 examples" in lines
