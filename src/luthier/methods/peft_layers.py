"""Layers of ``peft`` inside a model: put on, taken off, put on again, merged; no method in particular.

``peft`` replaces modules of the base by its own. Which modules it replaced is seen by comparing the module tree before
and after, so that taking them off and putting them on again only moves references: nothing is computed. What an adapter
writes to the base's own weights is exchanged in the same way: see :mod:`luthier.methods.base_weights`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import torch
from torch import nn

from luthier.config.interpolation import BASE, TRAINED
from luthier.errors import ModelError, first_line
from luthier.methods.base import freeze_all_but
from luthier.methods.base_weights import BaseWeights
from luthier.methods.peft_config import kind_of, without_warnings
from luthier.methods.peft_files import save_peft
from luthier.methods.peft_interpolation import Folded, FoldedWay, Way, way_of
from luthier.methods.tied_head import tie_if_equal, untie_for
from luthier.models.language_model import LanguageModel

ModuleTree: TypeAlias = list[tuple[nn.Module, dict[str, nn.Module | None]]]
"""Each module of a model with its children by name."""


@dataclass(frozen=True)
class Swap:
    """A place in the base where ``peft`` put a module of its own.

    Attributes:
        parent: The module that holds the place.
        name: Of the place.
        base: What stood there; None where nothing did.
        adapted: What stands there while the adapter is on.
    """

    parent: nn.Module
    name: str
    base: nn.Module | None
    adapted: nn.Module


class AttachedPeft:
    """PEFT's layers inside the model's module, which itself stays the same object."""

    in_place: ClassVar[bool] = False

    def __init__(self, model: LanguageModel, wrapped: Any, swaps: tuple[Swap, ...], weights: BaseWeights) -> None:
        self.model = model
        self.base: nn.Module = model.module
        self.wrapped = wrapped
        self.swaps = swaps
        self.weights = weights
        self._configs = vars(self.base).get("peft_config")
        # `peft` marks what it trains by requires_grad when it puts an adapter on.
        self._trainable = {name: weight for name, weight in wrapped.named_parameters() if weight.requires_grad}
        self._way: Way | None = None
        self._at_base = False
        self._switch_on()

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return the adapter's parameters."""
        return self._trainable

    def detach(self) -> None:
        """Put the base's own modules and weights back."""
        self._leave_way()
        if not self._at_base:
            self._take_modules_off()
            self.weights.take_off()
        self._at_base = False

    def _take_modules_off(self) -> None:
        put_back(self.base, self.swaps)
        self.base.train(self.base.training)

    def reattach(self) -> None:
        """Put the adapter's modules, and what it made of the base's weights, where they were."""
        self.weights.put_on()
        for swap in self.swaps:
            swap.parent._modules[swap.name] = swap.adapted
        if self._configs is not None:
            vars(self.base)["peft_config"] = self._configs
        self._at_base = False
        self._switch_on()

    def interpolate(self, at: float) -> None:
        """Compute at a point between the base and the adapter: see :mod:`luthier.methods.peft_interpolation`.

        Raises:
            ModelError: When neither the adapter's parts nor the weights can be interpolated.
        """
        if at == BASE:
            self.detach()  # a layer of the adapter's may compute in another order than the base's, even at a scale of 0
            self._at_base = True
            return
        if self._at_base:
            self.reattach()
        if self._way is None:
            layers = [layer for swap in self.swaps for layer in swap.adapted.modules()]
            self._way = way_of(self._trainable, layers, writes=bool(self.weights.exchanged), fold=self.fold)
        self._way(at)

    def _leave_way(self) -> None:
        if self._way is not None:
            self._way(TRAINED)
        self._way = None

    def merge(self) -> Callable[[], None]:
        """Fold the change into the base's weights and take the adapter off; see :mod:`luthier.methods.merging`.

        Raises:
            ModelError: When ``peft`` cannot merge this kind, or the merged weights are not finite.
        """
        if self._at_base:
            return self.reattach
        if isinstance(self._way, FoldedWay) and self._way.folded:
            return self._leave_way
        return self.fold().undo

    def fold(self) -> Folded:
        """Fold the change into the base's weights and take the adapter off.

        Raises:
            ModelError: When ``peft`` cannot merge this kind, or the merged weights are not finite.
        """
        changed = [swap.base for swap in self.swaps if swap.base is not None]
        tie = untie_for(self.model, changed)
        owned = [weight for module in changed for weight in module.parameters()]
        kept = [weight.detach().clone() for weight in owned]

        def undo() -> None:
            _not_merged(self.swaps)
            with torch.no_grad():
                for weight, tensor in zip(owned, kept, strict=True):
                    weight.copy_(tensor)
            tie()
            self.reattach()

        try:
            with torch.no_grad(), without_warnings():
                self.wrapped.base_model.merge_adapter(safe_merge=True)
                _put_in_whole_modules(self.swaps)
        except (ValueError, NotImplementedError, AttributeError, TypeError) as fault:
            undo()
            raise ModelError(
                f"{kind_of(self.wrapped.active_peft_config)} cannot be merged: {first_line(fault)}",
                fix="Keep the adapter as it is.",
            ) from None
        except Exception:  # memory may end halfway
            undo()
            raise
        _not_merged(self.swaps)
        self._take_modules_off()
        tie = tie_if_equal(self.model, tie)
        apart = self.weights.apart_from(owned)
        base = [self.weights.own_of(weight, before) for weight, before in zip(owned, kept, strict=True)]
        return Folded([*owned, *(weight for weight, _ in apart)], [*base, *(own for _, own in apart)], undo)

    def _switch_on(self) -> None:
        self.wrapped.train(self.base.training)
        freeze_all_but(self.wrapped, self._trainable)

    def save(self, folder: Path) -> None:
        """Write ``adapter_config.json`` and ``adapter_model.safetensors``, as ``peft`` does."""
        save_peft(self.wrapped, self.model, folder)


def module_tree(base: nn.Module) -> ModuleTree:
    """Remember which module stands where."""
    return [(parent, dict(parent._modules)) for parent in base.modules()]


def swaps_since(tree: ModuleTree) -> tuple[Swap, ...]:
    """Return the places at which another module stands than in the tree of before."""
    return tuple(
        Swap(parent, name, before.get(name), now)
        for parent, before in tree
        for name, now in parent._modules.items()
        if now is not None and now is not before.get(name)
    )


def put_back(base: nn.Module, swaps: Sequence[Swap]) -> None:
    """Put the base's own modules where they stood."""
    for swap in swaps:
        if swap.base is None:
            del swap.parent._modules[swap.name]
        else:
            swap.parent._modules[swap.name] = swap.base
    vars(base).pop("peft_config", None)
    freeze_all_but(base, {})


def _not_merged(swaps: Sequence[Swap]) -> None:
    """Let layers that were merged compute beside the base's own weights when they are put on again."""
    for layer in (layer for swap in swaps for layer in swap.adapted.modules()):
        merged = getattr(layer, "merged_adapters", None)
        if merged is not None:
            merged.clear()


def _put_in_whole_modules(swaps: Sequence[Swap]) -> None:
    """Copy modules that were trained whole (``modules_to_save``) into the base's."""
    for swap in swaps:
        trained = getattr(swap.adapted, "modules_to_save", None)
        if swap.base is not None and isinstance(trained, nn.ModuleDict):
            for name, weight in trained["default"].named_parameters():
                swap.base.get_parameter(name).data = weight.data.clone()
