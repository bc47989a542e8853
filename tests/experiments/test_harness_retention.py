"""Forgetting on tasks of lm-eval: measured before and after training, paired, with the group's own number."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("lm_eval")

from luthier.config.compare import CompareConfig
from luthier.config.data import EvaluationDataConfig
from luthier.config.evaluate import EvaluateConfig
from luthier.config.evaluation import EngineConfig
from luthier.errors import LuthierError
from luthier.experiments.compare import compare
from luthier.experiments.evaluate import evaluate
from luthier.report import derived
from luthier.report.page import write_report
from luthier.results.records import RetentionResult, read_results
from small_job import comparison, write_job
from tiny_models import tiny_folder

ROWS = [{"question": f"{place} the {('cat', 'dog')[place % 2]} sat? ", "label": place % 3} for place in range(24)]


def write_group(folder: Path) -> Path:
    """Two tasks of choices, and a group with the mean of both."""
    folder.mkdir()
    for name, rows in (("first", ROWS[:8]), ("second", ROWS[8:])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        files = {"data_files": {"test": f"{name}.jsonl"}, "cache_dir": str(folder / "cache")}
        spec: dict[str, Any] = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": files,
            "output_type": "multiple_choice",
            "test_split": "test",
            "doc_to_text": "{{question}}",
            "doc_to_choice": ["red", "dog", "the cat"],
            "doc_to_target": "label",
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
            "metadata": {"version": 1},
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(spec))
    group = {
        "group": "both",
        "task": ["first", "second"],
        "aggregate_metric_list": [{"metric": "acc", "weight_by_size": False}],
    }
    (folder / "both.yaml").write_text(yaml.safe_dump(group))
    return folder


TRAINING = {"steps": 6, "batch_size": 4, "validations": 1, "learning_rate": 0.3}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("retention")
    return compare(asked(folder))


def asked(folder: Path, **changes: Any) -> CompareConfig:
    retain = [str(folder / "job" / "colour.yaml"), f"lm_eval:{write_group(folder / 'harness')}"]
    settings: dict[str, Any] = {"arms": ["zero_shot", "full"], "retain": retain, "training": TRAINING}
    settings |= {"evaluation": {"resamples": 100, "retain_examples": 12}}
    return comparison("llama", write_job(folder / "job"), folder / "runs", **(settings | changes))


def kept(run: Path) -> dict[str, RetentionResult]:
    (_, full) = read_results(run).arms
    return {item.task: item for item in full.retained}


def test_each_task_and_the_group_are_retained(run: Path) -> None:
    found = kept(run)
    assert list(found) == ["colour", "lm_eval:first", "lm_eval:second", "lm_eval:both"]
    assert [item.before.n for item in found.values()] == [6, 8, 12, 20], "the limit of 12 is drawn"
    assert [item.group for item in found.values()] == [False, False, False, True]
    for when in ("before", "after"):
        first, second, both = (getattr(found[f"lm_eval:{name}"], when) for name in ("first", "second", "both"))
        assert both.value == pytest.approx((first.value + second.value) / 2)
    assert found["lm_eval:both"].change.n == 20
    assert found["lm_eval:both"].change.value == pytest.approx(
        found["lm_eval:both"].after.value - found["lm_eval:both"].before.value
    )


def test_training_that_ruins_the_model_changes_answers(run: Path) -> None:
    """Else the change of every task would be 0 whatever is measured."""
    assert any(item.change.value != 0 for name, item in kept(run).items() if name.startswith("lm_eval:"))


def test_an_evaluation_with_the_adapter_gives_the_numbers_of_after(run: Path) -> None:
    folder = run.parents[1]
    (adapter,) = (run.parent / "store" / "models").glob("*/adapter")
    settings = EvaluateConfig(
        model=str(tiny_folder("llama")),
        adapter=adapter,
        tasks=(f"lm_eval:{folder / 'harness'}",),
        runs=folder / "eval",
        device="cpu",
        data=EvaluationDataConfig(test=12),
        evaluation=EngineConfig(resamples=100),
    )
    found = {own.task.name: own.scores[0].value for own in evaluate(settings)}
    assert found == {name: item.after.value for name, item in kept(run).items() if name != "colour"}


def test_the_mean_of_what_was_forgotten_counts_no_task_twice(run: Path) -> None:
    (_, found_arm) = read_results(run).arms
    # A model of random weights can do none of them, and what was never known counts in no mean.
    assert derived.forgetting(found_arm) is None
    full = replace(found_arm, retained=tuple(replace(item, able=True) for item in found_arm.retained))
    changes = [100 * item.change.value for item in full.retained if not item.group]
    found = derived.forgetting(full)
    assert found is not None
    assert found.tasks == len(changes) == 3
    assert found.mean == pytest.approx(sum(changes) / 3)


def test_the_page_shows_them(run: Path) -> None:
    page = write_report(run).read_text(encoding="utf-8")
    assert all(f"lm_eval:{name}" in page for name in ("first", "second", "both"))


def test_an_arm_cannot_replay_what_has_no_training_examples(tmp_path: Path) -> None:
    config = asked(tmp_path, arms=["full_replay"])
    only = config.model_copy(update={"retain": config.retain[1:] if config.retain else None})
    with pytest.raises(LuthierError, match="no task is retained, so there is nothing to replay") as found:
        compare(only)
    assert "tasks of lm-eval have no training examples" in found.value.fix


def test_faults_of_both_kinds_of_tasks_are_told_at_once(tmp_path: Path) -> None:
    config = asked(tmp_path, retain=["no_such_task", f"lm_eval:{tmp_path}/none.yaml"])
    with pytest.raises(LuthierError) as found:
        compare(config)
    assert "no built-in task, file or folder is called 'no_such_task'" in str(found.value)
    assert "none.yaml: there is no such file or folder" in str(found.value)
