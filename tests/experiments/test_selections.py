"""``training.select``: the best weights chosen by other tasks too, and refused where there is nothing to choose by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from luthier.config.compare import CompareConfig
from luthier.config.tune import TuneConfig
from luthier.errors import LuthierError
from luthier.experiments.compare import compare
from luthier.experiments.plan import read_plan
from luthier.experiments.trained_arms import train, trained
from luthier.experiments.tune import tune
from luthier.training.log import Line, read_log
from small_job import COLOUR, comparison, write_job, write_task

MEAN: dict[str, Any] = {"validations": 3, "select": "mean"}


def validations(path: Path) -> list[Line]:
    return [line for line in read_log(path) if "validation_score" in line]


def test_weights_are_chosen_by_the_mean_over_the_retained_tasks(tmp_path: Path) -> None:
    made = comparison("llama", write_job(tmp_path / "job"), tmp_path / "runs", arms=["full"], training=MEAN)
    plan = read_plan(made)
    found = train(plan, plan.arms[0], 0)
    lines = validations(found.log)
    assert len(lines) == 3
    for line in lines:
        assert line["validation/mean"] == pytest.approx(
            (float(line["validation_score"] or 0) + float(line["validation/colour"] or 0)) / 2
        )
        assert line["chosen_by"] == line["validation/mean"]
    chosen = max(lines, key=lambda line: float(line["chosen_by"] or 0))  # the first of equals
    assert found.result.best_step == chosen["step"]
    assert found.result.chosen_by == chosen["chosen_by"]
    assert found.result.best_score == chosen["validation_score"]


def test_a_mixture_chooses_by_the_mean_over_its_own_tasks(tmp_path: Path) -> None:
    folder = write_job(tmp_path / "job")
    other = write_task(folder, COLOUR, name="other")
    target = str(folder / "echo.yaml")
    mixture = folder / "mix.yaml"
    mixture.write_text(yaml.safe_dump({"tasks": [target, str(other)], "rate": "equal"}))
    arm = {"name": "both", "method": "full", "mixture": str(mixture)}
    made = comparison("llama", folder, tmp_path / "runs", arms=[arm], training=MEAN, retain=[])
    plan = read_plan(made)
    (line, *_) = validations(train(plan, plan.arms[0], 0).log)
    assert set(line) >= {"validation/other", "validation/mean", "chosen_by"}


def test_a_training_by_the_target_alone_logs_nothing_else(tmp_path: Path) -> None:
    made = comparison("llama", write_job(tmp_path / "job"), tmp_path / "runs", arms=["full"])
    plan = read_plan(made)
    (line, *_) = validations(train(plan, plan.arms[0], 0).log)
    assert not [name for name in line if name.startswith("validation/")]
    assert "chosen_by" not in line


def test_a_base_that_only_guesses_cannot_choose_by_what_is_kept(tmp_path: Path) -> None:
    given = {"validations": 1, "select": "retained"}
    made = comparison("llama", write_job(tmp_path / "job"), tmp_path / "runs", arms=["full"], training=given)
    with pytest.raises(LuthierError, match="does none of the retained tasks better than by guessing") as caught:
        compare(made)
    assert "arm 'full', training.select" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"retain": []}, "there is no other task to choose by"),
        (
            {"training": {"select": "retained", "validations": 0}},
            "weights are chosen at validations, and there is none",
        ),
        ({"training": {"select": "best"}}, "'target', 'mean' or 'retained'"),
    ],
)
def test_choices_that_cannot_be_made(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    given = {"arms": ["full"], "training": {"select": "retained", "validations": 1}, **changes}
    with pytest.raises(LuthierError) as caught:
        read_plan(comparison("llama", write_job(tmp_path / "job"), tmp_path / "runs", **given))
    assert says in str(caught.value)


def test_a_retained_task_without_validation_is_refused_before_the_first_step(tmp_path: Path) -> None:
    folder = write_job(tmp_path / "job")
    bare = write_task(folder, COLOUR, name="bare", source={"train": "train.jsonl", "test": "test.jsonl"})
    made = comparison("llama", folder, tmp_path / "runs", arms=["full"], retain=[str(bare)], training=MEAN)
    with pytest.raises(LuthierError, match="no validation split to choose on") as caught:
        read_plan(made)
    assert "or leave training.select out" in str(caught.value)


@pytest.mark.slow
def test_weights_that_forget_are_not_kept(tmp_path: Path) -> None:
    """At a high rate the target gains at once and the other task is lost: the weights that keep it are taken."""
    given = {
        **{"model": "mini", "task": "entity_extraction", "arms": ["full"], "retain": ["review_sentiment"]},
        **{"retention_text": None, "runs": tmp_path, "device": "cpu"},
        **{"data": {"train": 96, "validation": 32, "test": 4}, "evaluation": {"retain_examples": 64}},
        "training": {"steps": 24, "batch_size": 8, "validations": 6, "learning_rate": 2e-3, "select": "retained"},
    }
    plan = read_plan(CompareConfig.model_validate(given))
    train(plan, plan.arms[0], 0)
    found = trained(plan, plan.arms[0], 0)
    lines = validations(found.log)
    kept = [line for line in lines if float(line["validation/retained"] or 0) >= 0.98]
    pool, by = (kept, "validation_score") if kept else (lines, "validation/retained")
    chosen = max(pool, key=lambda line: float(line[by] or 0))
    assert found.result.best_step == chosen["step"]
    assert {round(float(line["validation/retained"] or 0), 3) for line in lines} != {1.0}


def test_tune_reads_retained_tasks_where_they_choose(tmp_path: Path) -> None:
    job = comparison("llama", write_job(tmp_path / "job"), tmp_path / "runs")
    given = {
        **{"model": job.model, "task": job.task, "arm": "full", "retain": job.retain, "runs": tmp_path / "runs"},
        **{"device": "cpu", "training": {"steps": 2, "validations": 1, "select": "mean"}},
    }
    found = tune(TuneConfig.model_validate(given))
    assert "validation/mean" in validations(found.trained.log)[0]
