"""Named sets of tasks: what a set stands for, and what it means to name a task by itself."""

from __future__ import annotations

from luthier.tasks.names import library_names
from luthier.tasks.task_sets import EVERYDAY, PLAIN_TEXT, NamedTask, expand, task_sets


def test_every_member_of_a_set_is_a_built_in_task() -> None:
    for name, found in task_sets().items():
        assert found.description, name
        assert len(set(found.tasks)) == len(found.tasks), name
        assert set(found.tasks) <= set(library_names()), name


def test_no_set_has_the_name_of_a_task() -> None:
    assert not task_sets().keys() & {*library_names(), "all", "none"}


def test_the_default_set_holds_every_built_in_task_and_no_text() -> None:
    assert set(task_sets()[EVERYDAY].tasks) == set(library_names()) - {PLAIN_TEXT}


def test_a_set_stands_for_its_members() -> None:
    members = expand((EVERYDAY,))
    assert [item.name for item in members] == list(task_sets()[EVERYDAY].tasks)
    assert not any(item.by_name for item in members)


def test_a_task_named_by_itself_counts_as_named_wherever_it_stands() -> None:
    for names in (("topic", EVERYDAY), (EVERYDAY, "topic")):
        found = expand(names)
        assert len(found) == len(task_sets()[EVERYDAY].tasks)
        assert NamedTask("topic", True) in found


def test_other_names_stay_as_they_are() -> None:
    assert expand(("mine.yaml",)) == (NamedTask("mine.yaml", True),)
