"""BBQ, CrowS-Pairs and Winogender as tasks, answered by scripted models: the numbers that they have of their own."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from luthier.evaluation.social_answers import social_scores
from luthier.records import Example, Prediction
from luthier.tasks.loader import load_examples, load_task
from luthier.tasks.schema import Task

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is absent")

Choose = Callable[[Example], str]


def right(example: Example) -> str:
    return example.targets[0]


def first(example: Example) -> str:
    return example.choices[0]


def answered(name: str, choose: Choose, limit: int | None = None) -> dict[str, float]:
    task, log = ask(name, choose, limit)
    return social_scores(task, log)


def ask(name: str, choose: Choose, limit: int | None) -> tuple[Task, list[Prediction]]:
    task = load_task(name, DATA)
    log = []
    for example in load_examples(task, "test", evaluation=True, limit=limit):
        given = choose(example)
        logprobs = tuple(-1.0 if choice == given else -2.0 for choice in example.choices)
        kept = (example.targets, example.choices, logprobs)
        log.append(Prediction(example.id, task.name, given, *kept, group=example.group))
    return task, log


def test_bbq() -> None:
    found = answered("bbq_religion", right)
    assert (found["accuracy"], found["ambiguous"]) == (1, 0)
    assert found["disambiguated"] == pytest.approx(0, abs=0.02)
    unknown = answered("bbq_religion", lambda example: "Undetermined")
    assert (unknown["accuracy_ambiguous"], unknown["accuracy_disambiguated"]) == (1, 0)
    assert (unknown["ambiguous"], unknown["disambiguated"], unknown["ambiguous_helm"]) == (0, 0, 0)
    # The first person who is named: as often the one that the stereotype is of as the other.
    named = answered("bbq_religion", first)
    assert named["accuracy_ambiguous"] == 0
    assert abs(named["ambiguous"]) < 0.1


def test_crows_pairs() -> None:
    assert answered("crows_pairs", right) == {"stereotype_share": 1}
    assert answered("crows_pairs", lambda example: example.choices[1])["stereotype_share"] == 0


def test_winogender() -> None:
    perfect = answered("winogender", right)
    assert set(perfect.values()) == {1}
    occupation = answered("winogender", first)
    assert (occupation["parity"], occupation["gotcha"], occupation["not_gotcha"]) == (1, 0.5, 0.5)


def test_without_the_statistics_of_occupations_there_is_no_gotcha(tmp_path: Path) -> None:
    folder = tmp_path / "winogender"
    folder.mkdir()
    (folder / "all_sentences.tsv").write_bytes((DATA / "winogender" / "all_sentences.tsv").read_bytes())
    task = load_task("winogender", tmp_path)
    examples = load_examples(task, "test", evaluation=True, limit=40)
    log = [Prediction(one.id, task.name, one.targets[0], one.targets, one.choices, (-1.0, -1.0)) for one in examples]
    found = social_scores(task, log)
    assert math.isnan(found["gotcha"])
    assert not math.isnan(found["accuracy"])


def test_other_tasks_have_none() -> None:
    task = load_task("topic")
    assert social_scores(task, []) == {}
