"""The commands that follow a comparison name everything that the training depends on, and nothing else."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from example_run import SKETCHES, arm
from luthier.config.arm_settings import ArmConfig
from luthier.config.compare import CompareConfig
from luthier.config.layers import read_settings
from luthier.config.tune import TuneConfig
from luthier.config.verbs import VERBS
from luthier.results.choice import Choice
from luthier.results.next_commands import next_commands
from luthier.results.records import Recommendation, RunResults
from luthier.results.summaries import DataSummary, ModelSummary, Search, TaskSummary

SKETCH = {sketch.name: sketch for sketch in SKETCHES}
MODEL = ModelSummary("mini", "d", "decoder", 1, 1, 1)


def made(
    name: str | None, config: dict[str, Any], found: Search | None = None, seeds: tuple[int, ...] = ()
) -> RunResults:
    """The results of a comparison that recommends an arm."""
    arms = tuple(arm(SKETCH[key]) for key in ("zero_shot", "few_shot", "lora", "prompt_tuning"))
    arms = tuple(replace(item, seeds=seeds, search=found if item.name == name else None) for item in arms)
    return RunResults(
        luthier="0",
        run="mine",
        config=CompareConfig.model_validate(config).identity(),
        model=MODEL,
        task=TaskSummary("t", "1", "", "rougeL", ("rougeL",)),
        data=DataSummary(),
        arms=arms,
        pairs=(),
        recommendation=Recommendation("", name, True),
        confidence=0.95,
    )


def lines(
    name: str | None, run: str = "runs/mine", found: Search | None = None, seeds: tuple[int, ...] = (), **config: Any
) -> list[str]:
    """The command lines after it."""
    given = {"arms": ["zero_shot", "few_shot", "lora", "prompt_tuning"], **config}
    return [command.line for command in next_commands(made(name, given, found, seeds), Path(run))]


def tune_settings(line: str) -> TuneConfig:
    """The settings that a `luthier tune …` line stands for."""
    from luthier.cli import VerbCommand

    verb = next(verb for verb in VERBS if verb.name == "tune")
    given = VerbCommand(verb).make_context("tune", shlex.split(line)[2:]).params
    found = read_settings(verb, given, assignments=given["assignments"])
    assert isinstance(found, TuneConfig)
    return found


def test_the_defaults_need_no_more_than_model_task_and_arm() -> None:
    assert lines("lora", task="reviews.yaml") == [
        "luthier tune --model mini --task reviews.yaml --arm lora --save lora-adapter",
        "luthier merge lora-adapter --model mini --task reviews.yaml --out lora-model",
        "luthier predict new.csv --model mini --adapter lora-adapter --out answers.csv",
    ]


def test_what_was_given_is_given_again() -> None:
    given: dict[str, Any] = {
        "model": "a model",
        "task": "it's.csv",
        "device": "cpu",
        "seed": 3,
        "data": {"train": 400, "test": 10, "chat_arguments": {"enable_thinking": False}},
        "training": {"epochs": 2.5, "learning_rate": 1e-5, "betas": [0.8, 0.9]},
        "decoding": {"max_new_tokens": 9},
        "evaluation": {"batch_tokens": 64, "retain_examples": 3},
    }
    keep, _, use = lines("lora", run="else where/mine", seeds=(5, 6), **given)
    found = tune_settings(keep)
    assert found.model == "a model"
    assert found.task == "it's.csv"
    assert (found.device, found.seed) == ("cpu", 3)
    assert found.training_seed == 5, "the first with which the arm was trained"
    assert found.data.train == 400
    assert found.data.chat_arguments == {"enable_thinking": False}
    assert (found.training.epochs, found.training.learning_rate, found.training.betas) == (2.5, 1e-5, (0.8, 0.9))
    assert (found.decoding.max_new_tokens, found.evaluation.batch_tokens) == (9, 64)
    assert found.runs == Path("else where")
    assert "decoding.max_new_tokens=9" in use
    assert "enable_thinking" in use


def test_an_arm_that_was_spelled_out_or_searched_is_spelled_out() -> None:
    spelled = {"name": "lora", "method": {"lora": {"rank": 2}}, "replay": 0.5}
    found = tune_settings(lines("lora", arms=[spelled], retain=["topic"])[0])
    assert found.arm == ArmConfig.model_validate(spelled)
    assert found.retain == ("topic",)
    search = Search(3, 0, 0, {}, {"learning_rate": 0.00123, "rank": 16.0}, 0.5, None)
    found = tune_settings(lines("lora", found=search)[0])
    assert found.arm == ArmConfig(
        name="lora", method="lora", settings={"rank": 16}, training={"learning_rate": 0.00123}
    )


def test_a_chosen_point_is_merged_at_its_scale() -> None:
    spelled = {"name": "lora", "method": "lora", "interpolate": [0.5]}
    results = made("lora", {"arms": [spelled, "zero_shot"]})
    choice = Choice(0.9, "lora", 0.5, True, 0.99, 0.95, (), (), 1, 10, (), "Use lora at 0.5.", "")
    keep, merge = (item.line for item in next_commands(replace(results, choice=choice), Path("runs/mine")))
    assert "interpolate" not in keep
    assert "--scale 0.5" in merge


@pytest.mark.parametrize(
    ("name", "verbs"), [(None, []), ("zero_shot", ["predict"]), ("prompt_tuning", ["tune", "predict"])]
)
def test_what_can_be_done_with_an_arm(name: str | None, verbs: list[str]) -> None:
    assert [line.split()[1] for line in lines(name, arms=["zero_shot", "lora", "prompt_tuning"])] == verbs


def test_a_configuration_of_another_version_is_not_guessed_at() -> None:
    for config in ({"modle": "mini"}, {"arms": ["full"]}):
        assert not next_commands(replace(made("lora", {}), config=config), Path("runs/mine"))


def test_exemplars_are_asked_for_again() -> None:
    assert lines("few_shot", task="topic") == [
        f"luthier predict new.csv --model mini --task topic --shots {SKETCH['few_shot'].shots} --out answers.csv"
    ]
