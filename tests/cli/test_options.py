"""The command line stays small: the options of each verb are counted, and every flag is derived from its setting."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import click
import pytest

from luthier.cli import VerbCommand
from luthier.config.flags import options_of
from luthier.config.layers import read_settings
from luthier.config.merge import MergeConfig
from luthier.config.tune import TuneConfig
from luthier.config.verbs import VERBS, Verb, settings_class, verb_of
from small_job import luthier

MOST_OPTIONS = {
    "compare": 22,  # --dry-run: asked by hand; --retain-at-least, --extrapolate, --sequence: what is asked of a run
    "curve": 18,
    "tune": 13,  # --start: what this training goes on from
    "merge": 14,  # --how, --weights, --density and --scale: how adapters become one is said anew each time
    "eval": 20,  # --data, --suite, --compare: where benchmarks are, what is measured of a task, and a second model;
    # --run-code: leave that is given by hand alone
    "predict": 12,
    "sample": 16,  # --reward, --gold, --n, --keep, --at-least: what is drawn and kept is said anew each time
    "check": 7,
    "score": 16,  # it has no --set, so that the size limit needs a flag to be raised
    "report": 0,
    "store list": 3,
    "store size": 1,
    "store clean": 8,
    "tasks list": 0,
    "tasks show": 1,
    "tasks new": 1,
    "tasks preview": 4,
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


ONE_MEANING = {
    "--out": "what the command writes",
    "-o": "what the command writes",
    "--task": "the task by which a model is trained, asked, or proved",
    "-t": "the task, or the tasks, by which a model is trained, asked, proved, or measured",
    "--runs": "the folder of runs and of the store that they share",
    "--seed": "the seed of everything that is drawn",
    "--save": "where what was made is put",
    "--arms": "the arms that are trained and measured",
    "--seeds": "the seeds with which every arm is trained",
    "--shots": "how many exemplars stand before a prompt",
}
"""Options that verbs explain in words of their own, and what each means for all of them."""
SEVERAL_KEYS = {"-t": {"task", "tasks"}}


def test_one_option_has_one_meaning_over_all_verbs() -> None:
    keys, words = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    for verb in WITH_SETTINGS:
        for option in options_of(verb):
            if not option.flag.position:
                for name in (option.flag.option, *[f"-{option.flag.short}"] * bool(option.flag.short)):
                    keys[name].add(option.flag.key)
                    words[name].add(option.help)
    assert {name: found for name, found in keys.items() if len(found) > 1} == SEVERAL_KEYS
    explained = {name for name, found in words.items() if len(found) > 1}
    assert explained == ONE_MEANING.keys(), "an option with another explanation: is it the same meaning? Write it down."


def test_a_short_option_stands_for_one_long_option() -> None:
    longs = defaultdict[str, set[str]](set)
    for verb in VERBS:
        command = VerbCommand(verb)
        for item in command.get_params(click.Context(command)):
            if isinstance(item, click.Option):
                assert len(item.opts) == len(set(item.opts)) <= 2, f"luthier {verb.name}: {item.opts}"
                for short in (name for name in item.opts if not name.startswith("--")):
                    longs[short] |= {name for name in item.opts if name.startswith("--")}
    assert dict(longs) == {
        "-m": {"--model"},
        "-t": {"--task", "--tasks"},
        "-a": {"--arm"},
        "-o": {"--out"},
        "-p": {"--predictions"},
        "-r": {"--references"},
    }


@pytest.mark.parametrize("verb", [verb.name for verb in VERBS])
def test_help_lists_each_option_once(verb: str) -> None:
    shown = [line.split("  ")[1] for line in luthier(*verb.split(), "--help").out.splitlines() if line[:3] == "  -"]
    names = [word.strip(",") for line in shown for word in line.split() if word.startswith("-")]
    assert "--help" in names
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("command", "new"),
    [
        ("compare --out x", "--runs"),
        ("compare -o x", "--runs"),
        ("tune -ox", "--runs"),
        ("eval --out=x", "--runs"),
        ("store list --out x", "--runs"),
        ("store size -o x", "--runs"),
        ("store clean -o x --everything", "--runs"),
        ("score -p p.txt -r r.txt -m rouge", "--metric"),
        ("score -p p.txt -r r.txt --test bootstrap", "--significance"),
        ("eval --limit 5", "--test"),  # as lm-eval calls it
        ("eval --num-fewshot=5", "--shots"),
    ],
)
def test_a_flag_that_meant_two_things_is_named_by_its_new_name(command: str, new: str) -> None:
    ran = luthier(*command.split())
    assert (ran.code, ran.out) == (2, "")
    assert f"is called '{new}' now\n  → Write {new}." in ran.err


@pytest.mark.parametrize(("name", "old", "new"), [("compare", "out", "runs"), ("predict", "store", "runs")])
def test_a_key_that_was_renamed_is_named_by_its_new_name(name: str, old: str, new: str) -> None:
    ran = luthier(name, *(["x.csv"] if name == "predict" else []), "--set", f"{old}=somewhere")
    assert ran.code == 2
    assert f"'{old}' is called '{new}' now\n  → Write {new}." in ran.err


def test_a_verb_is_found_from_its_class() -> None:
    for verb in WITH_SETTINGS:
        assert verb_of(settings_class(verb)) is verb
    assert verb_of(Path) is None


def test_each_kind_of_value() -> None:
    given = ("--arms", "zero_shot, lora,", "--retain", "none", "--retention-text", "none", "--seeds", "0,1,5")
    more = ("--train", "7", "--search", "2", "--trust-remote-code", "--runs", "here", "--workers", "2")
    config = read_settings(VERB["compare"], parsed("compare", *given, *more))
    assert config.model_dump(exclude_unset=True) == {
        "arms": ("zero_shot", "lora"),
        "retain": (),
        "retention_text": None,
        "seeds": (0, 1, 5),
        "data": {"train": 7},
        "search": {"trials": 2},
        "trust_remote_code": True,
        "runs": Path("here"),
        "workers": 2,
    }
    seeds = read_settings(VERB["compare"], parsed("compare", "--seeds", "3"))
    assert seeds.model_dump(exclude_unset=True) == {"seeds": 3}
    config = read_settings(VERB["eval"], parsed("eval", "--no-cache", "-t", "topic,reading_qa", "--engine", "torch"))
    evaluation = {"cache": False, "engine": "torch"}
    assert config.model_dump(exclude_unset=True) == {"tasks": ("topic", "reading_qa"), "evaluation": evaluation}
    files = (
        "-p",
        "a.txt",
        "-p",
        "b.txt",
        "--metric",
        "rouge,bleu",
        "--metric",
        "chrf",
        "--confidence",
        "0.9",
        "--allow-empty",
    )
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
    assert (merged.adapter, merged.out, merged.sample, merged.task) == ((Path("lora"),), Path("whole"), 4, None)
    file = tmp_path / "c.yaml"
    file.write_text("arm: {name: small, method: {lora: {rank: 2}}}\nseed: 3\n")
    tuned = read_settings(VERB["tune"], parsed("tune"), file=file, assignments=["seed=4"])
    assert isinstance(tuned, TuneConfig)
    assert not isinstance(tuned.arm, str)
    assert (tuned.arm.settings, tuned.seed) == ({"rank": 2}, 4)
    tuned = read_settings(VERB["tune"], parsed("tune", "-a", "full", "--seed", "5"), file=file, assignments=["seed=4"])
    assert isinstance(tuned, TuneConfig)
    assert (tuned.arm, tuned.seed) == ("full", 5)
