"""Settings of ``luthier merge``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from luthier.config.base import DeviceSettings, ModelSettings, Name, UserPath
from luthier.config.data import EncodingConfig
from luthier.config.decoding import DecodingConfig
from luthier.config.evaluation import InferenceConfig
from luthier.config.interpolation import check_points

OneOrSeveral = Annotated[
    tuple[UserPath, ...], BeforeValidator(lambda given: (given,) if isinstance(given, str | Path) else given)
]


class MergeConfig(DeviceSettings, ModelSettings):
    """Everything that ``luthier merge`` depends on."""

    adapter: OneOrSeveral = Field(min_length=1)
    """A folder that ``luthier tune`` wrote, or an adapter in PEFT's layout; several with ``how``."""
    out: UserPath
    """New folder for the merged model, or for the adapter that several make."""
    how: Literal["mean", "ties", "dare"] | None = None
    """How several adapters are made into one: their ``mean``, ``ties`` or ``dare``; one is folded when not given."""
    weights: tuple[float, ...] = ()
    """One weight of each adapter, relative to one another; equal when not given."""
    density: float = Field(default=0.2, gt=0, le=1)
    """The share of each adapter's changes that ``ties`` and ``dare`` keep."""
    scale: float = 1.0
    """How far from the base (0) to what was trained (1)."""
    extrapolate: bool = False
    """Allow points beyond the trained model, up to 1.5."""
    task: Name | None = None
    """The task on whose examples the merge is proved; the task that the adapter was trained on when not given."""
    sample: int = Field(default=32, ge=1)
    """Examples on which the merge is proved."""
    split: Literal["train", "validation", "test"] = "test"
    """The split that these examples are from."""
    any_base: bool = False
    """Accept an adapter that was trained on another base."""
    data: EncodingConfig = EncodingConfig()
    """How examples become tokens."""
    decoding: DecodingConfig = DecodingConfig()
    """How answers are generated."""
    evaluation: InferenceConfig = InferenceConfig()
    """How the examples are answered."""

    @model_validator(mode="after")
    def _fits_together(self) -> MergeConfig:
        count = len(self.adapter)
        check_points([self.scale], extrapolate=self.extrapolate, key="scale")
        if count > 1 and self.how is None:
            raise ValueError("several adapters are given: say how they are made into one, `how: mean`, ties or dare")
        if self.weights and self.how is None:
            raise ValueError("weights are of adapters that are made into one: say how, `how: mean`, ties or dare")
        if self.weights and len(self.weights) != count:
            raise ValueError(f"weights: {len(self.weights)} are given for {count} adapters; give one of each")
        if not all(math.isfinite(weight) and weight > 0 for weight in self.weights):
            raise ValueError("weights: each must be a number above 0; leave an adapter out to give it none")
        if len(set(self.adapter)) < count:
            raise ValueError("adapter: one is given twice; give it a greater weight instead")
        return self
