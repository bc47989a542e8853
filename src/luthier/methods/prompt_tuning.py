"""Prompt tuning (Lester et al. 2021, arXiv:2104.08691), through ``peft``: vectors before the prompt, and nothing else.

Two things make it converge where the field's defaults do not. The vectors begin among those of real tokens (section
3.2), not far outside them. And they are trained in units of the model's own embeddings, whose size differs from model
to model by a factor of a thousand: one learning rate then suits them all. The unit is a power of two, so that what is
stored is what was trained, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.utils import parametrize

from luthier.config.base import Settings
from luthier.methods.base import Attached, SearchedSetting
from luthier.methods.peft_attach import attach_peft
from luthier.methods.peft_load import load_peft
from luthier.methods.peft_soft_prompt import AttachedSoftPrompt
from luthier.models.language_model import LanguageModel

# Tokens are numbered by how common they are, about; Lester et al. draw from the 5,000 most common (section 3.2).
_COMMON = 5000
_SAMPLE = 4096


class SoftPromptSettings(Settings):
    """What soft prompts have in common."""

    virtual_tokens: int = Field(default=20, ge=1)
    """Virtual tokens before every prompt; they take that much of the context."""
    init: Literal["vocabulary", "text", "random"] = "vocabulary"
    """They begin as common tokens drawn from the vocabulary, as the tokens of `text`, or at random."""
    text: str | None = None
    """With `init: text`: it is repeated or cut to the number of virtual tokens."""

    @model_validator(mode="after")
    def _text_where_asked(self) -> SoftPromptSettings:
        if (self.init == "text") != bool(self.text):
            raise ValueError("`init: text` and `text` belong together")
        return self


class PromptTuningSettings(SoftPromptSettings):
    """Prompt tuning's own settings."""


class InUnits(nn.Module):
    """A tensor as a multiple of a unit: the multiple is trained.

    Args:
        unit: Powers of two, so that multiplying and dividing are exact.
    """

    unit: Tensor

    def __init__(self, unit: Tensor) -> None:
        super().__init__()
        self.register_buffer("unit", unit, persistent=False)

    def forward(self, multiple: Tensor) -> Tensor:
        """Return the tensor."""
        return multiple * self.unit

    def right_inverse(self, tensor: Tensor) -> Tensor:
        """Return the multiple."""
        return tensor / self.unit


class PromptTuning:
    """See the module."""

    name: ClassVar[str] = "prompt_tuning"
    learning_rate: ClassVar[float] = 1.0
    settings_class: ClassVar[type[Settings]] = PromptTuningSettings
    space: ClassVar[Mapping[str, SearchedSetting]] = {"virtual_tokens": SearchedSetting((10, 20, 40), default=20)}

    def attach(self, model: LanguageModel, settings: Settings, *, seed: int) -> Attached:
        """Put virtual tokens before every prompt; the output is not the base's, whatever they begin as."""
        from peft import PromptTuningConfig

        assert isinstance(settings, PromptTuningSettings)
        vectors = _begin(model, settings, seed)
        unit = power_of_two(_embed(model, _spread(model)).square().mean().sqrt())
        config = PromptTuningConfig(num_virtual_tokens=settings.virtual_tokens)
        attached = attach_peft(model, config, seed=seed)
        assert isinstance(attached, AttachedSoftPrompt)
        begin_in_units(attached, vectors, unit)
        return attached

    def load(self, model: LanguageModel, folder: Path) -> Attached:
        """Put stored virtual tokens before every prompt."""
        return load_peft(model, folder)


def begin_in_units(attached: AttachedSoftPrompt, vectors: Tensor, unit: Tensor) -> None:
    """Let virtual tokens begin as given, and train them in units."""
    embedding: Any = attached.encoder.get_submodule("default.embedding")
    with torch.no_grad():
        embedding.weight.copy_(vectors)
    parametrize.register_parametrization(embedding, "weight", InUnits(unit.to(vectors.device)))


def power_of_two(size: Tensor) -> Tensor:
    """Round sizes to the nearest power of two; 1 where they are 0."""
    return torch.where(size > 0, torch.exp2(size.clamp(min=1e-30).log2().round()), torch.ones_like(size))


def first_ids(model: LanguageModel, settings: SoftPromptSettings, seed: int) -> Tensor:
    """Return the tokens that virtual tokens begin as: int64 ``(virtual_tokens,)``."""
    if settings.text:
        own = model.tokenizer(settings.text, add_special_tokens=False)["input_ids"]
        repeated = own * math.ceil(settings.virtual_tokens / max(1, len(own)))
        return torch.tensor(repeated[: settings.virtual_tokens], dtype=torch.int64)
    special = set(model.tokenizer.all_special_ids)
    ordinary = [index for index in range(min(len(model.tokenizer), model.vocabulary)) if index not in special]
    common = torch.tensor(ordinary[:_COMMON])
    draw = torch.Generator().manual_seed(seed)
    return common[torch.randint(len(common), (settings.virtual_tokens,), generator=draw)]


def _begin(model: LanguageModel, settings: SoftPromptSettings, seed: int) -> Tensor:
    """Return the first vectors ``(virtual_tokens, hidden)``."""
    if settings.init != "random":
        return _embed(model, first_ids(model, settings, seed))
    known = _embed(model, _spread(model))
    draw = torch.Generator().manual_seed(seed)
    noise = torch.randn(settings.virtual_tokens, known.shape[1], generator=draw).to(known.device)
    return known.mean(dim=0) + noise * known.std()


def _spread(model: LanguageModel) -> Tensor:
    """Return ids spread over the vocabulary."""
    return torch.linspace(0, model.vocabulary - 1, min(_SAMPLE, model.vocabulary)).long()


@torch.no_grad()
def _embed(model: LanguageModel, ids: Tensor) -> Tensor:
    module = model.module.get_encoder() if model.encoder_decoder else model.module
    vectors: Tensor = module.get_input_embeddings()(ids.to(model.device))
    return vectors.float()
