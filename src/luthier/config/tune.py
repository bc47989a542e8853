"""Settings of ``luthier tune``."""

from __future__ import annotations

from pydantic import field_validator

from luthier.config.arm_settings import ArmItem
from luthier.config.base import ModelSettings, RemakingSettings, Seed, Tasks, TaskSettings, UserPath
from luthier.config.computing import ComputingSettings
from luthier.config.data import TrainingDataConfig
from luthier.config.decoding import DecodingConfig
from luthier.config.evaluation import InferenceConfig
from luthier.config.training import TrainingConfig


class TuneConfig(RemakingSettings, ComputingSettings, TaskSettings, ModelSettings):
    """Everything that ``luthier tune`` depends on."""

    arm: ArmItem = "lora"
    """The arm that is trained: the name of a preset such as ``lora`` or ``full``, or an arm spelled out."""
    start: UserPath | None = None
    """The folder of an adapter that training begins with and goes on in, of the same base and method."""
    save: UserPath | None = None
    """New folder for the adapter or the whole model; it stays in the store when not given."""
    training_seed: Seed | None = None
    """The seed of the random weights, the order of the data and dropout alone; ``seed`` when not given."""
    retain: Tasks = None
    """Tasks, or named sets of tasks, of which an arm with ``replay`` takes examples; ``everyday`` when not given."""
    data: TrainingDataConfig = TrainingDataConfig()
    """Which examples are used."""
    training: TrainingConfig = TrainingConfig()
    """How the arm is trained."""
    decoding: DecodingConfig = DecodingConfig()
    """How answers are generated on the validation split."""
    evaluation: InferenceConfig = InferenceConfig()
    """How the validation split is answered."""

    @field_validator("arm")
    @classmethod
    def _is_trained_once(cls, arm: ArmItem) -> ArmItem:
        if not isinstance(arm, str) and arm.interpolate:
            raise ValueError("interpolate: `luthier tune` evaluates no points; use `luthier compare`")
        return arm
