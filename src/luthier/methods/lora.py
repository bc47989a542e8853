"""LoRA (Hu et al. 2021, arXiv:2106.09685), through ``peft``: W + (alpha / rank) · B A, with B zero at the start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import nn

from luthier.config.base import Settings
from luthier.errors import ConfigError, LuthierError, did_you_mean, raise_faults
from luthier.methods.base import Attached, SearchedSetting
from luthier.methods.peft_attach import attach_peft
from luthier.methods.peft_load import load_peft
from luthier.models.language_model import LanguageModel
from luthier.models.module_discovery import blocks, linear_layers

BLOCK_PARTS = ("attention", "mlp")


class LoraSettings(Settings):
    """LoRA's own settings."""

    rank: int = Field(default=8, ge=1)
    """Rank of the update."""
    alpha: float | None = Field(default=None, gt=0)
    """Scale of the update times the rank; twice the rank when not given."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the input of the update."""
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Linear layers that get an update: all but the output layer, or parts (`attention`, `mlp`), names (`q_proj`)."""
    layers: tuple[int, ...] | None = None
    """Blocks that get an update, from 0; all when not given."""
    ranks: dict[str, int] = Field(default_factory=dict)
    """Ranks of single layers by the end of their name, or a regular expression, e.g. ``{down_proj: 16}``."""
    alphas: dict[str, float] = Field(default_factory=dict)
    """The same for alpha."""
    rslora: bool = False
    """Scale by alpha / sqrt(rank) (Kalajdzievski 2023, arXiv:2312.03732)."""
    dora: bool = False
    """Train magnitude and direction apart (Liu et al. 2024, arXiv:2402.09353)."""

    def in_full(self) -> dict[str, Any]:
        """Return every setting, with the alpha that is used."""
        return super().in_full() | {"alpha": used_alpha(self)}


class Lora:
    """See the module."""

    name: ClassVar[str] = "lora"
    learning_rate: ClassVar[float] = 1e-3
    starts_as_base: ClassVar[bool] = True
    settings_class: ClassVar[type[Settings]] = LoraSettings
    space: ClassVar[Mapping[str, SearchedSetting]] = {
        "rank": SearchedSetting((4, 8, 16, 32), default=8, unless=("ranks",))
    }

    def attach(self, model: LanguageModel, settings: Settings, *, seed: int) -> Attached:
        """Add the updates; the output equals the base's until the first step."""
        assert isinstance(settings, LoraSettings)
        return attach_peft(model, make_config(model.module, settings), seed=seed)

    def load(self, model: LanguageModel, folder: Path) -> Attached:
        """Put a stored adapter on the model."""
        return load_peft(model, folder)


def make_config(module: nn.Module, settings: LoraSettings) -> Any:
    """Return PEFT's configuration of these settings for a module.

    Raises:
        ConfigError: When targets or layers are named that it does not have; all of them.
    """
    from peft import LoraConfig

    targets = _targets(module, settings.targets)
    if settings.layers is not None:
        targets = _in_layers(module, targets, settings.layers)
    return LoraConfig(
        r=settings.rank,
        lora_alpha=used_alpha(settings),  # type: ignore[arg-type]  # peft computes with it as a float
        lora_dropout=settings.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        rank_pattern=dict(settings.ranks),
        alpha_pattern=_alphas(settings),
        use_rslora=settings.rslora,
        use_dora=settings.dora,
    )


def used_alpha(settings: LoraSettings) -> float:
    """Return the scale of the update times the rank: what was given, or twice the rank."""
    return settings.alpha or 2 * settings.rank


def _alphas(settings: LoraSettings) -> dict[str, Any]:
    """A layer of another rank keeps the scale alpha / rank of the others, unless its alpha is given."""
    scale = used_alpha(settings) / settings.rank
    return {**{name: scale * rank for name, rank in settings.ranks.items()}, **settings.alphas}


def _targets(module: nn.Module, targets: str | tuple[str, ...]) -> str | tuple[str, ...]:
    """Expand the parts of blocks into names of layers, and check names."""
    if isinstance(targets, str):
        return targets
    known = {layer.name.rsplit(".", 1)[-1] for layer in linear_layers(module)}
    faults: list[LuthierError] = [
        ConfigError(
            f"the model has no linear layer '{target}'",
            where="settings.targets",
            fix=did_you_mean(target, known.union(BLOCK_PARTS)),
        )
        for target in targets
        if target not in BLOCK_PARTS and target.rsplit(".", 1)[-1] not in known
    ]
    raise_faults("settings.targets names layers that the model does not have", faults)
    named = [target for target in targets if target not in BLOCK_PARTS]
    for block in blocks(module) if any(target in BLOCK_PARTS for target in targets) else ():
        own = {"attention": [layer for part in block.attentions for layer in part], "mlp": list(block.mlp)}
        named += [layer.name for part in BLOCK_PARTS if part in targets for layer in own[part]]
    return tuple(named)


def _in_layers(module: nn.Module, targets: str | tuple[str, ...], layers: tuple[int, ...]) -> tuple[str, ...]:
    """Return the full names of the targets that stand in the chosen blocks: of encoder and decoder alike."""
    found = blocks(module)
    places = {block.name: int(block.name.rsplit(".", 1)[-1]) for block in found}
    wrong = sorted(set(layers) - set(places.values()))
    if wrong:
        raise ConfigError(
            f"the model has no block {wrong[0]}",
            where="settings.layers",
            fix=f"Blocks are numbered from 0 to {max(places.values())}.",
        )
    inside = [
        layer.name
        for block in found
        if places[block.name] in layers
        for layer in (*(layer for part in block.attentions for layer in part), *block.mlp)
    ]
    if isinstance(targets, str):
        return tuple(inside)
    return tuple(name for name in inside if any(name == end or name.endswith(f".{end}") for end in targets))
