"""LoRA (Hu et al. 2021, arXiv:2106.09685), through ``peft``: W + (alpha / rank) · B A, with B zero at the start."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from luthier.config import Settings
from luthier.errors import ConfigError, did_you_mean
from luthier.methods.base import freeze_all_but
from luthier.models.language_model import LanguageModel


class LoraSettings(Settings):
    """LoRA's own settings."""

    rank: int = Field(default=8, ge=1)
    """Rank of the update."""
    alpha: float | None = Field(default=None, gt=0)
    """Scale of the update times the rank; twice the rank when not given."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the input of the update."""
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Linear layers that get an update: all but the head, or names such as ``[q_proj, v_proj]``."""
    rslora: bool = False
    """Scale by alpha / sqrt(rank) (Kalajdzievski 2023, arXiv:2312.03732)."""
    dora: bool = False
    """Train magnitude and direction apart (Liu et al. 2024, arXiv:2402.09353)."""


class AttachedPeft:
    """A PEFT adapter around the model's module."""

    def __init__(self, model: LanguageModel, wrapped: Any) -> None:
        self.model = model
        self.base = model.module
        self.wrapped = wrapped
        # `peft` marks what it trains by requires_grad when it puts an adapter on.
        self._trainable = {name: weight for name, weight in wrapped.named_parameters() if weight.requires_grad}
        model.module = wrapped
        freeze_all_but(wrapped, self.trainable())
        wrapped.train(self.base.training)

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return the adapter's parameters."""
        return self._trainable

    def detach(self) -> None:
        """Unwrap the layers; the base's tensors were never written to."""
        self.model.module = self.wrapped.unload()
        freeze_all_but(self.model.module, {})

    def save(self, folder: Path) -> None:
        """Write ``adapter_config.json`` and ``adapter_model.safetensors``, as ``peft`` does."""
        self.wrapped.save_pretrained(folder, save_embedding_layers=False)


class Lora:
    """See the module."""

    name: ClassVar[str] = "lora"
    learning_rate: ClassVar[float] = 1e-3
    settings_class: ClassVar[type[Settings]] = LoraSettings

    def attach(self, model: LanguageModel, settings: Settings, *, seed: int) -> AttachedPeft:
        """Add the updates; the output equals the base's until the first step."""
        from peft import LoraConfig, TaskType, get_peft_model

        assert isinstance(settings, LoraSettings)
        _require_targets(model.module, settings.targets)
        config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha or 2 * settings.rank,  # type: ignore[arg-type]  # peft computes with it as a float
            lora_dropout=settings.dropout,
            target_modules=settings.targets if isinstance(settings.targets, str) else list(settings.targets),
            use_rslora=settings.rslora,
            use_dora=settings.dora,
            task_type=TaskType.SEQ_2_SEQ_LM if model.encoder_decoder else TaskType.CAUSAL_LM,
            base_model_name_or_path=model.name,
        )
        with _seeded(seed):
            return AttachedPeft(model, get_peft_model(model.module, config))

    def load(self, model: LanguageModel, folder: Path) -> AttachedPeft:
        """Put a stored adapter on the model."""
        from peft import PeftModel

        return AttachedPeft(model, PeftModel.from_pretrained(model.module, folder, is_trainable=True))


def _require_targets(module: nn.Module, targets: str | tuple[str, ...]) -> None:
    if isinstance(targets, str):
        return
    linear = {name.rsplit(".", 1)[-1] for name, layer in module.named_modules() if isinstance(layer, nn.Linear)}
    unknown = [target for target in targets if target.rsplit(".", 1)[-1] not in linear]
    if unknown:
        raise ConfigError(
            f"the model has no linear layer '{unknown[0]}'",
            where="settings.targets",
            fix=did_you_mean(unknown[0], linear),
        )


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw torch's random numbers from a seed inside, and leave the outer stream untouched."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
