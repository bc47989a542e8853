"""Settings of ``luthier compare``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, field_validator, model_validator

from luthier.config.arm_settings import ArmItem
from luthier.config.base import NameOrNone, Tasks, TaskSettings
from luthier.config.computing import ComputingSettings
from luthier.config.data import DataConfig
from luthier.config.decoding import DecodingConfig
from luthier.config.evaluation import EvaluationConfig
from luthier.config.interpolation import check_points
from luthier.config.run_settings import RunSettings
from luthier.config.search import SearchConfig
from luthier.config.training import TrainingConfig


class CompareConfig(RunSettings, ComputingSettings, TaskSettings):
    """Everything that ``luthier compare`` depends on."""

    renamed: ClassVar[Mapping[str, str]] = {**RunSettings.renamed, "retain_text": "retention_text"}

    arms: tuple[ArmItem, ...] = ("zero_shot", "one_shot", "few_shot", "full", "lora")
    """The arms that are compared: names of presets, or arms spelled out."""
    retain: Tasks = None
    """Tasks, or named sets of tasks, on which forgetting is measured (``lm_eval:NAME`` for those of lm-eval); the set
    ``everyday`` when not given."""
    retention_text: NameOrNone = "plain_text"
    """Held-out plain text for token loss: ``plain_text``, a file of rows with a ``text`` column, or ``null``."""
    sequence: Tasks = None
    """Tasks that the trained arms learn one after another, each stage beginning with what the one before ended with; in
    place of ``task``, and of the retained tasks."""
    retain_at_least: float | None = Field(default=None, gt=0, le=1)
    """The share of what the base can do on the retained tasks that must be kept: the arm, and the point between it and
    the base, are chosen by this."""
    extrapolate: bool = False
    """Allow points beyond the trained model, up to 1.5."""
    dry_run: bool = False
    """Only say what the comparison would take: examples, steps, tokens, and time by timed steps; run nothing."""
    data: DataConfig = DataConfig()
    """Which examples are used."""
    training: TrainingConfig = TrainingConfig()
    """How arms are trained."""
    search: SearchConfig = SearchConfig()
    """How the hyper-parameters of arms are chosen."""
    decoding: DecodingConfig = DecodingConfig()
    """How answers are generated."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How arms are evaluated."""

    @field_validator("sequence")
    @classmethod
    def _tasks_of_a_sequence(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if not names:
            return None
        repeated = [name for name, count in Counter(names).items() if count > 1]
        if repeated:
            raise ValueError(f"the task {repeated[0]} is named twice; each is learned once")
        if len(names) < 2:
            raise ValueError(f"a sequence needs two tasks at least, as in {names[0]},topic")
        return names

    @model_validator(mode="after")
    def _points_are_allowed(self) -> CompareConfig:
        for arm in self.arms:
            if not isinstance(arm, str):
                key = f"arm '{arm.name}': interpolate"
                check_points(arm.interpolate, extrapolate=self.extrapolate, key=key)
        if self.retain_at_least is not None and self.retain == ():
            raise ValueError("retain_at_least asks what is kept of other tasks, and `retain: none` names none")
        return self

    def identity(self) -> dict[str, Any]:
        """Return what identifies a run, as plain JSON: all settings but those on which no result depends."""
        return self.model_dump(mode="json", exclude={"runs", "name", "workers", "remake_damaged", "dry_run"})
