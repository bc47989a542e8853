"""Configuration: every fault named with its key and line, all of them at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from luthier.config.arm_settings import ArmConfig
from luthier.config.arms import make_arms
from luthier.config.assignments import nested, overlay, parse_assignments
from luthier.config.base import Settings
from luthier.config.compare import CompareConfig
from luthier.config.training import TrainingConfig
from luthier.config.tune import TuneConfig
from luthier.config.validation import validate
from luthier.config.yaml_file import load_yaml
from luthier.errors import ConfigError, Faults, LuthierError, TaskError


def read(path: Path, text: str) -> CompareConfig:
    path.write_text(text, encoding="utf-8")
    data, lines = load_yaml(path)
    return validate(CompareConfig, data, source=str(path), lines=lines)


def faults(path: Path, text: str) -> list[str]:
    with pytest.raises(LuthierError) as caught:
        read(path, text)
    found = caught.value.faults if isinstance(caught.value, Faults) else (caught.value,)
    assert all(fault.fix for fault in found)
    return [str(fault) for fault in found]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.yaml"


def test_the_word_none_means_the_same_in_a_file_in_python_and_on_the_command_line(path: Path) -> None:
    config = read(path, "retain: none\nretention_text: none\n")
    assert (config.retain, config.retention_text) == ((), None)
    assert CompareConfig.model_validate({"retain": "none", "retention_text": "none"}) == config
    assert TuneConfig.model_validate({"retain": "none"}).retain == ()


def test_a_whole_configuration(path: Path) -> None:
    config = read(
        path,
        "model: owner/tiny\n"
        "arms: [zero_shot, {name: low, method: lora, settings: {rank: 2}, training: {learning_rate: 1e-3}}]\n"
        "data: {train: 400}\n"
        "training:\n  learning_rate: 1e-4\n  clip_norm: null\n",
    )
    assert config.model == "owner/tiny"
    assert config.arms[0] == "zero_shot"
    assert config.arms[1].settings == {"rank": 2}  # type: ignore[union-attr]
    assert config.data.train == 400
    assert config.training.learning_rate == 1e-4  # YAML 1.1 reads it as text
    assert config.training.clip_norm is None
    assert config.training.epochs == TrainingConfig().epochs


def test_all_faults_at_once_each_with_its_line(path: Path) -> None:
    found = faults(
        path,
        "modle: mini\n"
        "training:\n"
        "  epochs: -1\n"
        "  lerning_rate: 0.1\n"
        "  schedule: square\n"
        "data:\n"
        "  max_lost: 2\n"
        "arms:\n"
        "  - zero_shot\n"
        "  - name: x\n"
        "    shot: 3\n",
    )
    assert len(found) == 6
    text = "\n".join(found)
    for line, part in (
        (1, "unknown key 'modle'\n  → Did you mean 'model'?"),
        (3, "key 'training.epochs': Input should be greater than 0 (given: -1)"),
        (4, "unknown key 'training.lerning_rate'\n  → Did you mean 'learning_rate'?"),
        (5, "key 'training.schedule': Input should be 'cosine', 'linear' or 'constant' (given: 'square')"),
        (7, "key 'data.max_lost': Input should be less than or equal to 1 (given: 2)"),
        (11, "unknown key 'arms.1.shot'\n  → Did you mean 'shots'?"),
    ):
        assert f"{path}, line {line}: {part}" in text


def test_the_advice_is_what_the_key_means(path: Path) -> None:
    (found,) = faults(path, "training: {warmup: 3}\n")
    assert "→ Share of the steps over which the learning rate rises from 0." in found


def test_a_missing_key(path: Path) -> None:
    (found,) = faults(path, "arms:\n  - method: lora\n")
    assert found == f"{path}, line 2: key 'arms.0.name' is missing\n  → Add `name:`."


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", 3, "not YAML"),
        ("a: 1\n\tb: 2\n", 2, "not YAML"),
        ("- a\n- b\n", None, "not a mapping of keys to values"),
        ("", None, "not a mapping of keys to values"),
        ("just words\n", None, "not a mapping of keys to values"),
        ("model: a\nseed: 1\nmodel: b\n", 3, "key 'model' was given on line 1 too"),
        ("training:\n  epochs: 1\n  epochs: 2\n", 3, "key 'epochs' was given on line 2 too"),
        ("x: !!python/object/apply:os.system ['true']\n", 1, "not YAML"),
    ],
)
def test_a_file_that_is_no_configuration(path: Path, text: str, line: int | None, part: str) -> None:
    (found,) = faults(path, text)
    assert found.startswith(f"{path}, line {line}: " if line else f"{path}: ")
    assert part in found


def test_a_file_that_cannot_be_read(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the file"):
        load_yaml(path)
    with pytest.raises(ConfigError, match="cannot read the file"):
        load_yaml(tmp_path)
    path.write_bytes(b"model: \xe9t\xe9\n")
    with pytest.raises(TaskError, match=r"not UTF-8 \(byte 7\)"):
        load_yaml(path, TaskError)


@pytest.mark.parametrize(
    ("given", "tree"),
    [
        (["training.epochs=2"], {"training": {"epochs": 2}}),
        (["training.epochs=2", "training.warmup=0", "seed=7"], {"training": {"epochs": 2, "warmup": 0}, "seed": 7}),
        (["training.learning_rate=1e-4"], {"training": {"learning_rate": 1e-4}}),
        (["training.learning_rate=2.5E+1"], {"training": {"learning_rate": 25.0}}),
        (["arms=[full, lora]"], {"arms": ["full", "lora"]}),
        (["training.clip_norm=null"], {"training": {"clip_norm": None}}),
        (["name=a=b"], {"name": "a=b"}),
        (["name="], {"name": None}),
        (["name=infinity"], {"name": "infinity"}),  # a word, not a number
        (["name=1_000e"], {"name": "1_000e"}),
        (["chat=never", "chat=always"], {"chat": "always"}),  # the later one wins
        ([], {}),
    ],
)
def test_assignments(given: list[str], tree: dict[str, Any]) -> None:
    assert parse_assignments(given) == tree


@pytest.mark.parametrize(
    ("given", "part"),
    [
        (["epochs"], "'epochs' is not key=value"),
        (["=3"], "'=3' is not key=value"),
        (["arms=[a"], "the value of 'arms' is not YAML: [a"),
        (["training=1", "training.epochs=2"], "'training.epochs' lies below a key that already has a value"),
        (["training.epochs=2", "training=1"], "'training' lies above a key that already has a value"),
    ],
)
def test_assignments_that_are_none(given: list[str], part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_assignments(given)
    assert part in str(caught.value)
    assert "--set" in str(caught.value)


def test_an_unknown_key_of_an_assignment() -> None:
    with pytest.raises(ConfigError, match=r"--set: unknown key 'training.epoch'") as caught:
        validate(CompareConfig, parse_assignments(["training.epoch=2"]), source="--set")
    assert "Did you mean 'epochs'?" in str(caught.value)


def test_later_layers_win_key_by_key() -> None:
    base = {"training": {"epochs": 3, "warmup": 0.1}, "seed": 1}
    over = {"training": {"epochs": 5}, "model": "m"}
    assert overlay(base, over) == {
        "training": {"epochs": 5, "warmup": 0.1},
        "seed": 1,
        "model": "m",
    }
    assert base == {"training": {"epochs": 3, "warmup": 0.1}, "seed": 1}
    assert overlay({"a": {"b": 1}}, {"a": 2}) == {"a": 2}
    assert nested({"a.b": 1, "a.c": 2}) == {"a": {"b": 1, "c": 2}}


def test_configurations_cannot_be_changed() -> None:
    with pytest.raises(ConfigError, match=r"TrainingConfig\.epochs: settings cannot be changed\n.*model_copy"):
        TrainingConfig().epochs = 5


def every_settings(kind: type[Settings] = Settings) -> set[type[Settings]]:
    return {kind} | {below for child in kind.__subclasses__() for below in every_settings(child)}


def test_every_knob_says_what_it_means() -> None:
    for kind in every_settings():
        for name, field in kind.model_fields.items():
            assert field.description, f"{kind.__name__}.{name} has no docstring"


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        ("training:\n  final: 0.2\n", "final", "final_learning_rate_fraction"),
        ("training:\n  evaluations: 2\n", "evaluations", "validations"),
        ("training:\n  reuse_mib: 0\n", "reuse_mib", "frozen_cache_mib"),
        ("seed: 1\nretain_text: null\n", "retain_text", "retention_text"),
    ],
)
def test_a_former_key_names_the_new_one(path: Path, text: str, old: str, new: str) -> None:
    (found,) = faults(path, text)
    assert found.startswith(f"{path}, line 2: '{old}' is called '{new}' now\n")
    assert found.endswith(f"{new}.")


def test_the_former_key_of_an_arm_s_training_and_the_former_name_of_an_arm() -> None:
    spelled = ArmConfig(name="slow", method="lora", training={"final": 0.5})
    with pytest.raises(Faults) as caught:
        make_arms(["mixture", spelled], training=TrainingConfig(), few_shots=1, seeds=(0,))
    assert "the arm 'mixture' is called 'full_replay' now\n      → Write full_replay." in str(caught.value)
    assert "arm 'slow', training: 'final' is called 'final_learning_rate_fraction' now" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "seeds"),
    [({}, (7,)), ({"seeds": 3}, (0, 1, 2)), ({"seeds": [5]}, (5,)), ({"seeds": [0, 1, 5]}, (0, 1, 5))],
)
def test_seeds(given: dict[str, Any], seeds: tuple[int, ...]) -> None:
    assert validate(CompareConfig, {"seed": 7, **given}, source="x").training_seeds == seeds


@pytest.mark.parametrize(
    ("given", "part"),
    [
        (0, "at least one seed is needed"),
        ([], "at least one seed is needed"),
        ([1, 2, 1], "the seed 1 is given twice"),
        ("many", "a whole number, or a list of whole numbers"),
        ([0, "x"], "a whole number, or a list of whole numbers"),
        (True, "a whole number, or a list of whole numbers"),
    ],
)
def test_seeds_that_are_none(given: object, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(CompareConfig, {"seeds": given}, source="x")
    assert f"x: key 'seeds': {part}" in str(caught.value)


def test_a_run_is_the_same_wherever_it_is_written_and_however_many_processes_work() -> None:
    plain = CompareConfig().identity()
    assert CompareConfig(runs=Path("else"), name="mine", workers=4).identity() == plain
    assert set(plain) == set(CompareConfig.model_fields) - {"runs", "name", "workers", "remake_damaged", "dry_run"}
    assert CompareConfig(seeds=2).identity() != plain
