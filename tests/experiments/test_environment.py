"""What a run records of where it was computed: the settings that were really used, versions, hardware and command."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import peft
import pytest
import torch

from luthier.experiments.environment import commit, environment_of, execution_since
from luthier.methods.lora import LoraSettings
from luthier.methods.selective import SelectiveSettings
from luthier.results.records import read_costs
from small_job import Done


def test_every_setting_of_an_arm_is_recorded_not_only_what_was_given(done: Done) -> None:
    lora = next(arm for arm in done.results.arms if arm.name == "lora")
    modules = {
        "llama": ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"],
        "t5": ["k", "o", "q", "v", "wi", "wo"],
    }
    assert lora.settings["rank"] == 4
    assert lora.settings["alpha"] == 8, "twice the rank, which nobody wrote"
    assert (lora.settings["dropout"], lora.settings["rslora"]) == (0.1, False)
    assert lora.settings["targets"] == "all-linear"
    assert lora.settings["target_modules"] == modules[done.kind]
    assert next(arm for arm in done.results.arms if arm.name == "zero_shot").settings == {}


def test_what_follows_from_other_settings_is_filled_in() -> None:
    assert LoraSettings(rank=4).in_full()["alpha"] == 8
    assert LoraSettings(rank=4, alpha=3).in_full()["alpha"] == 3
    assert SelectiveSettings().in_full()["last"] == 2
    assert SelectiveSettings(parts=("biases",)).in_full()["last"] is None


def test_a_run_says_where_and_when_it_was_made(done: Done) -> None:
    environment, execution = done.results.environment, read_costs(done.run).execution
    assert environment is not None
    assert environment.versions["torch"] == torch.__version__
    assert environment.versions["peft"] == peft.__version__
    assert environment.python == ".".join(map(str, sys.version_info[:3]))
    assert (environment.device, environment.commit) == ("cpu", commit())
    assert execution is not None
    assert execution.command == "luthier.compare in Python"
    assert datetime.fromisoformat(execution.started) <= datetime.fromisoformat(execution.finished)


def test_the_command_is_what_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    started = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/luthier", "compare", "my run.yaml", "--seeds", "3"])
    found = execution_since(started)
    assert (found.command, found.started) == ("luthier compare 'my run.yaml' --seeds 3", "2026-01-02T03:04:05+00:00")
    monkeypatch.setattr(sys, "argv", ["/somewhere/luthier/__main__.py", "compare"])
    assert execution_since(started).command == "luthier compare"


def test_the_commit_is_that_of_the_tree_that_runs() -> None:
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        pytest.skip("not a git checkout")
    head = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert commit().rstrip("+") == head.stdout.strip()
    assert environment_of(torch.device("cpu")) == environment_of(torch.device("cpu"))
