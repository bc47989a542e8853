"""Several adapters of one base made into one: their mean, TIES or DARE.

What is combined are changes of the base's weights, ``trained − base``, also where an adapter keeps them as factors:
the mean of two products is not the product of two means. The mean of LoRA adapters can be an adapter, of the sum of
their ranks: see :mod:`luthier.methods.lora_mean`.

- ``mean``: the weighted mean.
- ``ties`` (Yadav et al. 2023, arXiv:2306.01708, section 3): of each change only the largest entries stay, a share
  `density` of each tensor; of each entry the sign with the greater sum is elected; the mean is taken over the changes
  that have it.
- ``dare`` (Yu et al. 2024, arXiv:2311.03099, section 3.2): of each change entries are dropped at random, a share
  `density` stays and is divided by it; then the weighted mean.

The last two are those of ``peft``.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from luthier.config.interpolation import TRAINED
from luthier.display import Displayed
from luthier.errors import ModelError, raise_faults
from luthier.methods.adapter_io import is_published, load_adapter, read_card
from luthier.methods.interpolation import between
from luthier.methods.merging import Mergeable
from luthier.methods.peft_config import seeded
from luthier.methods.peft_files import read_config
from luthier.models.language_model import LanguageModel

How: TypeAlias = Literal["mean", "ties", "dare"]

_MAY_DIFFER = frozenset(
    {"dropout", "lora_dropout", "revision", "peft_version", "inference_mode", "auto_mapping", "init_lora_weights"}
)
"""Settings of an adapter that change nothing of what is combined."""


@dataclass(frozen=True, slots=True)
class Combination:
    """How adapters are combined.

    Attributes:
        how: See the module.
        weights: One of each adapter, relative to one another.
        density: Share of the entries that stay, of ``ties`` and ``dare``.
        scale: Of the whole change: 0 is the base.
        seed: Of what ``dare`` drops.
    """

    how: How
    weights: tuple[float, ...]
    density: float
    scale: float = TRAINED
    seed: int = 0

    @property
    def shares(self) -> tuple[float, ...]:
        """The weights, with a sum of 1."""
        total = sum(self.weights)
        return tuple(weight / total for weight in self.weights)


@dataclass(frozen=True)
class Combined(Displayed):
    """Several adapters made one, and what each scores on a sample of a task.

    Attributes:
        adapters: Their folders.
        how: How they were combined.
        made: What was written: an ``adapter``, or a whole ``model``.
        metric: The task's primary output.
        base: Of the base.
        each: Of each adapter.
        after: Of what was made.
        examples: Of the sample.
        shares: Weight of each adapter, with a sum of 1.
    """

    view: ClassVar[str] = "combined"

    adapters: tuple[str, ...]
    how: How
    made: Literal["adapter", "model"]
    metric: str
    base: float
    each: tuple[float, ...]
    after: float
    examples: int
    shares: tuple[float, ...]

    def __repr__(self) -> str:
        return f"<Combined: the {self.how} of {len(self.adapters)} as one {self.made}, {self.metric} {self.after:.4g}>"


def require_alike(folders: Sequence[Path]) -> None:
    """Check that adapters have one base, method and shape.

    Raises:
        ModelError: When they do not; each difference from the first is named.
    """
    published = any(map(is_published, folders))
    first, *others = ((folder, _facts(folder, published=published)) for folder in folders)
    faults = []
    for folder, facts in others:
        for key in sorted(first[1].keys() | facts.keys()):
            mine, its = first[1].get(key), facts.get(key)
            if mine != its:
                what = f"{key} is {_short(its)}, and {_short(mine)} in {first[0]}"
                fix = "Merge adapters of one base, method and rank; others one by one, each into a model."
                faults.append(ModelError(what, where=str(folder), fix=fix))
    raise_faults("the adapters cannot be combined", faults)


def _facts(folder: Path, *, published: bool) -> dict[str, Any]:
    """Return what adapters must have in common: by their cards, or by PEFT's configuration where one has no card."""
    if published:
        config = {key: value for key, value in read_config(folder).items() if key not in _MAY_DIFFER}
        config["base"] = config.pop("base_model_name_or_path", None)
        named = config.get("target_modules")
        return config | {"target_modules": sorted(named) if isinstance(named, list) else named}
    card = read_card(folder)
    settings = {key: value for key, value in card.settings.items() if key not in _MAY_DIFFER}
    return {"base": card.base_digest[:12], "method": card.method, **settings}


def _short(value: object) -> str:
    return "not given" if value is None else repr(value) if not isinstance(value, str) else f"'{value}'"


@torch.no_grad()
def combine_into(model: LanguageModel, folders: Sequence[Path], combination: Combination, *, any_base: bool) -> None:
    """Put the combination of several adapters into a model's weights.

    Args:
        model: The base; it is changed.
        folders: Of the adapters.
        combination: How they are combined.
        any_base: Accept adapters of another base.

    Raises:
        ModelError: When one cannot be folded into weights, or unties the output layer from the embeddings.
    """
    own = dict(model.module.named_parameters())
    base = {name: weight.detach().clone() for name, weight in own.items()}
    trained = [_changed(model, folder, base, any_base=any_base) for folder in folders]
    changed = [name for name in base if any(name in one for one in trained)]
    with seeded(combination.seed):
        for name in changed:
            whole = combined_weight(base[name], [one.get(name, base[name]) for one in trained], combination)
            own[name].copy_(between(base[name], whole, combination.scale))


def _changed(model: LanguageModel, folder: Path, base: Mapping[str, Tensor], *, any_base: bool) -> dict[str, Tensor]:
    """Return the weights that an adapter changes, as they are with it; the model is the base again."""
    attached = load_adapter(model, folder, any_base=any_base)
    try:
        if not isinstance(attached, Mergeable):
            raise ModelError(
                "this method computes beside the weights, so it cannot be combined in them",
                where=str(folder),
                fix="Combine adapters of lora, ia3, selective or full.",
            )
        undo = attached.merge()
        named = dict(model.module.named_parameters())
        apart = named.keys() - base.keys()
        found = {
            name: weight.detach().clone()
            for name, weight in named.items()
            if name in base and not torch.equal(weight, base[name])
        }
        undo()
        if apart:
            raise ModelError(
                f"it changes '{min(apart)}' apart from the embeddings, which share one matrix with it in the base",
                where=str(folder),
                fix="Merge this adapter alone, or use --how mean for LoRA, which stays an adapter.",
            )
        return found
    finally:
        attached.detach()


def combined_weight(base: Tensor, trained: Sequence[Tensor], combination: Combination) -> Tensor:
    """Return one weight of the combined model."""
    from peft.utils.merge_utils import dare_linear, ties

    shares = combination.shares
    if combination.how == "mean":
        total = trained[0] * shares[0]
        for weight, share in zip(trained[1:], shares[1:], strict=True):
            total = total + weight * share
        return total
    changes = [weight - base for weight in trained]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a density of 1, at which nothing is dropped
        if combination.how == "ties":
            # Its mean is over the changes that agree, so that weights are relative to 1 each.
            relative = torch.tensor([share * len(shares) for share in shares], dtype=base.dtype, device=base.device)
            return base + ties(changes, relative, combination.density)
        return base + dare_linear(
            changes, torch.tensor(shares, dtype=base.dtype, device=base.device), combination.density
        )
