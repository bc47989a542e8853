"""Tasks of BIG-bench from their own JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.errors import LuthierError, TaskError
from luthier.tasks.bigbench import is_bigbench
from luthier.tasks.loader import load_examples, load_task

CLOSED: dict[str, Any] = {
    "name": "Odd one out",
    "description": "Find what does not belong.",
    "keywords": ["common sense"],
    "metrics": ["multiple_choice_grade"],
    "preferred_score": "multiple_choice_grade",
    "task_prefix": "Find {what} is odd.",
    "examples": [
        {"input": "animals", "target_scores": {"hen": 0, "car": 1}},
        {"input": "plants", "target_scores": {"oak": 0, "elm": 0, "pig": 1, "ash": 0}},
    ],
}


def written(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "task.json"
    path.write_text(json.dumps(content))
    return path


def test_a_closed_task(tmp_path: Path) -> None:
    task = load_task(str(written(tmp_path, CLOSED)))
    first, second = sorted(load_examples(task, "test", evaluation=True), key=lambda one: one.prompt)
    assert task.name == "bigbench_odd_one_out"
    assert task.chance == pytest.approx((1 / 2 + 1 / 4) / 2)
    assert first.preamble == "Find {what} is odd."
    assert first.prompt == "\nQ: animals\n  choice: hen\n  choice: car\nA: "
    assert (first.choices, first.targets) == (("hen", "car"), ("car",))
    assert second.targets == ("pig",)


def test_its_own_prefixes_are_kept(tmp_path: Path) -> None:
    own = {"append_choices_to_input": False, "example_input_prefix": "", "example_output_prefix": "\n"}
    task = load_task(str(written(tmp_path, CLOSED | own | {"few_shot_example_separator": "\n###\n"})))
    prompts = {one.prompt for one in load_examples(task, "test", evaluation=True)}
    assert prompts == {"animals\n", "plants\n"}
    assert task.joint is not None
    assert (task.joint.answer, task.joint.exemplar) == ("", "\n###\n")


def test_an_open_task(tmp_path: Path) -> None:
    open_task = CLOSED | {"examples": [{"input": "1+1", "target": ["2", "two"]}, {"input": "1+2", "target": "3"}]}
    task = load_task(str(written(tmp_path, open_task)))
    targets = {one.prompt: one.targets for one in load_examples(task, "test", evaluation=True)}
    assert targets == {"\nQ: 1+1\nA: ": ("2", "two"), "\nQ: 1+2\nA: ": ("3",)}
    assert (task.has_choices, task.primary, task.stop) == (False, "exact_match", ("Q:",))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"examples": []}, "the task has no examples"),
        (
            {"examples": [{"input": "a", "target": "b"}, *CLOSED["examples"]]},
            "some examples have target_scores, and some",
        ),
    ],
)
def test_what_is_wrong_is_said(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(LuthierError, match=said):
        load_task(str(written(tmp_path, CLOSED | change)))


def test_other_json_is_not_taken_for_one(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"instruction": "Say a.", "input": "", "output": "a"}]))
    assert not is_bigbench(path)
    broken = tmp_path / "broken.json"
    broken.write_text('{"name": "x", "keywords": [], "metrics": [')
    with pytest.raises(TaskError, match="cannot be read as JSON"):
        load_task(str(broken))


def test_the_original_tasks(shared_data: Path) -> None:
    sizes = {"causal_judgement": 190, "logical_deduction_three_objects": 300, "movie_recommendation": 500}
    for name, size in (sizes | {"navigate": 1000, "ruin_names": 448}).items():
        task = load_task(str(shared_data / "bigbench" / f"{name}.json"))
        examples = load_examples(task, "test", evaluation=True)
        assert len(examples) == size
        assert all(set(one.targets) < set(one.choices) for one in examples)
