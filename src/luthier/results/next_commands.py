"""What to type after a comparison: the commands that keep, merge and use the arm that it recommends."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.config.arm_settings import ArmConfig
from luthier.config.arms import PRESETS, reads_retained
from luthier.config.compare import CompareConfig
from luthier.config.data import EncodingConfig
from luthier.config.interpolation import TRAINED
from luthier.config.training import TrainingConfig
from luthier.config.tune import TuneConfig
from luthier.errors import LuthierError
from luthier.results.records import ArmResult, RunResults

NEW_ROWS, ANSWERS = "new.csv", "answers.csv"
_IN_WEIGHTS = frozenset({"full", "selective", "lora"})
"""Methods that can be folded into the weights; of peft's, IA3."""
_OF_PROMPTS = tuple(f"data.{name}" for name in EncodingConfig.model_fields if name != "reasoning")


@dataclass(frozen=True, slots=True)
class NextCommand:
    """A command line.

    Attributes:
        purpose: What it is for, in a few words.
        line: As it is typed in a shell, in the folder in which the comparison was started.
    """

    purpose: str
    line: str


def next_commands(results: RunResults, run: Path) -> tuple[NextCommand, ...]:
    """Return the commands that keep, merge and use the recommended arm.

    There are none where no arm is recommended, or the run's configuration is not one of this version. The first finds
    the trained arm in the store: it says everything that the training depends on.

    Args:
        results: Of the run.
        run: Its folder, beside which the store lies.
    """
    arm = next((arm for arm in results.arms if arm.name == results.recommendation.arm), None)
    config = _configuration(results)
    if arm is None or config is None or arm.name not in map(_name, config["arms"]):
        return ()
    common = ["--model", str(config["model"])]
    place = ["--device", str(config["device"])] if config.get("device") else []
    place += ["--trust-remote-code"] if config.get("trust_remote_code") else []
    task = ["--task", str(config["task"])]
    asked = [*_changed(config, (*_OF_PROMPTS, *_keys_under("decoding"))), *place]
    if arm.method is None:
        shots = ["--shots", str(arm.shots)] if arm.shots else []
        words = ("predict", NEW_ROWS, *common, *task, *shots, *asked, "--out", ANSWERS)
        return (NextCommand("answer new rows as this arm does", _line(words)),)
    kept = f"{arm.name}-adapter"
    keep = NextCommand("keep it", _line(("tune", *common, *task, *_training(config, arm, run), *place, "--save", kept)))
    at = results.choice.at if results.choice is not None else TRAINED
    scaled = [] if at == TRAINED else ["--scale", f"{at:g}"]
    beyond = ["--extrapolate"] if at > TRAINED else []
    merged = ("merge", kept, *common, *task, *scaled, *beyond, *place, "--out", f"{arm.name}-model")
    merge = NextCommand("fold it into a whole model", _line(merged))
    words = ("predict", NEW_ROWS, *common, "--adapter", kept, *asked, "--out", ANSWERS)
    use = NextCommand("answer new rows with it", _line(words))
    if scaled:
        return (keep, merge) if _can_be_merged(arm) else (keep,)
    return (keep, merge, use) if _can_be_merged(arm) else (keep, use)


def _configuration(results: RunResults) -> dict[str, Any] | None:
    """Return every setting of a run, or None where they are not this version's."""
    try:
        return CompareConfig.model_validate(results.config).identity()
    except LuthierError:
        return None


def _name(item: str | Mapping[str, Any]) -> str:
    return item if isinstance(item, str) else str(item["name"])


def _can_be_merged(arm: ArmResult) -> bool:
    return arm.method in _IN_WEIGHTS or arm.settings.get("peft_type") == "IA3"


def _training(config: Mapping[str, Any], arm: ArmResult, run: Path) -> Iterator[str]:
    """Yield the words that make the same training of the command as of the comparison, its first seed's."""
    item = _arm_item(config, arm)
    if isinstance(item, str):
        yield from ("--arm", item)
    else:
        yield from ("--set", f"arm={json.dumps(item, ensure_ascii=False)}")
    spelled = item if isinstance(item, str) else ArmConfig.model_validate(item)
    if reads_retained(spelled) and config.get("retain") is not None:
        yield from ("--set", f"retain={json.dumps(config['retain'], ensure_ascii=False)}")
    if config.get("seed"):
        yield from ("--seed", str(config["seed"]))
    trained_with = next(iter(arm.seeds), config.get("seed"))
    if trained_with != config.get("seed"):
        yield from ("--set", f"training_seed={trained_with}")
    groups = (key for group in ("data", "training", "decoding", "evaluation") for key in _keys_under(group))
    yield from _changed(config, groups)
    if run.parent != Path("runs"):
        yield from ("--runs", str(run.parent))


def _arm_item(config: Mapping[str, Any], arm: ArmResult) -> str | dict[str, Any]:
    """Return the arm as the configuration names it; spelled out where a search chose its hyper-parameters."""
    spelled = next((item for item in config["arms"] if isinstance(item, dict) and item["name"] == arm.name), None)
    if arm.search is None:
        if spelled is None:
            return arm.name
        return _as_tuned(ArmConfig.model_validate(spelled))
    own = PRESETS[arm.name] if spelled is None else ArmConfig.model_validate(spelled)
    chosen = {name: int(value) if value == int(value) else value for name, value in arm.search.chosen.items()}
    in_training = chosen.keys() & TrainingConfig.model_fields.keys()
    training = {**own.training, **{name: value for name, value in chosen.items() if name in in_training}}
    settings = {**own.settings, **{name: value for name, value in chosen.items() if name not in in_training}}
    found = own.model_copy(update={"training": training, "settings": settings})
    return _as_tuned(found)


def _as_tuned(arm: ArmConfig) -> dict[str, Any]:
    """Return an arm as ``luthier tune`` takes it: it evaluates no points."""
    return arm.model_dump(mode="json", exclude_defaults=True, exclude={"interpolate"})


def _keys_under(group: str) -> list[str]:
    """Return the dotted keys of a group of ``luthier tune``'s settings."""
    return [f"{group}.{name}" for name in type(getattr(_defaults(), group)).model_fields]


def _changed(config: Mapping[str, Any], keys: Iterable[str]) -> Iterator[str]:
    """Yield the settings whose values are not the defaults."""
    default = _defaults().model_dump(mode="json")
    for key in keys:
        group, name = key.split(".")
        value = config.get(group, {}).get(name, default[group][name])
        if value != default[group][name]:
            yield from ("--set", f"{key}={json.dumps(value, ensure_ascii=False)}")


def _defaults() -> TuneConfig:
    return TuneConfig()


def _line(words: Iterable[str]) -> str:
    return shlex.join(("luthier", *words))
