"""What arms begin with: another arm of the same comparison, or the adapter in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from luthier.config.arms import Arm
from luthier.config.base import Settings
from luthier.errors import ConfigError, LuthierError, collecting, did_you_mean, raise_faults
from luthier.files.digests import digest
from luthier.methods.adapter_io import Card, read_card
from luthier.methods.registry import find_method, read_settings
from luthier.models.language_model import LanguageModel
from luthier.training.start import StartingPoint
from luthier.user_path import user_path


def resolve_starts(arms: Sequence[Arm], model: LanguageModel, *, searching: bool) -> tuple[Arm, ...]:
    """Return the arms, each with the method's settings of what it begins with, where it states none.

    Raises:
        ConfigError: An arm begins with nothing that there is, with itself, or with what was trained in another way;
            all such faults.
    """
    faults: list[LuthierError] = []
    found = list(arms)
    for place, arm in enumerate(arms):
        with collecting(faults):
            found[place] = _resolved(arm, {own.name: own for own in arms}, model, searching=searching)
    raise_faults("the arms have faults", faults)
    return tuple(found)


def names_arm(arm: Arm, arms: Sequence[Arm]) -> bool:
    """Whether an arm begins with another one of the comparison."""
    return any(other.name == arm.start for other in arms)


def folder_start(arm: Arm) -> StartingPoint:
    """Return the starting point of an arm that begins with the adapter in a folder.

    Raises:
        ModelError: It is not there, or damaged.
    """
    folder = user_path(arm.start)
    card = read_card(folder)
    return StartingPoint(folder, digest([card.base_digest, card.method, card.settings, card.tensors]))


def _resolved(arm: Arm, arms: dict[str, Arm], model: LanguageModel, *, searching: bool) -> Arm:
    where = f"arm '{arm.name}', start"
    if not arm.start:
        return arm
    if arm.start in arms:
        _require_no_circle(arm, arms, where)
        other = arms[arm.start]
        if searching:
            what = "hyper-parameters cannot be searched where an arm begins with another one, which is searched too"
            fix = "Tune that arm first, and begin with its folder; or search nothing."
            raise ConfigError(what, where=where, fix=fix)
        return _with_settings(arm, other.method or "none", other.settings, f"the arm '{arm.start}'", where)
    folder = user_path(arm.start)
    if not folder.is_dir():
        what = f"'{arm.start}' is neither another arm nor a folder"
        raise ConfigError(what, where=where, fix=did_you_mean(arm.start, [name for name in arms if name != arm.name]))
    return _with_card(arm, read_card(folder), folder, model, where)


def _require_no_circle(arm: Arm, arms: dict[str, Arm], where: str) -> None:
    seen, name = {arm.name}, arm.start
    while name in arms:
        if name in seen:
            what = f"the arm begins with '{arm.start}', and in the end with itself"
            raise ConfigError(what, where=where, fix="Let one of these arms begin with the base: leave its start out.")
        seen.add(name)
        name = arms[name].start


def _with_card(arm: Arm, card: Card, folder: Path, model: LanguageModel, where: str) -> Arm:
    if card.base_digest != model.digest:
        what = (
            f"the adapter in {folder} was trained on '{card.base_name}' ({card.base_digest[:12]}), not on "
            f"'{model.name}' ({model.digest[:12]})"
        )
        raise ConfigError(what, where=where, fix="Name that base with --model, or begin with another adapter.")
    return _with_settings(arm, card.method, card.settings, f"the adapter in {folder}", where)


def _with_settings(arm: Arm, method: str, settings: dict[str, Any], what: str, where: str) -> Arm:
    """Return an arm with the settings of its start, which its own must equal where it states any."""
    if method != arm.method:
        said = f"{what} was trained with the method {method}, and this arm has {arm.method}"
        raise ConfigError(said, where=where, fix="Give the arm the method of what it begins with.")
    if not arm.settings:
        return replace(arm, settings=dict(settings))
    found = find_method(method)
    own, other = (read_settings(found, given, where=where) for given in (arm.settings, settings))
    if own != other:
        said = f"{what} has other settings: {_difference(own, other)}"
        raise ConfigError(said, where=where, fix="Leave `settings` out of the arm: it takes those of its start.")
    return arm


def _difference(own: Settings, other: Settings) -> str:
    pairs = [(name, value, getattr(other, name)) for name, value in own]
    return ", ".join(f"{name} {theirs} and not {value}" for name, value, theirs in pairs if value != theirs)
