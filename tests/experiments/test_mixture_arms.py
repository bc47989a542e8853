"""Training on a mixture of tasks: as a target, as an arm, killed and gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from luthier.errors import LuthierError
from luthier.experiments import trained_arms
from luthier.experiments.compare import compare
from luthier.experiments.plan import Plan, read_plan
from luthier.experiments.trained_arms import job_of
from luthier.experiments.tune import tune
from luthier.results.records import read_results
from luthier.training import loop
from luthier.training.step import take_step
from small_job import COLOUR, comparison, digests, rows, tuning, write_job, write_rows, write_task

TRAINING = {"epochs": 2, "batch_size": 4, "validations": 1, "checkpoint_seconds": 0}


def write(folder: Path, **keys: Any) -> Path:
    job = write_job(folder / "job")
    (job / "mix.yaml").write_text(
        yaml.safe_dump({"tasks": ["echo.yaml", "topic"], "size": 24, "rate": "equal", **keys})
    )
    return job


def config_of(folder: Path, job: Path, **changes: Any) -> Any:
    return comparison("llama", job, folder / "runs", **{"training": TRAINING, "retain": ["counting"], **changes})


def planned(folder: Path, **changes: Any) -> Plan:
    job = folder / "job" if (folder / "job").exists() else write(folder)
    return read_plan(config_of(folder, job, **changes))


def test_a_mixture_stands_where_a_task_does(tmp_path: Path) -> None:
    job = write(tmp_path)
    plan = planned(tmp_path, task=str(job / "mix.yaml"), arms=["zero_shot", "full"])
    assert plan.target.task.name == "echo", "the first task is the target"
    trained = job_of(plan, plan.arms[1], 0)
    assert trained.stream.steps == 12
    read = [record for step in range(12) for record in trained.stream.records(step)]
    assert [sum(record.origin == "topic" for record in read[k : k + 24]) for k in (0, 24)] == [12, 12]


def test_what_a_mixture_is_made_of_is_in_the_key(tmp_path: Path) -> None:
    job = write(tmp_path)
    keys = {}
    for name, text in (
        ("as it is", None),
        ("size", {"size": 20}),
        ("templates", {"tasks": ["echo.yaml", {"task": "topic", "shots": 1}]}),
        ("rows", {"tasks": ["echo.yaml", "counting"]}),
        ("rate", {"rate": "examples"}),
    ):
        (job / "mix.yaml").write_text(
            yaml.safe_dump({"tasks": ["echo.yaml", "topic"], "size": 24, "rate": "equal", **(text or {})})
        )
        plan = planned(tmp_path, task=str(job / "mix.yaml"), arms=["full"], retain=[])
        keys[name] = job_of(plan, plan.arms[0], 0).entry(tmp_path).key
    assert len(set(keys.values())) == len(keys)


@pytest.mark.slow
def test_an_arm_has_a_mixture_of_its_own_and_says_so(tmp_path: Path) -> None:
    job = write(tmp_path)
    arms = [
        {"name": "plain", "method": "full"},
        {"name": "mixed", "method": "full", "mixture": str(job / "mix.yaml")},
        {"name": "kl", "method": "lora", "mixture": str(job / "mix.yaml"), "anchor": {"kl": 0.1}},
    ]
    written = []
    for name in ("first", "second"):
        run = compare(comparison("llama", job, tmp_path / name, training=TRAINING, arms=arms, name="run"))
        written.append((run / "results.json").read_bytes())
    assert written[0] == written[1]
    results = {arm.name: arm for arm in read_results(tmp_path / "first" / "run").arms}
    plain, mixed = results["plain"].trained_on, results["mixed"].trained_on
    assert plain is not None
    assert mixed is not None
    assert (plain.examples, plain.shares, mixed.examples) == (24, (), 48)
    assert [(share.source, share.quota) for share in mixed.shares] == [("echo", 12), ("topic", 12)]


def test_a_training_that_was_killed_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = write(tmp_path)
    config = config_of(tmp_path, job, task=str(job / "mix.yaml"), arms=["full"])
    plan = read_plan(config)
    whole = trained_arms.train(plan, plan.arms[0], 0).adapter
    ends = digests(whole)

    taken, step = [0], take_step

    def killed(*arguments: Any, **named: Any) -> Any:
        taken[0] += 1
        if taken[0] == 6:
            raise KeyboardInterrupt
        return step(*arguments, **named)

    again = read_plan(config.model_copy(update={"runs": tmp_path / "other"}))
    monkeypatch.setattr(loop, "take_step", killed)
    with pytest.raises(KeyboardInterrupt):
        trained_arms.train(again, again.arms[0], 0)
    third = read_plan(config.model_copy(update={"runs": tmp_path / "other"}))
    assert digests(trained_arms.train(third, third.arms[0], 0).adapter) == ends


def test_tune_trains_on_a_mixture(tmp_path: Path) -> None:
    job = write(tmp_path)
    config = config_of(tmp_path, job, task=str(job / "mix.yaml"), arms=["lora"])
    trained, _ = tune(tuning(config))
    assert trained.result.steps == 12
    assert trained.result.examples == 48


def test_what_cannot_stand_beside_a_mixture_is_said(tmp_path: Path) -> None:
    job = write(tmp_path)
    mixed = {"name": "a", "method": "full", "mixture": str(job / "mix.yaml")}
    for more, message in (
        ({"method": None}, "the arm trains nothing"),
        ({"replay": 0.5}, "what is replayed beside a mixture is one of its sources"),
        ({"weight_examples": "easy"}, "have no loss before"),
        ({"anchor": {"kl": 0.1}}, "full writes to the base, whose distributions are then needed before"),
    ):
        with pytest.raises(LuthierError, match=message):
            planned(tmp_path, arms=[{**mixed, **more}])
    write(tmp_path, tasks=["echo.yaml", "nothing"])
    with pytest.raises(LuthierError, match="no built-in task, file or folder is called 'nothing'"):
        planned(tmp_path, arms=[mixed])


def test_examples_that_are_retained_are_not_trained_on(tmp_path: Path) -> None:
    """Four of a source's training rows stand in the test split of a retained task."""
    job = write(tmp_path, tasks=["echo.yaml", "other.yaml"])
    apart = [{**row, "id": f"other {row['id']}", "text": f"other {row['text']}"} for row in rows("train", 10)]
    write_rows(job / "other.jsonl", apart)
    write_rows(job / "four.jsonl", apart[3:7])
    write_rows(job / "few.jsonl", [{**row, "text": f"few {row['text']}"} for row in rows("few", 3)])
    write_task(job, {**COLOUR, "name": "other"}, source={"train": "other.jsonl", "validation": "few.jsonl"})
    write_task(job, {**COLOUR, "name": "retained"}, source={"train": "few.jsonl", "test": "four.jsonl"})
    plan = planned(tmp_path, task=str(job / "mix.yaml"), arms=["full"], retain=[str(job / "retained.yaml")])
    assert [share.overlapping for share in plan.training.mixtures[str(job / "mix.yaml")].shares] == [0, 4]
