"""Replay: an arm that is also trained on examples of the retained tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from luthier.errors import LuthierError
from luthier.experiments.compare import compare
from luthier.experiments.plan import Plan, read_plan
from luthier.experiments.tune import tune
from luthier.results.records import read_results
from small_job import COLOURS, comparison, tuning, write_job

TRAINING = {"steps": 4, "batch_size": 4, "validations": 1}


def planned(folder: Path, **changes: Any) -> Plan:
    job = write_job(folder / "job")
    return read_plan(comparison("llama", job, folder / "runs", training=TRAINING, **changes))


def test_full_replay_holds_as_many_examples_of_other_tasks_as_of_its_own(tmp_path: Path) -> None:
    plan = planned(tmp_path, arms=["full", "full_replay", {"name": "half", "method": "lora", "replay": 0.5}])
    full, full_replay, half = (plan.training.of(arm).train for arm in plan.arms)
    assert [len(data.records) for data in (full, full_replay, half)] == [12, 24, 18]
    assert full_replay.records[:12] == full.records == half.records[:12]
    assert full_replay.records[12:18] == half.records[12:], "the same examples come first"
    assert len({full.digest, full_replay.digest, half.digest}) == 3
    targets = {
        plan.model.tokenizer.decode(item.target_ids, skip_special_tokens=True).strip() for item in half.records[12:]
    }
    assert targets <= set(COLOURS), "answers of the colour task"
    assert len({id(plan.training.of(arm).validation) for arm in plan.arms}) == 1, "chosen on the target alone"


def test_full_replay_is_trained_and_says_so(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job")
    config = comparison("llama", job, tmp_path / "runs", arms=["zero_shot", "full", "full_replay"], training=TRAINING)
    arms = {arm.name: arm for arm in read_results(compare(config)).arms}
    assert arms["full_replay"].notes == ("12 training examples of the retained tasks were replayed",)
    assert arms["full"].notes == ()
    assert arms["full_replay"].retained[0].after.value != arms["full"].retained[0].after.value or (
        arms["full_replay"].token_loss != arms["full"].token_loss
    )


def test_tune_reads_the_watched_tasks_for_an_arm_that_replays_them(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job")
    config = comparison("llama", job, tmp_path / "runs", arms=["full_replay"], training=TRAINING)
    trained, _ = tune(tuning(config, retain=config.retain))
    assert trained.result.steps == 4


def test_nothing_to_replay_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LuthierError, match="no task is retained, so there is nothing to replay"):
        planned(tmp_path, arms=["full_replay"], retain=[])
