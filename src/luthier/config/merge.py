"""Settings of ``luthier merge``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from luthier.config.base import DeviceSettings, ModelSettings, Name, UserPath
from luthier.config.data import EncodingConfig
from luthier.config.decoding import DecodingConfig
from luthier.config.evaluation import InferenceConfig


class MergeConfig(DeviceSettings, ModelSettings):
    """Everything that ``luthier merge`` depends on."""

    adapter: UserPath
    """A folder that ``luthier tune`` wrote, or an adapter in PEFT's layout."""
    out: UserPath
    """New folder for the merged model."""
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
