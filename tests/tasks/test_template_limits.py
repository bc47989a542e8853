"""Strangers' templates: no expression reaches the limits of time and memory, and plain ones cost nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from luthier.errors import Faults, TaskError
from luthier.files.limited_worker import LimitedWorker, Stopped
from luthier.tasks.loader import load_task
from luthier.tasks.names import library_names
from luthier.tasks.rows import templates
from luthier.tasks.rows.plain_templates import shape_of
from luthier.tasks.rows.templates import Template
from luthier.tasks.task_rows import TaskRows
from small_job import ECHO, write_rows, write_task

ROW: dict[str, object] = {"text": "a\nb", "words": ["x", "y"], "label": 1}


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[LimitedWorker]:
    """A worker that may compute for one second."""
    worker = LimitedWorker(seconds=1)
    monkeypatch.setattr(templates, "shared_worker", lambda: worker)
    yield worker
    worker.close()


AT_ONCE = [
    "{{ 1|round(1000000000, 'floor') }}",
    "{% set _luthier_budget = namespace(left=10**9) %}{% for a in range(9999) %}{% for b in range(9999) %}"
    "{% endfor %}{% endfor %}",
    "{{ " + "9" * 5000 + " }}",
]
IN_TIME = [
    "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x|tojson }}",
    "{% set x = [[[0] * 8000000] * 8000000] * 8000000 %}{{ x|string }}",
    "{% for i in range(9999) %}{% for j in range(9) %}{% set s = text * 30000 %}{% set t = s * 80 %}{% endfor %}"
    "{% endfor %}",
    "{{ [words] | sum(start=[]) }}{% set n = namespace(x=[]) %}{% for i in range(9999) %}"
    "{% set n.x = [n.x, (text * 30000)|list]|sum(start=[]) %}{% endfor %}",
    "{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x|tojson %}{% endfor %}{{ n.x }}",
    "{% for i in range(9999) %}{{ (text * 2400000)|wordcount }}{{ (text * 2400000)|unique|list|length }}{% endfor %}",
]


@pytest.mark.parametrize("source", AT_ONCE, ids=range(len(AT_ONCE)))
def test_hostile_template_is_stopped(source: str, short: LimitedWorker) -> None:
    started = time.perf_counter()
    with pytest.raises(TaskError, match=r"where: .*(stopped|cannot be compiled|failed)"):
        Template(source, "where").render(dict(ROW))
    assert time.perf_counter() - started < 10
    assert Template("{% for w in words %}{{ w * 1 }}{% endfor %}").render(dict(ROW)) == "xy"


@pytest.mark.slow
@pytest.mark.parametrize("source", IN_TIME, ids=range(len(IN_TIME)))
def test_template_without_end_is_stopped_in_time(source: str, short: LimitedWorker) -> None:
    test_hostile_template_is_stopped(source, short)


def test_nothing_is_computed_when_a_template_is_compiled() -> None:
    started = time.perf_counter()
    Template("{{ 1|round(1000000000, 'floor') }}").check()
    Template("{% if 9 ** 9 ** 9 %}{{ 'x' * 8000000 * 8000000 }}{% endif %}").check()
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize(
    ("source", "plain"),
    [
        ("{{ text | trim }} {% if label == 1 and text is defined %}yes{% else %}{{ words[0] }}{% endif %}", True),
        ("{{ ['no', 'yes'][label] }}{{ row.get('input') }}{{ text.strip() ~ label }}{{ words | join(', ') }}", True),
        ("{% for w in words %}{{ loop.index }}. {{ w }}{% if not loop.last %}\n{% endif %}{% endfor %}", True),
        (
            "{% set letters = 'ABCD' %}{% for i in range(words|length) %}{{ letters[i] }}{{ words[i] }}{% endfor %}",
            True,
        ),
        ("{% for a in words %}{% for b in words %}{{ a }}{{ b }}{% endfor %}{% endfor %}", False),
        ("{% set x = text %}" + "{% set x = x ~ x %}" * 9 + "{{ x }}", False),
        ("{% set n = namespace(x=1) %}{{ n.x }}", False),
        ("{% set x %}{{ text }}{{ text }}{% endset %}{{ x }}", False),
        ("{{ text * 2 }}", False),
        ("{{ text | tojson | tojson | tojson | tojson }}", False),
        ("{{ 1|round(2, 'floor') }}", False),
        ("{{ text | default(text ~ text) }}", False),
        ("{{ text.join(words) }}", False),
        ("{{ text }}" * 1000, False),
    ],
)
def test_which_templates_are_plain(source: str, plain: bool) -> None:
    assert shape_of(source).holds(ROW) is plain
    assert Template(source).render(dict(ROW)) == Template(source, trusted=True).render(dict(ROW))


def test_loop_is_plain_for_rows_that_are_not_large() -> None:
    source = "{% for w in words %}{{ w }}{{ text }}{% endfor %}"
    assert shape_of(source).holds({"words": ["x"] * 50, "text": "y" * 5_000})
    assert not shape_of(source).holds({"words": ["x"] * 50_000, "text": "y" * 5_000})
    assert not shape_of(source).holds({"words": ["x"] * 50, "text": "y" * 500_000})


def test_templates_of_built_in_tasks_are_trusted() -> None:
    task = load_task(library_names()[0])
    assert all(template.prompt.trusted for template in task.templates)


def test_worker_gives_faults_of_their_own_class_and_goes_on() -> None:
    with pytest.raises(TaskError, match=r"task\.yaml: column 'missing' does not exist"):
        Template("{{ missing * 2 }}", "task.yaml").render(dict(ROW))
    worker = LimitedWorker(seconds=1, memory=64 << 20)
    try:
        with pytest.raises(Stopped, match="more than 64 MiB"):
            worker.ask("luthier.tasks.rows.templates:render_row", ("{{ ('é' * 8000000) | list | length }}", "", ROW))
        assert worker.ask("luthier.tasks.rows.templates:render_row", ("{{ 1 + 1 }}", "", ROW)) == "2"
    finally:
        worker.close()


def test_rows_are_rendered_together_and_each_fault_is_of_its_own_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    went: list[int] = []
    plain = LimitedWorker._exchange

    def counted(worker: LimitedWorker, together: list[bytes]) -> tuple[list[dict[str, Any]], str]:
        went.append(len(together))
        return plain(worker, together)

    monkeypatch.setattr(LimitedWorker, "_exchange", counted)
    nested = "{% for a in words %}{% for b in words %}{{ a }}{{ b }}{% endfor %}{% endfor %} {{ text }}"
    made = [{"id": str(n), "text": f"t{n}", "answer": "x", "words": ["a", "b"]} for n in range(300)]
    write_rows(tmp_path / "rows.jsonl", made)
    spec = ECHO | {"source": "rows.jsonl"}
    spec["templates"] = [{"name": "n", "prompt": nested}, {"name": "m", "prompt": f"{nested}!"}]
    task = load_task(str(write_task(tmp_path, spec)))
    found = [item.example.prompt for item in TaskRows(task).items(evaluation=False)]
    assert [prompt.rstrip("!") for prompt in found] == [f"aaabbabb t{n}" for n in range(300)]
    assert {prompt[-1] for prompt in found} > {"!"}, "each row by the template that is drawn for it"
    assert sum(went) == 300
    assert len(went) <= 2
    for number in (5, 100):
        del made[number]["words"]
    write_rows(tmp_path / "rows.jsonl", made)
    with pytest.raises(Faults, match="2 rows of ") as caught:
        list(TaskRows(task).items(evaluation=True))
    for fault, row in zip(caught.value.faults, ("row 6", "row 101"), strict=True):
        assert f"rows.jsonl, {row} (" in fault.where
    # Rows before one that cannot be read are there all the same.
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write("{broken\n")
    shown = TaskRows(task).items(evaluation=True)
    assert next(shown).example.prompt == "aaabbabb t0"
