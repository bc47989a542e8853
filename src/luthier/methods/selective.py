"""Selective tuning: a chosen part of the model's own weights is trained, stored alone, and put back when taken off.

Biases only is BitFit (Ben Zaken et al. 2022, arXiv:2106.10199).
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor, nn

from luthier.config.base import Settings
from luthier.config.interpolation import BASE, TRAINED
from luthier.errors import ConfigError, LuthierError, ModelError, did_you_mean, raise_faults
from luthier.methods.base import SearchedSetting, freeze_all_but, load_weights, read_tensors, snapshot
from luthier.methods.interpolation import put_between
from luthier.models.language_model import LanguageModel
from luthier.models.module_discovery import block_count, blocks, last_blocks, norms

WEIGHTS = "selective.safetensors"
NAMES = "selective.json"
Part = Literal["attention", "mlp", "norms", "biases", "embeddings", "head"]
_LAST = 2


class SelectiveSettings(Settings):
    """Which weights are trained; the last two blocks when nothing is chosen."""

    last: int | None = Field(default=None, ge=1)
    """Only weights of the last blocks (of an encoder-decoder: the decoder's), as many as said."""
    parts: tuple[Part, ...] = ()
    """Only weights of these parts, in the last blocks if they are given too; biases alone are BitFit."""
    patterns: tuple[str, ...] = ()
    """Weights whose names match, in addition, e.g. ``["*.q_proj.weight"]``."""

    def in_full(self) -> dict[str, Any]:
        """Return every setting, with the blocks that are trained where nothing is chosen."""
        chosen = self.last is not None or self.parts or self.patterns
        return super().in_full() | ({} if chosen else {"last": _LAST})


class AttachedSelective:
    """Some of the model's own weights, trainable; the base's are kept aside."""

    in_place: ClassVar[bool] = True

    def __init__(self, model: LanguageModel, chosen: dict[str, nn.Parameter]) -> None:
        self.model = model
        self._chosen = chosen
        self._base = snapshot(self)
        self._own: dict[str, Tensor] = {}
        self._at = TRAINED
        freeze_all_but(model.module, chosen)

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return the chosen weights by their names in the model."""
        return self._chosen

    def detach(self) -> None:
        """Put the base's weights back, and keep the trained ones aside."""
        self.interpolate(BASE)
        freeze_all_but(self.model.module, {})

    def reattach(self) -> None:
        """Put the trained weights in place again."""
        self.interpolate(TRAINED)
        freeze_all_but(self.model.module, self._chosen)

    @torch.no_grad()
    def interpolate(self, at: float) -> None:
        """Mix the base's weights and the trained ones."""
        if self._at == TRAINED:
            self._own = snapshot(self)
        for name, parameter in self._chosen.items():
            put_between(parameter, self._base[name], self._own[name], at)
        self._at = at

    def merge(self) -> Callable[[], None]:
        """Stop training: the change is in the model's weights already. Undone, they are trainable again."""
        freeze_all_but(self.model.module, {})
        return lambda: freeze_all_but(self.model.module, self.trainable())

    def save(self, folder: Path) -> None:
        """Write the trained weights alone, and a list of them."""
        tensors = snapshot(self)
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        shapes = {name: list(tensor.shape) for name, tensor in sorted(tensors.items())}
        (folder / NAMES).write_text(json.dumps({"weights": shapes}, indent=2) + "\n", encoding="utf-8")


class Selective:
    """See the module."""

    name: ClassVar[str] = "selective"
    learning_rate: ClassVar[float] = 5e-4
    starts_as_base: ClassVar[bool] = True
    settings_class: ClassVar[type[Settings]] = SelectiveSettings
    space: ClassVar[Mapping[str, SearchedSetting]] = {
        "last": SearchedSetting((1, 2, 4), default=2, unless=("parts", "patterns"))
    }

    def attach(self, model: LanguageModel, settings: Settings, *, seed: int) -> AttachedSelective:
        """Make the chosen weights trainable."""
        assert isinstance(settings, SelectiveSettings)
        return AttachedSelective(model, _choose(model.module, settings))

    def load(self, model: LanguageModel, folder: Path) -> AttachedSelective:
        """Put stored weights in place of the base's."""
        tensors = read_tensors(folder / WEIGHTS)
        own = dict(model.module.named_parameters())
        names = _read_names(folder)
        fix = "Load the base that it was trained on."
        raise_faults(
            f"{folder} does not fit the model",
            [
                ModelError(f"the model has no weight '{name}'", where=str(folder / NAMES), fix=fix)
                for name in names
                if name not in own
            ],
        )
        attached = AttachedSelective(model, {name: own[name] for name in names})
        try:
            load_weights(attached, tensors, where=str(folder / WEIGHTS))
        except LuthierError:
            freeze_all_but(model.module, {})
            raise
        return attached


def _read_names(folder: Path) -> list[str]:
    path = folder / NAMES
    try:
        return sorted(json.loads(path.read_text(encoding="utf-8"))["weights"])
    except OSError:
        raise ModelError(f"no {NAMES}", where=str(folder), fix="Give a whole adapter folder.") from None
    except (ValueError, KeyError, TypeError):
        raise ModelError("damaged: no list of weights", where=str(path), fix="Fetch or train it again.") from None


def _choose(module: Any, settings: SelectiveSettings) -> dict[str, nn.Parameter]:
    """Return the chosen weights in the order of the model.

    Raises:
        ConfigError: When a part, a pattern or the number of blocks chooses nothing; all of them.
    """
    own = dict(module.named_parameters())
    faults: list[LuthierError] = []
    chosen: set[str] = set()
    for pattern in settings.patterns:
        matched = set(fnmatch.filter(own, pattern))
        chosen |= matched
        if not matched:
            hint = did_you_mean(pattern, own) if len(own) < 40 else f"The first are {', '.join(list(own)[:3])} …"
            what = f"no weight is called '{pattern}'"
            faults.append(ConfigError(what, where="settings.patterns", fix=f"{hint} `*` stands for anything."))
    last = settings.last
    if last is None and not settings.parts and not settings.patterns:
        last = min(_LAST, block_count(module))
    if last is not None and last > block_count(module):
        what = f"the model has only {block_count(module)} blocks, not {last}"
        faults.append(ConfigError(what, where="settings.last", fix="Ask for fewer."))
    inside = _last_names(module, last) if last is not None else set(own)
    for part in settings.parts:
        matched = inside & set(_part(module, own, part))
        chosen |= matched
        if not matched:
            place = "in the last blocks" if last is not None else "in this model"
            faults.append(ConfigError(f"there are no {part} {place}", where="settings.parts", fix="Choose another."))
    if last is not None and not settings.parts:
        chosen |= inside
    raise_faults("what is to be trained is not there", faults)
    return {name: weight for name, weight in own.items() if name in chosen}


def _last_names(module: Any, count: int) -> set[str]:
    return {
        name for block in last_blocks(module, count) for name, _ in block.module.named_parameters(prefix=block.name)
    }


def _part(module: Any, own: dict[str, nn.Parameter], part: str) -> Iterator[str]:
    """Yield the names of a part's weights. An output layer tied to the embeddings is one tensor with them."""
    if part == "biases":
        yield from (name for name in own if name.endswith(".bias"))
    elif part == "norms":
        for place, layer in norms(module):
            yield from (name for name, _ in layer.named_parameters(prefix=place))
    elif part in ("embeddings", "head"):
        wanted = _embeddings(module) if part == "embeddings" else {id(module.get_output_embeddings().weight)}
        yield from (name for name, weight in own.items() if id(weight) in wanted)
    else:
        for block in blocks(module):
            layers = block.mlp if part == "mlp" else [layer for layers in block.attentions for layer in layers]
            for linear in layers:
                yield from (name for name, _ in linear.module.named_parameters(prefix=linear.name))


def _embeddings(module: Any) -> set[int]:
    """Tokens and positions. T5's relative biases are an embedding too, but inside its attention."""
    inside = {id(weight) for block in blocks(module) for weight in block.module.parameters()}
    found = {id(layer.weight) for layer in module.modules() if isinstance(layer, nn.Embedding)}
    return found - inside
