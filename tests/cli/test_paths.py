"""Files on the command line: paths in a configuration, and a file of another kind than is expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from luthier.config.compare import CompareConfig
from luthier.config.evaluate import EvaluateConfig
from luthier.config.layers import read_settings
from luthier.config.verbs import VERBS
from luthier.errors import ConfigError

COMPARE = next(verb for verb in VERBS if verb.name == "compare")


def read(file: Path) -> CompareConfig:
    settings = read_settings(COMPARE, {}, file=file)
    assert isinstance(settings, CompareConfig)
    return settings


def test_paths_in_a_configuration_are_relative_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = tmp_path / "job"
    for folder in ("model", "topic"):
        (job / folder).mkdir(parents=True)
    for name in ("task.yaml", "other.jsonl", "held.txt"):
        (job / name).touch()
    config = job / "compare.yaml"
    config.write_text(
        "model: model\ntask: task.yaml\nretain: [other.jsonl, topic]\nretention_text: held.txt\nruns: runs\n"
    )
    found = read(Path("job/compare.yaml"))
    assert found.model == str(Path("job") / "model")
    assert found.task == str(Path("job") / "task.yaml")
    assert found.retain == (str(Path("job") / "other.jsonl"), "topic")  # a bare name is a task's, not a folder's
    assert found.retention_text == str(Path("job") / "held.txt")
    assert found.runs == Path("job/runs")


def test_what_a_command_writes_lies_beside_its_configuration(tmp_path: Path) -> None:
    config = tmp_path / "job" / "eval.yaml"
    config.parent.mkdir()
    config.write_text("tasks: [topic]\nruns: kept\nanswers: given\n")
    verb = next(verb for verb in VERBS if verb.name == "eval")
    found = read_settings(verb, {}, file=config)
    assert isinstance(found, EvaluateConfig)
    assert (found.runs, found.answers) == (config.parent / "kept", config.parent / "given")


def test_what_does_not_lie_beside_a_configuration_stays_as_it_is(tmp_path: Path) -> None:
    config = tmp_path / "compare.yaml"
    config.write_text("model: owner/name\ntask: topic\nretain: [hf:owner/data, review_sentiment]\n")
    found = read(config)
    assert (found.model, found.task, found.retain) == ("owner/name", "topic", ("hf:owner/data", "review_sentiment"))


def test_a_task_where_a_configuration_is_expected(tmp_path: Path) -> None:
    task = tmp_path / "tickets.yaml"
    task.write_text("name: tickets\nsource: tickets.csv\ntarget: x\ntemplates: [{name: a, prompt: b}]\n")
    with pytest.raises(ConfigError) as fault:
        read(task)
    assert "this is a task, and a configuration is expected here" in str(fault.value)
    assert f"luthier compare --task {task}" in str(fault.value)


def test_a_data_file_where_a_configuration_is_expected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"this is a data file.*\n.*luthier compare --task"):
        read(tmp_path / "tickets.csv")
