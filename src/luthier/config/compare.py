"""Settings of ``luthier compare``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, field_validator, model_validator

from luthier.config.arm_settings import ArmItem
from luthier.config.base import (
    ModelSettings,
    NameOrNone,
    RemakingSettings,
    Seed,
    Tasks,
    TaskSettings,
)
from luthier.config.computing import ComputingSettings
from luthier.config.data import DataConfig
from luthier.config.decoding import DecodingConfig
from luthier.config.evaluation import EvaluationConfig
from luthier.config.interpolation import check_points
from luthier.config.search import SearchConfig
from luthier.config.training import TrainingConfig


class CompareConfig(RemakingSettings, ComputingSettings, TaskSettings, ModelSettings):
    """Everything that ``luthier compare`` depends on."""

    renamed: ClassVar[Mapping[str, str]] = {**RemakingSettings.renamed, "retain_text": "retention_text"}

    arms: tuple[ArmItem, ...] = ("zero_shot", "one_shot", "few_shot", "full", "lora")
    """The arms that are compared: names of presets, or arms spelled out."""
    retain: Tasks = None
    """Tasks, or named sets of tasks, on which forgetting is measured (``lm_eval:NAME`` for those of lm-eval); the set
    ``everyday`` when not given."""
    retention_text: NameOrNone = "plain_text"
    """Held-out plain text for token loss: ``plain_text``, a file of rows with a ``text`` column, or ``null``."""
    retain_at_least: float | None = Field(default=None, gt=0, le=1)
    """The share of what the base can do on the retained tasks that must be kept: the arm, and the point between it and
    the base, are chosen by this."""
    extrapolate: bool = False
    """Allow points of ``interpolate`` beyond the trained model, up to 1.5."""
    name: str | None = Field(default=None, pattern=r"^\w[\w.+-]*$", max_length=100)
    """Folder of this run inside ``runs``; made of the task, the model and a digest when not given."""
    seeds: int | tuple[Seed, ...] | None = None
    """Trains every trained arm once per seed; a number n means 0 to n-1. Once, with ``seed``, when not given."""
    workers: int = Field(default=1, ge=1, le=64)
    """Processes that run independent arms, seeds and trials side by side, each with its share of the threads."""
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

    @field_validator("name")
    @classmethod
    def _is_not_the_store(cls, name: str | None) -> str | None:
        if name is not None and name.casefold() == "store":
            raise ValueError("this is the folder of the results that all runs share; choose another name")
        return name

    @field_validator("seeds", mode="before")
    @classmethod
    def _seeds_are_whole_numbers(cls, given: object) -> object:
        """Refuse everything else with one message, instead of one for each member of the union."""
        items = given if isinstance(given, list | tuple) else [given]
        if given is not None and not all(re.fullmatch(r"\d+", str(item)) for item in items):
            raise ValueError("a whole number, or a list of whole numbers")
        return given

    @field_validator("seeds")
    @classmethod
    def _seeds_are_distinct(cls, seeds: int | tuple[int, ...] | None) -> int | tuple[int, ...] | None:
        if isinstance(seeds, int) and seeds < 1:
            raise ValueError("at least one seed is needed")
        if isinstance(seeds, tuple):
            if not seeds:
                raise ValueError("at least one seed is needed")
            repeated = [seed for seed, count in Counter(seeds).items() if count > 1]
            if repeated:
                raise ValueError(f"the seed {repeated[0]} is given twice")
        return seeds

    @model_validator(mode="after")
    def _points_are_allowed(self) -> CompareConfig:
        for arm in self.arms:
            if not isinstance(arm, str):
                key = f"arm '{arm.name}': interpolate"
                check_points(arm.interpolate, extrapolate=self.extrapolate, key=key)
        if self.retain_at_least is not None and self.retain == ():
            raise ValueError("retain_at_least asks what is kept of other tasks, and `retain: none` names none")
        return self

    @property
    def training_seeds(self) -> tuple[int, ...]:
        """The seeds that every trained arm is trained with, in order."""
        if self.seeds is None:
            return (self.seed,)
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds

    def identity(self) -> dict[str, Any]:
        """Return what identifies a run, as plain JSON: all settings but those on which no result depends."""
        return self.model_dump(mode="json", exclude={"runs", "name", "workers", "remake_damaged", "dry_run"})
