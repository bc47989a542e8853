"""A training's key holds everything that its result depends on, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.config.training import TrainingConfig
from luthier.experiments.plan import Plan, name_of_run, read_plan
from luthier.experiments.trained_arms import entry_of, job_of, train
from luthier.methods.adapter_io import read_card
from luthier.objectives.penalty import L2StartingPoint, L2StartingPointSettings
from luthier.rewards.reward import read_reward
from luthier.training.job import TrainingJob
from luthier.training.selection import OtherTask, Selection
from luthier.training.start import finished_training
from luthier.training.trained import TrainingCosts, TrainingResult, read_trained
from small_job import ECHO, comparison, write_job, write_task

QUICK = {"steps": 2, "batch_size": 4, "validations": 1}


def planned(job: Path, **changes: Any) -> Plan:
    settings: dict[str, Any] = {"arms": ["lora"], "retain": [], "retention_text": None, "training": QUICK}
    return read_plan(comparison("llama", job, job.parent / "runs", **{**settings, **changes}))


def key(plan: Plan, *, seed: int = 0) -> str:
    return entry_of(plan, plan.arms[0], seed).key


TASK_CHANGES: dict[str, dict[str, Any]] = {
    "stop": {"stop": ["\n"]},
    "max_new_tokens": {"max_new_tokens": 5},
    "options of the primary metric": {"metrics": ["bleu:lowercase=yes"], "primary": "bleu"},
    "primary": {"primary": "exact_match"},
    "name of the template": {"templates": [{"name": "other", "prompt": "{{ text }}\nanimal:"}]},
    "prompt": {"templates": [{"name": "plain", "prompt": "{{ text }}\nwhich animal?"}]},
    "extraction of the answer": {"extract": {"find": "([a-z]+)"}},
    "name": {"name": "other_echo"},
}
TASK_LEFT_ALONE: dict[str, dict[str, Any]] = {
    "a metric that chooses nothing": {"metrics": ["token_f1", "exact_match", "bleu"]},
    "description": {"description": "Say which animal it is."},
    "citation": {"citation": "Nobody (1999)"},
}


@pytest.mark.parametrize("change", TASK_CHANGES)
def test_what_the_task_decides_changes_the_key(change: str, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job")
    before = key(planned(job))
    (job / "echo.yaml").unlink()
    path = write_task(job, ECHO, **TASK_CHANGES[change])
    assert key(planned(job, task=str(path))) != before


def test_the_options_of_a_metric_alone_change_the_key(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job")
    keys = set()
    for metric in ("bleu", "bleu:lowercase=yes"):
        write_task(job, ECHO, metrics=[metric], primary="bleu")
        keys.add(key(planned(job)))
    assert len(keys) == 2


@pytest.mark.parametrize("change", TASK_LEFT_ALONE)
def test_what_changes_no_training_leaves_the_key_alone(change: str, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job")
    before = key(planned(job))
    write_task(job, ECHO, **TASK_LEFT_ALONE[change])
    assert key(planned(job)) == before


def test_another_stop_string_trains_again_and_gives_its_own_card(tmp_path: Path) -> None:
    """It used to find the earlier training, whose card told the earlier stop string."""
    job = write_job(tmp_path / "job")
    cards = []
    for stop, most in ((["\n"], 4), ([], 12)):
        write_task(job, ECHO, stop=stop, max_new_tokens=most)
        plan = planned(job)
        cards.append(read_card(train(plan, plan.arms[0], 0).adapter).stop)
    assert cards == [("\n",), ()]


def test_every_field_of_the_training_settings_is_in_the_key_or_changes_no_bit(tmp_path: Path) -> None:
    other: dict[str, Any] = {
        "learning_rate": 0.5,
        "epochs": 9.0,
        "steps": 3,
        "batch_size": 3,
        "micro_tokens": 77,
        "schedule": "linear",
        "warmup": 0.5,
        "final_learning_rate_fraction": 0.5,
        "weight_decay": 0.5,
        "betas": (0.5, 0.5),
        "epsilon": 0.5,
        "clip_norm": 0.5,
        "validations": 2,
        "validation_examples": 1,
        "select": "mean",
        "patience": 1,
        "activation_checkpointing": True,
        "frozen_cache_mib": 1,
    }
    assert other.keys() | {"checkpoint_seconds", "trackers"} == TrainingConfig.model_fields.keys()
    plan = planned(write_job(tmp_path / "job"))
    arm, before = plan.arms[0], key(plan)
    job = job_of(plan, arm, 0)
    for name, value in other.items():
        recipe = replace(job.recipe, config=job.recipe.config.model_copy(update={name: value}))
        assert replace(job, recipe=recipe).entry(plan.config.runs).key != before, name
    for name, value in {"checkpoint_seconds": 1.0, "trackers": ("tensorboard",)}.items():
        changed = replace(arm, training=arm.training.model_copy(update={name: value}))
        assert entry_of(plan, changed, 0).key == before, name


def test_every_part_of_a_job_is_in_its_key_but_its_name(tmp_path: Path) -> None:
    folder = write_job(tmp_path / "job")
    half = {"name": "half", "method": "lora", "replay": 0.5}
    plan = planned(folder, arms=["lora", half], retain=[str(folder / "colour.yaml")])
    other_data = planned(write_job(tmp_path / "other", train=11, validation=2))
    arm = plan.arms[0]
    job = job_of(plan, arm, 0)
    other = job_of(other_data, arm, 0)
    penalty = L2StartingPoint(L2StartingPointSettings(weight=0.1))
    changed: dict[str, TrainingJob[Any]] = {
        "model": replace(job, model="another"),
        "task": replace(job, task=replace(job.task, batch_tokens=99)),
        "method": job_of(plan, replace(arm, method="full"), 0),
        "settings": job_of(plan, replace(arm, settings={"rank": 3}), 0),
        "recipe": replace(job, recipe=replace(job.recipe, penalties=(penalty,))),
        "stream": replace(job, stream=other.stream),
        "validation": replace(job, validation=other.validation),
        "compute": replace(job, compute=replace(job.compute, threads=7)),
        "start": replace(job, start=finished_training(job.entry(tmp_path))),
        "selection": replace(job, selection=Selection("mean", (OtherTask(job.task, ()),))),
        "reward": replace(job, reward=read_reward("rougeL", where="test")),
    }
    assert changed.keys() | {"name", "run"} == job.__dataclass_fields__.keys()
    keys = {part: other_job.entry(tmp_path).key for part, other_job in changed.items()}
    assert len({job.entry(tmp_path).key, *keys.values()}) == len(keys) + 1
    assert replace(job, name="another").entry(tmp_path).key == job.entry(tmp_path).key
    assert key(plan, seed=1) != key(plan, seed=0)
    assert job_of(plan, plan.arms[1], 0).stream.digest != job.stream.digest, "replayed examples"


def test_decoding_decides_the_key_but_only_by_what_it_comes_to(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job")
    before = key(planned(job))
    assert key(planned(job, decoding={"temperature": 0.5})) != before
    assert key(planned(job, decoding={"max_new_tokens": 9})) != before
    assert key(planned(job, decoding={"max_new_tokens": ECHO["max_new_tokens"]})) == before


def test_a_trained_arm_is_read_back_as_records(tmp_path: Path) -> None:
    plan = planned(write_job(tmp_path / "job"))
    done = train(plan, plan.arms[0], 0)
    again = read_trained(entry_of(plan, plan.arms[0], 0))
    assert again == done
    assert isinstance(again.result, TrainingResult)
    assert isinstance(again.costs, TrainingCosts)
    assert (again.result.steps, again.result.best_step) == (2, 2)
    assert again.costs.threads == torch.get_num_threads()
    assert again.validation_scores == (again.result.best_score,)
    stored = json.loads((again.entry.folder / "entry.json").read_text())
    assert stored["about"] == {"task": "echo", "arm": "lora", "run": name_of_run(plan), "made": stored["about"]["made"]}
    assert stored["inputs"] == json.loads(json.dumps(job_of(plan, plan.arms[0], 0).key_inputs()))


def test_a_score_that_could_not_be_measured_is_read_back_as_such(tmp_path: Path) -> None:
    from luthier.files.store import open_entry
    from luthier.training.trained import write_trained

    entry = open_entry(tmp_path, "models", {})
    result = TrainingResult(2, 1, float("nan"), float("nan"), True, 5, 6, 0.1, 512, 8, 40)
    entry.work.mkdir(parents=True)
    write_trained(entry.work, result, TrainingCosts(1.0, None, None, 1))
    (entry.work / "log.jsonl").touch()
    entry.finish()
    found = read_trained(entry).result
    assert found.best_score is not None
    assert found.best_score != found.best_score
