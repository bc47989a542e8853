"""LoRA (Hu et al. 2021, arXiv:2106.09685), through ``peft``: W + (alpha / rank) · B A, with B zero at the start."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn
from transformers.pytorch_utils import Conv1D

from luthier.config import Settings
from luthier.errors import ConfigError, LuthierError, ModelError, did_you_mean, raise_faults
from luthier.methods.base import freeze_all_but, read_tensors, require_fit
from luthier.models.language_model import LanguageModel
from luthier.models.pretrained import first_line


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
        for config in self.wrapped.peft_config.values():
            # PEFT puts the folder of the base there, which means nothing elsewhere.
            config.base_model_name_or_path = self.model.name
        self.wrapped.save_pretrained(folder, save_embedding_layers=False)
        _sort_names(folder / "adapter_config.json")
        # PEFT's model card is an empty form, and holds the folder of the base too.
        (folder / "README.md").unlink(missing_ok=True)


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
            fan_in_fan_out=any(isinstance(layer, Conv1D) for layer in model.module.modules()),
            use_rslora=settings.rslora,
            use_dora=settings.dora,
            task_type=TaskType.SEQ_2_SEQ_LM if model.encoder_decoder else TaskType.CAUSAL_LM,
        )
        with _seeded(seed), warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)  # PEFT asks transformers by an older name
            return AttachedPeft(model, get_peft_model(model.module, config))

    def load(self, model: LanguageModel, folder: Path) -> AttachedPeft:
        """Put a stored adapter on the model."""
        return load_peft(model, folder)


def _sort_names(path: Path) -> None:
    """PEFT writes sets in an order that differs from process to process; the same adapter shall be the same bytes."""
    config = json.loads(path.read_text(encoding="utf-8"))
    for key in ("target_modules", "modules_to_save"):
        if isinstance(config.get(key), list):
            config[key] = sorted(config[key])
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_peft(model: LanguageModel, folder: Path) -> AttachedPeft:
    """Put an adapter in PEFT's layout on the model, strictly: PEFT itself passes over what does not fit.

    Raises:
        ModelError: When its files are missing or damaged, or its tensors are not exactly those that it needs; the
            model is then as it was.
    """
    from peft import PeftModel, get_peft_model_state_dict

    path = folder / "adapter_model.safetensors"
    tensors = read_tensors(path)
    _require_config(folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what PEFT only warns of is an error below
            wrapped = PeftModel.from_pretrained(model.module, folder, is_trainable=True, ignore_mismatched_sizes=True)
    except (ValueError, KeyError, TypeError, RuntimeError) as fault:
        raise ModelError(
            f"the adapter does not fit the model: {first_line(fault)}",
            where=str(folder),
            fix="Load the base that it was trained on.",
        ) from None
    attached = AttachedPeft(model, wrapped)
    try:
        require_fit(get_peft_model_state_dict(wrapped, save_embedding_layers=False), tensors, where=str(path))
    except LuthierError:
        attached.detach()
        raise
    return attached


def _require_config(folder: Path) -> None:
    path = folder / "adapter_config.json"
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ModelError("no adapter_config.json", where=str(folder), fix="Give the folder of an adapter.") from None
    except ValueError as fault:
        raise ModelError(f"not JSON: {first_line(fault)}", where=str(path), fix="Fetch or train it again.") from None


def _require_targets(module: nn.Module, targets: str | tuple[str, ...]) -> None:
    if isinstance(targets, str):
        return
    # GPT-2's linear layers are of a class of their own.
    linear = {
        name.rsplit(".", 1)[-1] for name, layer in module.named_modules() if isinstance(layer, nn.Linear | Conv1D)
    }
    unknown = [target for target in targets if target.rsplit(".", 1)[-1] not in linear]
    faults = [
        ConfigError(
            f"the model has no linear layer '{target}'", where="settings.targets", fix=did_you_mean(target, linear)
        )
        for target in unknown
    ]
    raise_faults("settings.targets names layers that the model does not have", faults)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw torch's random numbers from a seed inside, and leave the outer stream untouched."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
