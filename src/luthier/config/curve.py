"""Settings of ``luthier curve``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, field_validator

from luthier.config.arm_settings import ArmItem
from luthier.config.base import Seed, Tasks, TaskSettings
from luthier.config.computing import ComputingSettings
from luthier.config.data import DataConfig
from luthier.config.decoding import DecodingConfig
from luthier.config.evaluation import ScoringConfig
from luthier.config.run_settings import RunSettings
from luthier.config.training import TrainingConfig

ALL = "all"
"""The size of the whole training split."""
Size: TypeAlias = Annotated[int, Field(ge=1)] | Literal["all"]


class CurveConfig(RunSettings, ComputingSettings, TaskSettings):
    """Everything that ``luthier curve`` depends on."""

    arms: tuple[ArmItem, ...] = ("lora",)
    """The arms that are trained at every size: names of presets such as ``lora`` or ``full``, or arms spelled out."""
    sizes: tuple[Size, ...] | None = None
    """Numbers of training examples, each a subset of the next; ``all`` is the whole training split. The whole and four
    halvings of it when not given."""
    fixed: Literal["epochs", "steps"] = "epochs"
    """What all sizes have alike: the passes over their examples, or the optimizer steps of the largest."""
    forecast: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    """Numbers of examples to forecast at, up to 10 times the largest size; 2, 5 and 10 times that when not given."""
    retain: Tasks = None
    """Tasks, or named sets of tasks, of which an arm with ``replay`` takes examples; ``everyday`` when not given."""
    seeds: int | tuple[Seed, ...] | None = 3
    """Trains every arm once per seed at every size; a number n means 0 to n-1."""
    data: DataConfig = DataConfig()
    """Which examples are used; ``train`` bounds what ``all`` is."""
    training: TrainingConfig = TrainingConfig()
    """How arms are trained."""
    decoding: DecodingConfig = DecodingConfig()
    """How answers are generated."""
    evaluation: ScoringConfig = ScoringConfig()
    """How arms are evaluated."""

    @field_validator("sizes", mode="before")
    @classmethod
    def _sizes_are_numbers_or_all(cls, given: object) -> object:
        """Refuse everything else with one message, instead of one for each member of the union."""
        wrong = [item for item in _items(given) if item != ALL and not re.fullmatch(r"0*[1-9]\d*", str(item))]
        if wrong:
            raise ValueError(f"a size is a whole number of at least 1, or the word all, and not {wrong[0]!r}")
        return given

    @field_validator("sizes")
    @classmethod
    def _two_sizes_or_more(cls, sizes: tuple[int | str, ...] | None) -> tuple[int | str, ...] | None:
        if sizes is None:
            return None
        repeated = [size for size, count in Counter(sizes).items() if count > 1]
        if repeated:
            raise ValueError(f"the size {repeated[0]} is given twice")
        if len(sizes) < 2:
            raise ValueError("a curve needs two sizes at least, as in 50,100,200,400,all")
        return sizes

    @field_validator("forecast", mode="before")
    @classmethod
    def _forecasts_are_numbers(cls, given: object) -> object:
        wrong = [item for item in _items(given) if not re.fullmatch(r"0*[1-9]\d*", str(item))]
        if wrong:
            raise ValueError(f"a number of examples is a whole number of at least 1, and not {wrong[0]!r}")
        return given

    def identity(self) -> dict[str, Any]:
        """Return what identifies a run, as plain JSON: all settings but those on which no result depends."""
        return self.model_dump(mode="json", exclude={"runs", "name", "workers", "remake_damaged"})


def _items(given: object) -> Sequence[object]:
    if given is None:
        return ()
    return given if isinstance(given, list | tuple) else [given]
