"""The arms of a comparison. In-context learning is an arm without a method; there is no special path for it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.config.anchor import AnchorConfig
from luthier.config.arm_settings import ArmConfig
from luthier.config.assignments import overlay
from luthier.config.replay import SELF, TASKS, ReplayConfig
from luthier.config.training import TrainingConfig
from luthier.config.validation import validate
from luthier.errors import ConfigError, LuthierError, did_you_mean, raise_faults

PRESETS: dict[str, ArmConfig] = {
    "zero_shot": ArmConfig(name="zero_shot"),
    "one_shot": ArmConfig(name="one_shot", shots=1),
    "full": ArmConfig(name="full", method="full"),
    "full_replay": ArmConfig(name="full_replay", method="full", replay=ReplayConfig(share=0.5, budget="add")),
    "selective": ArmConfig(name="selective", method="selective"),
    "lora": ArmConfig(name="lora", method="lora"),
    "adapter": ArmConfig(name="adapter", method="adapter"),
    "prompt_tuning": ArmConfig(name="prompt_tuning", method="prompt_tuning"),
    "prefix_tuning": ArmConfig(name="prefix_tuning", method="prefix_tuning"),
    # The scales of IA3 start at one and move little, so they need a high learning rate.
    "ia3": ArmConfig(name="ia3", method="peft", settings={"peft_type": "IA3"}, training={"learning_rate": 3e-2}),
    "dpo": ArmConfig(name="dpo", method="lora", objective="dpo"),
    "cdpo": ArmConfig(name="cdpo", method="lora", objective="dpo", objective_settings={"label_noise": 0.1}),
    "rpo": ArmConfig(name="rpo", method="lora", objective="dpo", objective_settings={"nll": 1.0}),
    "ipo": ArmConfig(name="ipo", method="lora", objective="ipo"),
    "simpo": ArmConfig(name="simpo", method="lora", objective="simpo"),
    "orpo": ArmConfig(name="orpo", method="lora", objective="orpo"),
    "kto": ArmConfig(name="kto", method="lora", objective="kto"),
    "apo_zero": ArmConfig(name="apo_zero", method="lora", objective="apo_zero"),
    "grpo": ArmConfig(name="grpo", method="lora", objective="grpo", objective_settings={"reward": "rougeL"}),
    "rloo": ArmConfig(name="rloo", method="lora", objective="rloo", objective_settings={"reward": "rougeL"}),
}
RENAMED_PRESETS = {"mixture": "full_replay"}
FEW_SHOT = "few_shot"
_K_SHOT = re.compile(r"(\d{1,3})_shot")


@dataclass(frozen=True)
class Arm:
    """An arm of a comparison.

    Attributes:
        name: The name in tables and files.
        method: The name of a method; None for in-context learning.
        shots: Exemplars before the prompt.
        settings: The method's own settings as given.
        training: The training settings of the run, with those of this arm in place of them.
        seeds: Each trains the arm once: its random weights, data order and dropout.
        replay: Examples of other things than the target that it is also trained on; None for none.
        anchor: What holds it near to the base.
        mixture: The file of a mixture that it is trained on in place of the target's training split; "" for none.
        weight_examples: ``easy`` where examples have weights by the base's loss.
        objective: The name of what training minimises.
        objective_settings: The objective's own settings as given.
        start: The name of another arm, or the folder of an adapter, that it begins with; "" for the base.
        interpolate: Points between the base (0) and what was trained (1) at which it is evaluated too, in order.
    """

    name: str
    method: str | None
    shots: int
    settings: dict[str, Any] = field(default_factory=dict)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    seeds: tuple[int, ...] = (0,)
    replay: ReplayConfig | None = None
    anchor: AnchorConfig = field(default_factory=AnchorConfig)
    weight_examples: str = "none"
    mixture: str = ""
    objective: str = "cross_entropy"
    objective_settings: dict[str, Any] = field(default_factory=dict)
    start: str = ""
    interpolate: tuple[float, ...] = ()


def make_arms(
    items: Sequence[str | ArmConfig],
    *,
    training: TrainingConfig,
    few_shots: int,
    seeds: tuple[int, ...],
    mixture: str = "",
) -> list[Arm]:
    """Turn the configuration's arms into what is compared.

    Args:
        items: Names of presets (``zero_shot``, ``few_shot``, ``5_shot``, ``lora`` …) or arms spelled out.
        training: The run's training settings.
        few_shots: Exemplars of ``few_shot``, as the task wants it.
        seeds: Of the trained arms.
        mixture: The mixture that trained arms learn from where they name none; "" for the target's training split.

    Raises:
        ConfigError: For unknown presets, repeated names, and bad training keys; all at once.
    """
    faults: list[LuthierError] = []
    arms: list[Arm] = []
    for item in items:
        try:
            spelled = _on_mixture(item if isinstance(item, ArmConfig) else _preset(item, few_shots), mixture)
            given = training.model_dump(exclude_unset=True)
            # What an arm spells out wins over the run; what a preset suggests does not.
            both = overlay(given, spelled.training) if isinstance(item, ArmConfig) else overlay(spelled.training, given)
            own = validate(TrainingConfig, both, source=f"arm '{spelled.name}', training")
            arms.append(_arm(spelled, own, seeds))
        except LuthierError as fault:
            faults.append(fault)
    repeated = [name for name, count in Counter(arm.name for arm in arms).items() if count > 1]
    faults += [ConfigError(f"two arms are called '{name}'", where="arms", fix="Rename one.") for name in repeated]
    if not items:
        faults.append(ConfigError("no arm is given", where="arms", fix="Name at least one, e.g. zero_shot."))
    raise_faults("the arms have faults", faults)
    return arms


def with_training(item: str | ArmConfig, training: TrainingConfig, changes: Mapping[str, Any]) -> ArmConfig:
    """Spell an arm out with some training settings of its own, above those of the run.

    Args:
        item: Name of a preset, or an arm spelled out.
        training: The run's training settings.
        changes: What the arm has of its own.
    """
    if isinstance(item, ArmConfig):
        return item.model_copy(update={"training": overlay(item.training, changes)})
    preset = _preset(item, few_shots=0)
    # What a preset suggests stays below what the run gives, also where it is spelled out.
    suggested = overlay(preset.training, training.model_dump(exclude_unset=True))
    return preset.model_copy(update={"training": overlay(suggested, changes)})


def beginning_with(item: str | ArmConfig, folder: Path | None, training: TrainingConfig) -> str | ArmConfig:
    """Return an arm that begins with the adapter in a folder; where none is given, the arm as it is.

    Args:
        item: Name of a preset, or an arm spelled out.
        folder: Of the adapter.
        training: The run's training settings.
    """
    return item if folder is None else with_training(item, training, {}).model_copy(update={"start": str(folder)})


def without_retained(item: str | ArmConfig) -> str | ArmConfig:
    """Return an arm that learns from no examples of retained tasks: it replays none, and rests on none."""
    if not reads_retained(item):
        return item
    spelled = item if isinstance(item, ArmConfig) else PRESETS[item]
    replays = spelled.replay is not None and spelled.replay.source in (TASKS, SELF)
    anchor = spelled.anchor.model_copy(update={"ewc": 0.0})
    if replays and anchor.on == "replay":
        anchor = anchor.model_copy(update={"kl": 0.0})
    return spelled.model_copy(update={"replay": None if replays else spelled.replay, "anchor": anchor})


def reads_retained(item: str | ArmConfig) -> bool:
    """Whether an arm learns from training examples of the retained tasks."""
    spelled = PRESETS.get(item) if isinstance(item, str) else item
    return spelled is not None and _reads_retained(spelled)


def _reads_retained(spelled: ArmConfig) -> bool:
    """Whether an arm learns from training examples of the retained tasks."""
    replayed = spelled.replay is not None and spelled.replay.source in (TASKS, SELF)
    return replayed or spelled.anchor.ewc > 0


def _on_mixture(spelled: ArmConfig, mixture: str) -> ArmConfig:
    """Return an arm that is trained on the mixture of the run, if it is trained and names no other."""
    if not mixture or spelled.method is None or spelled.mixture is not None:
        return spelled
    return spelled.model_copy(update={"mixture": mixture})


def _faults_beside_mixture(spelled: ArmConfig) -> list[LuthierError]:
    """Return what an arm cannot be while it is trained on a mixture."""
    where = f"arm '{spelled.name}', mixture"
    said = [
        (spelled.method is None, "the arm trains nothing", "Give it a method, or leave the mixture out."),
        (
            spelled.replay is not None,
            "what is replayed beside a mixture is one of its sources",
            "Add it to the tasks of the mixture, and leave `replay` out of the arm.",
        ),
        (
            spelled.weight_examples == "easy",
            "the examples of a mixture are worded as they are read, and have no loss before",
            "Leave `weight_examples` out of the arm.",
        ),
    ]
    return [ConfigError(what, where=where, fix=fix) for wrong, what, fix in said if wrong]


def _arm(spelled: ArmConfig, training: TrainingConfig, seeds: tuple[int, ...]) -> Arm:
    """Return an arm that is spelled out.

    Raises:
        LuthierError: It trains nothing, and is to be kept from forgetting; all such faults.
    """
    given = [key for key in ("replay", "anchor", "weight_examples") if key in spelled.model_fields_set]
    held = [key for key in given if getattr(spelled, key) not in (None, "none", AnchorConfig())]
    what = "the arm trains nothing, so there is nothing to keep from forgetting"
    faults: list[LuthierError] = [
        ConfigError(what, where=f"arm '{spelled.name}', {key}", fix=f"Give the arm a method, or leave `{key}` out.")
        for key in held
        if spelled.method is None
    ]
    for key in ("objective", "objective_settings", "start"):
        if spelled.method is None and key in spelled.model_fields_set:
            what, where = "the arm trains nothing", f"arm '{spelled.name}', {key}"
            faults.append(ConfigError(what, where=where, fix=f"Give the arm a method, or leave `{key}` out."))
    if spelled.weight_examples == "easy" and spelled.objective != "cross_entropy":
        what, where = f"the objective {spelled.objective} weighs no examples", f"arm '{spelled.name}', weight_examples"
        faults.append(ConfigError(what, where=where, fix="Leave `weight_examples` or the objective out."))
    if spelled.anchor.kl and spelled.anchor.on == "replay" and spelled.replay is None and not spelled.mixture:
        what = "nothing is replayed on which the divergence from the base could be measured"
        fix = "Add `replay: {share: 0.05}` to the arm, or write `on: target`."
        faults.append(ConfigError(what, where=f"arm '{spelled.name}', anchor.kl", fix=fix))
    if spelled.mixture:
        faults += _faults_beside_mixture(spelled)
    raise_faults(f"arm '{spelled.name}' has faults", faults)
    return Arm(
        name=spelled.name,
        method=spelled.method,
        shots=spelled.shots,
        settings=dict(spelled.settings),
        training=training,
        seeds=seeds,
        interpolate=tuple(sorted(spelled.interpolate)),
        replay=spelled.replay,
        anchor=spelled.anchor,
        weight_examples=spelled.weight_examples,
        objective=spelled.objective,
        objective_settings=dict(spelled.objective_settings),
        start=spelled.start or "",
        mixture=spelled.mixture or "",
    )


def _preset(name: str, few_shots: int) -> ArmConfig:
    if name in PRESETS:
        return PRESETS[name]
    if name == FEW_SHOT:
        return ArmConfig(name=name, shots=few_shots)
    counted = _K_SHOT.fullmatch(name)
    if counted:
        return ArmConfig(name=name, shots=int(counted[1]))
    if name in RENAMED_PRESETS:
        new_name = RENAMED_PRESETS[name]
        raise ConfigError(f"the arm '{name}' is called '{new_name}' now", where="arms", fix=f"Write {new_name}.")
    fix = did_you_mean(name, [*PRESETS, FEW_SHOT, "5_shot"])
    raise ConfigError(f"unknown arm '{name}'", where="arms", fix=fix)
