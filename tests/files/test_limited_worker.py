"""What is announced to the worker goes together: the answers are those of one question at a time, under its limits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from luthier.errors import TaskError
from luthier.files.limited_worker import LimitedWorker, Stopped

RENDER = "luthier.tasks.rows.templates:render_row"
ENDLESS = "{% for i in range(9999) %}{{ (text * 500000)|upper|length }}{% endfor %}"
LARGE = "{{ text * 400000 }}"


class Counting(LimitedWorker):
    """Notes how many questions went together, each time that any went."""

    def __init__(self, **limits: int) -> None:
        super().__init__(**limits)
        self.went: list[int] = []

    def _exchange(self, together: list[bytes]) -> tuple[list[dict[str, Any]], str]:
        self.went.append(len(together))
        return super()._exchange(together)


@pytest.fixture
def worker() -> Iterator[Counting]:
    made = Counting(seconds=1, memory=64 << 20)
    yield made
    made.close()


def question(number: int, source: str = "{{ n + 1 }}") -> tuple[str, str, dict[str, object]]:
    return source, f"row {number}", {"n": number, "text": "abc "}


def answers(worker: LimitedWorker, asked: list[Any]) -> list[str]:
    """The answer to each question, or what is said instead."""
    found = []
    for one in asked:
        try:
            found.append(worker.ask(RENDER, one))
        except (Stopped, TaskError) as fault:
            found.append(f"{type(fault).__name__}: {fault}")
    return found


def test_announced_questions_go_together(worker: Counting) -> None:
    asked = [question(number) for number in range(100)]
    worker.expect(RENDER, asked)
    assert answers(worker, asked) == [str(number + 1) for number in range(100)]
    assert worker.went == [100]


def test_a_question_that_was_not_announced_goes_alone_and_one_that_is_not_asked_is_forgotten(worker: Counting) -> None:
    worker.expect(RENDER, [question(number) for number in range(10)])
    assert answers(worker, [question(20), question(7), question(8), question(7), question(3)]) == [
        "21",
        "8",
        "9",
        "8",
        "4",
    ]
    assert worker.went == [1, 3, 4], "from the seventh on, then what is left of those before"
    worker.expect(RENDER, [])
    assert answers(worker, [question(9)]) == ["10"]
    assert worker.went[3:] == [1]


def test_each_fault_is_that_of_its_own_question(worker: Counting) -> None:
    asked = [question(0), question(1, "{{ missing }}"), question(2), question(3, "{{ text.nothing() }}"), question(4)]
    worker.expect(RENDER, asked)
    found = answers(worker, asked)
    assert worker.went == [5]
    assert [found[0], found[2], found[4]] == ["1", "3", "5"]
    assert found[1].startswith("TaskError: row 1: column 'missing' does not exist")
    assert found[3].startswith("TaskError: row 3: the template failed")


def test_one_that_breaks_the_limit_of_time_stops_no_other(worker: Counting) -> None:
    asked = [question(0), question(1), question(2, ENDLESS), question(3), question(4)]
    worker.expect(RENDER, asked)
    assert answers(worker, asked) == ["1", "2", "Stopped: it took more than 1 s", "4", "5"]


def test_one_that_breaks_the_limit_of_memory_stops_no_other(worker: Counting) -> None:
    asked = [question(0), question(1, "{{ ('é' * 8000000) | list | length }}"), question(2), question(3)]
    worker.expect(RENDER, asked)
    assert answers(worker, asked) == ["1", "Stopped: it needs more than 64 MiB of memory", "3", "4"]
    assert worker.went == [4, 2], "those behind it go on together, in a process of their own"


def test_large_answers_and_large_questions_go_in_several_parts(worker: Counting) -> None:
    asked = [question(number, LARGE) for number in range(4)]  # 1.6 MB each
    worker.expect(RENDER, asked)
    assert {len(found) for found in answers(worker, asked)} == {1_600_000}
    assert worker.went == [4, 3, 2, 1], "one after another: the next is not computed while so much waits"
    worker.went.clear()
    long = [("{{ text|length * 1 }}", "", {"text": str(number) * 600_000}) for number in range(3)]
    worker.expect(RENDER, long)
    assert answers(worker, long) == ["600000"] * 3
    assert worker.went == [1, 1, 1]


def test_a_question_that_cannot_be_sent_is_left_to_whoever_asks_it(worker: Counting) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    worker.expect(RENDER, [("{{ 1 }}", "", {"deep": deep}), question(1), question(2)])
    assert answers(worker, [question(1), question(2)]) == ["2", "3"]
    assert worker.went == [2]
