"""Settings of ``luthier check``."""

from __future__ import annotations

from luthier.config.base import ModelSettings, TaskSettings
from luthier.config.data import DataConfig


class CheckConfig(TaskSettings, ModelSettings):
    """Everything that ``luthier check`` depends on; of the model, its tokenizer alone is read."""

    data: DataConfig = DataConfig()
    """Which examples are used."""
