"""``--retain-at-least``: chosen on validation, judged once on the test, and refused where it can say nothing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from luthier.config.compare import CompareConfig
from luthier.errors import LuthierError
from luthier.experiments.compare import compare
from luthier.experiments.plan import read_plan
from luthier.experiments.run_unit import retention_jobs, target_job
from luthier.experiments.units import Unit
from luthier.report.choice_table import choice_table
from luthier.report.page import write_report
from luthier.results.records import read_results
from small_job import COLOUR, comparison, luthier, write_job, write_task

ARM: dict[str, Any] = {"name": "lora", "method": "lora", "interpolate": [0, 0.5]}


def config(folder: Path, **changes: Any) -> CompareConfig:
    job = write_job(folder / "job")
    given = {"arms": ["zero_shot", ARM], "retain_at_least": 0.9, **changes}
    return comparison("llama", job, folder / "runs", **given)


def test_a_base_that_can_do_nothing_keeps_nothing(tmp_path: Path) -> None:
    """The tiny model guesses: no task is in the mean, and nobody is recommended for what it keeps."""
    results = read_results(compare(config(tmp_path)))
    assert results.choice is not None
    assert not results.choice.kept
    assert math.isnan(results.choice.value)
    assert results.choice.left_out == ("colour",)
    assert [one.name for one in results.choice.candidates] == ["lora at 0.5", "lora"]
    assert results.recommendation.arm is None
    assert results.recommendation.sentence.startswith("No arm can be chosen by what it keeps")
    assert not results.arms[1].retained[0].able


def test_the_choice_reads_validation_and_the_verdict_the_test(tmp_path: Path) -> None:
    plan = read_plan(config(tmp_path))
    (chosen,) = (job.requests for job in retention_jobs(plan, Unit("retain", "", split="validation")))
    judged = retention_jobs(plan, Unit("retain", ""))[0].requests
    ids = [{item.blank.id for item in requests} for requests in (chosen, judged)]
    assert all(name.startswith("validation") for name in ids[0])
    assert all(name.startswith("test") for name in ids[1])
    target, _ = target_job(plan, Unit("evaluate", "zero_shot", split="validation"))
    assert {item.blank.id for item in target.requests} == {"validation-0", "validation-1", "validation-2"}


@pytest.mark.slow
def test_an_arm_that_keeps_enough_is_recommended(tmp_path: Path) -> None:
    """A real model, trained by two careful steps, forgets nothing that can be seen."""
    given = {
        **{"model": "mini", "task": "topic", "arms": ["zero_shot", ARM], "retain": ["review_sentiment"]},
        **{"retention_text": None, "runs": tmp_path, "device": "cpu", "retain_at_least": 0.6},
        **{"data": {"train": 8, "validation": 12, "test": 12}, "evaluation": {"retain_examples": 60}},
        "training": {"steps": 2, "batch_size": 4, "validations": 1, "learning_rate": 1e-5},
    }
    run = compare(CompareConfig.model_validate(given))
    results = read_results(run)
    choice = results.choice
    assert choice is not None
    assert choice.kept
    assert choice.low >= 0.6
    assert choice.tasks == ("review_sentiment",)
    assert results.recommendation.arm == "lora"
    assert results.recommendation.sentence.startswith(f"Use {choice.name}: of what the base could do on 1 other task")
    table = choice_table(results)
    assert table is not None
    assert [row[0].main for row in table.rows] == ["lora at 0.5", "lora"]
    assert "Who keeps 0.6" in write_report(run).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"retain_at_least": 1.1}, "retain_at_least"),
        ({"retain_at_least": 0}, "retain_at_least"),
        ({"retain": "none"}, "`retain: none` names none"),
        ({"retain": []}, "`retain: none` names none"),
    ],
)
def test_levels_that_say_nothing(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(LuthierError) as caught:
        config(tmp_path, **changes)
    assert says in str(caught.value)


def test_a_level_above_one_is_refused_on_the_command_line(tmp_path: Path) -> None:
    for flags in (("--retain-at-least", "1.5"), ("--retain-at-least", "0.9", "--retain", "none")):
        ran = luthier("compare", "--model", "mini", "--task", "topic", *flags, "--runs", tmp_path)
        assert ran.code == 2
        assert "retain_at_least" in ran.err
        assert not list(tmp_path.iterdir())


def test_tasks_without_a_validation_split_are_refused_before_the_first_step(tmp_path: Path) -> None:
    folder = write_job(tmp_path / "job")
    source = {"train": "train.jsonl", "test": "test.jsonl"}
    bare = write_task(folder, COLOUR, name="bare", source=source)
    made = comparison("llama", folder, tmp_path / "runs", arms=["lora"], retain=[str(bare)], retain_at_least=0.9)
    with pytest.raises(LuthierError) as caught:
        compare(made)
    for words in ("task 'bare'", "no validation split to choose on", "leave it out of --retain"):
        assert words in str(caught.value)
    assert not list((tmp_path / "runs").rglob("train*"))


def test_the_target_and_an_arm_that_trains_are_needed_too(tmp_path: Path) -> None:
    with pytest.raises(LuthierError, match="no arm is trained, so none forgets"):
        compare(config(tmp_path / "a", arms=["zero_shot"]))
    made = config(tmp_path / "b", data={"validation": 3}, arms=["lora"])
    (tmp_path / "b" / "job" / "echo.yaml").write_text(
        (tmp_path / "b" / "job" / "echo.yaml").read_text().replace("  validation: validation.jsonl\n", "")
    )
    with pytest.raises(LuthierError, match=r"task 'echo'.*no validation split to choose on"):
        compare(made)
