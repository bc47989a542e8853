"""Bottleneck adapters: h + up(f(down(h))), with ``up`` zero at the start, inside every block.

- ``houlsby`` (Houlsby et al. 2019, arXiv:1902.00751, section 2.1): on the output of each attention and of the MLP,
  before it is added to the hidden states.
- ``pfeiffer`` (Pfeiffer et al. 2021, arXiv:2005.00247): on the output of the MLP alone.
- ``parallel`` (He et al. 2022, arXiv:2110.04366, section 3.4): beside the MLP, from its input to its output.

``peft`` has none of these. The folder holds ``adapter.safetensors`` and ``adapter.json``, which says where each adapter
stands, its widths, function and scale: all that is needed to build them again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, TypeAdapter, ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from luthier.config.base import Settings
from luthier.config.interpolation import TRAINED
from luthier.errors import LuthierError, ModelError, raise_faults
from luthier.methods.base import SearchedSetting, freeze_all_but, load_weights, read_tensors, snapshot
from luthier.models.language_model import LanguageModel
from luthier.models.module_discovery import Layer, blocks

WEIGHTS = "adapter.safetensors"
PLAN = "adapter.json"
_FIX = "Load the base that it was trained on."
_FUNCTIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


class AdapterSettings(Settings):
    """Bottleneck adapters' own settings."""

    placement: Literal["houlsby", "pfeiffer", "parallel"] = "houlsby"
    """After each attention and MLP, after the MLP alone, or beside the MLP."""
    bottleneck: int = Field(default=32, ge=1)
    """Width of the bottleneck."""
    function: Literal["relu", "gelu", "silu"] = "relu"
    """The function inside it."""
    scale: float = Field(default=1.0, gt=0)
    """Times the adapter's output; He et al. use 4 for `parallel`."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout inside the bottleneck."""


@dataclass(frozen=True)
class Place:
    """Where one adapter stands.

    Attributes:
        writes: The linear layer that it adds to the output of.
        reads: The linear layer whose input it reads; "" where it reads the output that it adds to.
        width: Of the hidden states.
    """

    writes: str
    reads: str
    width: int


@dataclass(frozen=True)
class Plan:
    """The description from which a model's adapters can be rebuilt."""

    format: str
    placement: str
    bottleneck: int
    function: str
    scale: float
    dropout: float
    places: tuple[Place, ...]


class Bottleneck(nn.Module):
    """One adapter; it returns what is added."""

    def __init__(self, width: int, plan: Plan) -> None:
        super().__init__()
        self.down = nn.Linear(width, plan.bottleneck)
        self.function = _FUNCTIONS[plan.function]()
        self.dropout = nn.Dropout(plan.dropout)
        self.up = nn.Linear(plan.bottleneck, width)
        self.scale = plan.scale
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        nn.init.zeros_(self.down.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return ``(…, width)``, zero at the start."""
        added: Tensor = self.up(self.dropout(self.function(self.down(hidden))))
        return added * self.scale


class AttachedAdapters:
    """Adapters in a model's blocks, each a child and a hook of the layer to whose output it adds."""

    def __init__(self, model: LanguageModel, plan: Plan) -> None:
        self.model = model
        self.plan = plan
        self._adapters = {place: Bottleneck(place.width, plan).to(model.device) for place in plan.places}
        self._handles: list[RemovableHandle] = []
        self.reattach()

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return the adapters' weights, by the layer that they add to."""
        return {
            f"{place.writes}.adapter.{name}": weight
            for place, adapter in self._adapters.items()
            for name, weight in adapter.named_parameters()
        }

    def detach(self) -> None:
        """Detach the adapters from their layers."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        for place in self._adapters:
            del self.model.module.get_submodule(place.writes)._modules["adapter"]
        freeze_all_but(self.model.module, {})

    def reattach(self) -> None:
        """Attach the adapters to their layers."""
        self.interpolate(TRAINED)
        for place, adapter in self._adapters.items():
            layer = self.model.module.get_submodule(place.writes)
            layer.add_module("adapter", adapter.train(self.model.module.training))
            if place.reads:
                self._handles += _beside(self.model.module.get_submodule(place.reads), layer, adapter)
            else:
                self._handles.append(layer.register_forward_hook(lambda _, __, out, own=adapter: out + own(out)))
        freeze_all_but(self.model.module, self.trainable())

    def interpolate(self, at: float) -> None:
        """Scale what the adapters add: at 0 nothing."""
        for adapter in self._adapters.values():
            adapter.scale = self.plan.scale * at

    def save(self, folder: Path) -> None:
        """Write the weights, and the plan by which they are put in place."""
        save_file(snapshot(self), folder / WEIGHTS, metadata={"format": "pt"})
        text = json.dumps(asdict(self.plan), indent=2, sort_keys=True)
        (folder / PLAN).write_text(text + "\n", encoding="utf-8")


class Adapter:
    """See the module."""

    name: ClassVar[str] = "adapter"
    learning_rate: ClassVar[float] = 1e-3
    starts_as_base: ClassVar[bool] = True
    settings_class: ClassVar[type[Settings]] = AdapterSettings
    space: ClassVar[Mapping[str, SearchedSetting]] = {"bottleneck": SearchedSetting((8, 16, 32, 64), default=32)}

    def attach(self, model: LanguageModel, settings: Settings, *, seed: int) -> AttachedAdapters:
        """Put fresh adapters into every block; the output equals the base's until the first step."""
        assert isinstance(settings, AdapterSettings)
        plan = Plan(
            format="luthier-adapter-1",
            placement=settings.placement,
            bottleneck=settings.bottleneck,
            function=settings.function,
            scale=settings.scale,
            dropout=settings.dropout,
            places=tuple(_places(model.module, settings.placement)),
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return AttachedAdapters(model, plan)

    def load(self, model: LanguageModel, folder: Path) -> AttachedAdapters:
        """Put stored adapters on the model."""
        tensors = read_tensors(folder / WEIGHTS)
        plan = _read_plan(folder)
        _require_places(model.module, plan, folder)
        attached = AttachedAdapters(model, plan)
        try:
            load_weights(attached, tensors, where=str(folder / WEIGHTS))
        except LuthierError:
            attached.detach()
            raise
        return attached


def weights_of_one(width: int, bottleneck: int) -> int:
    """Return the weights of one adapter: 2 m d + d + m (Houlsby et al. 2019, section 2.1).

    >>> weights_of_one(512, 64)
    66112
    """
    return 2 * bottleneck * width + width + bottleneck


def _beside(first: nn.Module, last: nn.Module, adapter: Bottleneck) -> list[RemovableHandle]:
    """Add the adapter of what the first layer reads to what the last one writes."""
    read: list[Tensor] = []

    def remember(_: nn.Module, given: tuple[Any, ...]) -> None:
        read[:] = [given[0]]

    def add(_: nn.Module, __: Any, out: Tensor) -> Tensor:
        added: Tensor = adapter(read.pop()).view_as(out)
        return out + added

    return [first.register_forward_pre_hook(remember), last.register_forward_hook(add)]


def _places(module: nn.Module, placement: str) -> Iterator[Place]:
    """Yield where adapters go: on the layer that ends an attention or an MLP, which writes to the hidden states."""
    for block in blocks(module):
        parts = [*block.attentions, block.mlp] if placement == "houlsby" else [block.mlp]
        for part in parts:
            if not part or part[-1].outputs != part[0].inputs:
                raise ModelError(
                    f"block '{block.name}' has no MLP or attention of linear layers to put an adapter on",
                    fix="Use lora or selective on this architecture.",
                )
            reads = part[0].name if placement == "parallel" else ""
            yield Place(part[-1].name, reads, part[-1].outputs)


def _read_plan(folder: Path) -> Plan:
    path = folder / PLAN
    try:
        return TypeAdapter(Plan).validate_json(path.read_bytes())
    except OSError:
        raise ModelError(f"no {PLAN}", where=str(folder), fix="Give a whole adapter folder.") from None
    except ValidationError as invalid:
        what = f"damaged: {invalid.errors()[0]['msg']}"
        raise ModelError(what, where=str(path), fix="Fetch or train it again.") from None


def _require_places(module: nn.Module, plan: Plan, folder: Path) -> None:
    known = {layer.name: layer for block in blocks(module) for part in (*block.attentions, block.mlp) for layer in part}
    where = str(folder / PLAN)
    faults: list[LuthierError] = []
    for place in plan.places:
        missing = [name for name in (place.writes, place.reads) if name and name not in known]
        faults += [ModelError(f"the model has no layer '{name}'", where=where, fix=_FIX) for name in missing]
        if not missing and _width(known[place.writes]) != place.width:
            widths = f"{place.width} wide, the model's is {_width(known[place.writes])}"
            faults.append(ModelError(f"layer '{place.writes}' was {widths}", where=where, fix=_FIX))
    if plan.function not in _FUNCTIONS:
        faults.append(ModelError(f"unknown function '{plan.function}'", where=where, fix="Update Luthier."))
    raise_faults(f"{folder} does not fit the model", faults)


def _width(layer: Layer) -> int:
    return layer.outputs
