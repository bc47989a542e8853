"""Prefix tuning (Li and Liang 2021, arXiv:2101.00190), through ``peft``: keys and values before the first token.

They begin as those that the model itself computes for real tokens (section 7.4: that is far better than at random), and
are trained in units of these, layer by layer, as in ``prompt_tuning``. In an encoder-decoder they stand before the
target. A layer with a sliding window loses sight of them as the text grows, as of any other token.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from luthier.config.base import Settings
from luthier.errors import ConfigError
from luthier.methods.base import Attached, SearchedSetting
from luthier.methods.peft_attach import attach_peft
from luthier.methods.peft_config import read_cache
from luthier.methods.peft_load import load_peft
from luthier.methods.peft_soft_prompt import AttachedSoftPrompt
from luthier.methods.prompt_tuning import SoftPromptSettings, begin_in_units, first_ids, power_of_two
from luthier.models.language_model import LanguageModel


class PrefixTuningSettings(SoftPromptSettings):
    """Prefix tuning's own settings."""


class PrefixTuning:
    """See the module."""

    name: ClassVar[str] = "prefix_tuning"
    learning_rate: ClassVar[float] = 0.3
    settings_class: ClassVar[type[Settings]] = PrefixTuningSettings
    space: ClassVar[Mapping[str, SearchedSetting]] = {"virtual_tokens": SearchedSetting((10, 20, 40), default=20)}

    def attach(self, model: LanguageModel, settings: Settings, *, seed: int) -> Attached:
        """Put keys and values before every sequence; the output is not the base's, whatever they begin as."""
        from peft import PrefixTuningConfig

        assert isinstance(settings, PrefixTuningSettings)
        vectors, unit = _begin(model, settings, seed)
        config = PrefixTuningConfig(num_virtual_tokens=settings.virtual_tokens)
        attached = attach_peft(model, config, seed=seed)
        assert isinstance(attached, AttachedSoftPrompt)
        begin_in_units(attached, vectors, unit)
        return attached

    def load(self, model: LanguageModel, folder: Path) -> Attached:
        """Put stored keys and values before every sequence."""
        return load_peft(model, folder)


def _begin(model: LanguageModel, settings: SoftPromptSettings, seed: int) -> tuple[Tensor, Tensor]:
    """Return the first keys and values, and their units, in PEFT's layout: ``(tokens, layers * 2 * width)``."""
    model.require_room(settings.virtual_tokens)
    ids = first_ids(model, settings, seed).numpy().astype("int32")
    parts = [part for layer in read_cache(model, ids) for part in (layer.keys, layer.values)]  # each (1, H, n, w)
    rows = [part[0].float().transpose(0, 1).flatten(1) for part in parts]  # each (n, H * w)
    if any(len(row) != settings.virtual_tokens for row in rows):
        raise ConfigError(
            f"the model keeps fewer than {settings.virtual_tokens} tokens in sight in some layers",
            where="settings.virtual_tokens",
            fix="Ask for fewer virtual tokens.",
        )
    unit = torch.cat([power_of_two(row.square().mean().sqrt()).expand(row.shape[1]) for row in rows])
    vectors = torch.cat(rows, dim=1)
    if settings.init == "random":
        draw = torch.Generator().manual_seed(seed)
        vectors = torch.randn(vectors.shape, generator=draw).to(vectors.device) * unit
    return vectors, unit
