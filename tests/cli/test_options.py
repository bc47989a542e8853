"""The command line stays small: the options of each verb are counted, and every flag is derived from its setting."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from luthier.cli import VerbCommand
from luthier.config.flags import options_of
from luthier.config.layers import read_settings
from luthier.config.merge import MergeConfig
from luthier.config.tune import TuneConfig
from luthier.config.verbs import VERBS, Verb, settings_class, verb_of

MOST_OPTIONS = {
    "compare": 17,
    "tune": 11,
    "merge": 9,
    "eval": 16,
    "predict": 11,
    "check": 6,
    "score": 16,  # it has no --set, so that the size limit needs a flag to be raised
    "report": 0,
    "store list": 3,
    "store size": 1,
    "store clean": 8,
    "tasks list": 0,
    "tasks show": 0,
    "tasks new": 1,
    "tasks preview": 3,
}
"""Options of each verb, without arguments and --help. A setting needs no flag: ``--set`` reaches all of them.

Lower a number when an option goes; before raising one, ask whether people type the option by hand every day."""
VERB = {verb.name: verb for verb in VERBS}
WITH_SETTINGS = [verb for verb in VERBS if verb.settings]


def parsed(name: str, *arguments: str) -> dict[str, object]:
    return VerbCommand(VERB[name]).make_context(name, list(arguments)).params


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_no_verb_has_more_options_than_it_had(verb: Verb) -> None:
    command = VerbCommand(verb)
    found = [item for item in command.get_params(click.Context(command)) if isinstance(item, click.Option)]
    names = sorted(max(item.opts, key=len) for item in found)
    assert len(names) - names.count("--help") == MOST_OPTIONS[verb.name], names


@pytest.mark.parametrize("verb", WITH_SETTINGS, ids=lambda verb: verb.name)
def test_a_flag_says_what_its_setting_says(verb: Verb) -> None:
    command = VerbCommand(verb)
    parameters = {item.name: item for item in command.get_params(click.Context(command))}
    for option in options_of(verb):
        text = str(parameters[option.flag.parameter].help)
        assert option.help
        assert text.startswith(option.help)
        assert option.default in text


@pytest.mark.parametrize("verb", WITH_SETTINGS, ids=lambda verb: verb.name)
def test_flags_that_are_not_given_change_no_setting(verb: Verb) -> None:
    required = [option for option in options_of(verb) if option.required]
    words = [word for option in required for word in (["x"] if option.flag.position else [option.flag.option, "x"])]
    settings = read_settings(verb, parsed(verb.name, *words))
    assert settings.model_fields_set == {option.flag.key for option in required}


def test_a_verb_is_found_from_its_class() -> None:
    for verb in WITH_SETTINGS:
        assert verb_of(settings_class(verb)) is verb
    assert verb_of(Path) is None


def test_each_kind_of_value() -> None:
    given = ("--arms", "zero_shot, lora,", "--retain", "none", "--retention-text", "none", "--seeds", "0,1,5")
    more = ("--train", "7", "--search", "2", "--trust-remote-code", "--out", "here", "--workers", "2")
    config = read_settings(VERB["compare"], parsed("compare", *given, *more))
    assert config.model_dump(exclude_unset=True) == {
        "arms": ("zero_shot", "lora"),
        "retain": (),
        "retention_text": None,
        "seeds": (0, 1, 5),
        "data": {"train": 7},
        "search": {"trials": 2},
        "trust_remote_code": True,
        "out": Path("here"),
        "workers": 2,
    }
    seeds = read_settings(VERB["compare"], parsed("compare", "--seeds", "3"))
    assert seeds.model_dump(exclude_unset=True) == {"seeds": 3}
    config = read_settings(VERB["eval"], parsed("eval", "--no-cache", "-t", "topic,reading_qa", "--engine", "torch"))
    evaluation = {"cache": False, "engine": "torch"}
    assert config.model_dump(exclude_unset=True) == {"tasks": ("topic", "reading_qa"), "evaluation": evaluation}
    files = ("-p", "a.txt", "-p", "b.txt", "-m", "rouge,bleu", "-m", "chrf", "--confidence", "0.9", "--allow-empty")
    config = read_settings(VERB["score"], parsed("score", *files))
    assert config.model_dump(exclude_unset=True) == {
        "predictions": (Path("a.txt"), Path("b.txt")),
        "metrics": ("rouge", "bleu", "chrf"),
        "confidence": 0.9,
        "allow_empty": True,
    }


def test_an_adapter_is_an_argument_and_an_arm_may_be_spelled_out(tmp_path: Path) -> None:
    merged = read_settings(VERB["merge"], parsed("merge", "lora", "-o", "whole", "--sample", "4"))
    assert isinstance(merged, MergeConfig)
    assert (merged.adapter, merged.out, merged.sample, merged.task) == (Path("lora"), Path("whole"), 4, None)
    file = tmp_path / "c.yaml"
    file.write_text("arm: {name: small, method: {lora: {rank: 2}}}\nseed: 3\n")
    tuned = read_settings(VERB["tune"], parsed("tune"), file=file, assignments=["seed=4"])
    assert isinstance(tuned, TuneConfig)
    assert not isinstance(tuned.arm, str)
    assert (tuned.arm.settings, tuned.seed) == ({"rank": 2}, 4)
    tuned = read_settings(VERB["tune"], parsed("tune", "-a", "full", "--seed", "5"), file=file, assignments=["seed=4"])
    assert isinstance(tuned, TuneConfig)
    assert (tuned.arm, tuned.seed) == ("full", 5)
