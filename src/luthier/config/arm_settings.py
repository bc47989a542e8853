"""Settings: an arm of a comparison, spelled out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from luthier.config.anchor import AnchorConfig
from luthier.config.base import Name, Settings
from luthier.config.replay import ReplayConfig


class ArmConfig(Settings):
    """An arm: a method or none, shots, and the settings that differ from those of the run."""

    name: str = Field(pattern=r"^\w[\w.+-]*$", max_length=60)
    """The name in tables and files: letters, digits, ``_ . + -``."""
    method: str | None = None
    """A method, or a method with its settings as ``{lora: {rank: 4}}``; ``null`` for in-context learning."""
    shots: int = Field(default=0, ge=0)
    """Exemplars before the prompt, as many as fit."""
    replay: ReplayConfig | None = None
    """Examples of other things than the target that are trained on too, as ``{share: 0.05, from: tasks}``; a number is
    that of examples of the retained tasks for each of the target's."""
    anchor: AnchorConfig = AnchorConfig()
    """What holds the arm near to the base, as ``{kl: 0.1, on: replay}``."""
    weight_examples: Literal["none", "easy"] = "none"
    """``easy`` gives weight to the examples on which the base's loss is low (FLOW)."""
    mixture: Name | None = None
    """The file of a mixture of tasks, on which the arm is trained in place of the target alone."""
    interpolate: tuple[float, ...] = ()
    """Points between the base (0) and the trained model (1) at which it is evaluated too, without training."""
    objective: str = "cross_entropy"
    """What training minimises, or an objective with its settings as ``{dpo: {beta: 0.1}}``: ``cross_entropy`` learns
    the targets, and the chosen answers of preferences; ``dpo``, ``robust``, ``ipo``, ``dpo_norm``, ``hinge``,
    ``apo_zero``, ``apo_down``, ``simpo``, ``orpo`` and ``kto`` learn from preferences; ``grpo`` and ``rloo`` learn from
    what the model's own answers are worth, as ``{grpo: {reward: exact_match}}``."""
    objective_settings: dict[str, Any] = Field(default_factory=dict)
    """The objective's own settings, e.g. ``{beta: 0.1, nll: 0.2}``."""
    start: Name | None = None
    """Another arm, or the folder of an adapter, whose weights the arm begins with, and goes on in."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """The method's own settings, e.g. ``{rank: 4}``."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Training settings that differ from the run's."""

    @field_validator("replay", mode="before")
    @classmethod
    def _none_is_replayed(cls, given: object) -> object:
        return None if given in (0, "none") and given is not False else given

    @model_validator(mode="before")
    @classmethod
    def _method_with_settings(cls, given: Any) -> Any:
        """Read ``method: {lora: {rank: 4}}`` as ``method: lora, settings: {rank: 4}``, and ``objective`` likewise."""
        for key, beside in (("method", "settings"), ("objective", "objective_settings")):
            named = given.get(key) if isinstance(given, Mapping) else None
            if not isinstance(named, Mapping):
                continue
            if len(named) != 1 or beside in given:
                raise ValueError(f"`{key}` holds one name with its settings, and then there is no `{beside}` beside it")
            ((name, settings),) = named.items()
            given = {**given, key: name, beside: settings or {}}
        return given

    @model_validator(mode="after")
    def _has_a_way(self) -> ArmConfig:
        """Check the points of interpolation, as far as they can be without the run's settings."""
        if self.interpolate and self.method is None:
            raise ValueError(f"arm '{self.name}': interpolate: nothing is trained, so there is no way from the base")
        if len(set(self.interpolate)) < len(self.interpolate):
            raise ValueError(f"arm '{self.name}': interpolate: a point is given twice")
        return self


def _arm_kind(value: object) -> str:
    return "preset" if isinstance(value, str) else "spelled"


ArmItem: TypeAlias = Annotated[
    Annotated[str, Tag("preset")] | Annotated[ArmConfig, Tag("spelled")], Discriminator(_arm_kind)
]
