"""Virtual tokens of ``peft`` before every prompt: put on, taken off, put on again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from luthier.methods.base import freeze_all_but
from luthier.methods.peft_config import CACHED, kind_of
from luthier.methods.peft_files import save_peft
from luthier.models.language_model import LanguageModel
from luthier.models.soft_prompt import SoftPrompt, WithVirtualTokens


class AttachedSoftPrompt:
    """Virtual tokens of ``peft`` before every prompt.

    ``peft`` keeps their parameters. The model itself puts them before prompts (see :mod:`luthier.models.soft_prompt`),
    because ``peft`` ignores the positions of a padded batch and fills its key-value cache anew at every call.
    """

    def __init__(self, model: LanguageModel, wrapped: Any) -> None:
        self.model = model
        self.base = model.module
        self.wrapped = wrapped
        self.config = wrapped.peft_config["default"]
        self.encoder: nn.Module = wrapped.prompt_encoder
        self.reattach()

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return the parameters behind the virtual tokens."""
        return dict(self.encoder.named_parameters())

    def in_units(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return stored tensors by the names of the trained ones, as multiples of the units of these."""
        found = dict(tensors)
        for name in self.trainable():
            owner, parametrized, rest = name.partition(".parametrizations.")
            if parametrized:
                weight = rest.partition(".")[0]
                (unit,) = self.encoder.get_submodule(f"{owner}.parametrizations.{weight}").children()
                stored = found.pop(f"{owner}.{weight}")
                found[name] = unit.right_inverse(stored.to(self.model.device))  # type: ignore[operator]
        return found

    def detach(self) -> None:
        """Take the virtual tokens away."""
        reader = self._reader()
        embedding = reader.get_input_embeddings()
        if isinstance(embedding, WithVirtualTokens):
            reader.set_input_embeddings(embedding.base)
        del self.base._modules["soft_prompt"]
        self.model.soft_prompt = None
        freeze_all_but(self.base, {})

    def reattach(self) -> None:
        """Put the virtual tokens before every prompt."""
        tokens = int(self.config.num_virtual_tokens)
        if kind_of(self.config) in CACHED:
            self.model.soft_prompt = SoftPrompt(tokens, cache=self.wrapped.get_prompt)
        else:
            reader = self._reader()
            embedding = WithVirtualTokens(reader.get_input_embeddings(), self._vectors)
            reader.set_input_embeddings(embedding)
            ids = np.arange(embedding.first_id, embedding.first_id + tokens, dtype=np.int32)
            self.model.soft_prompt = SoftPrompt(tokens, ids=ids)
        self.base.add_module("soft_prompt", self.encoder)
        self.encoder.train(self.base.training)
        freeze_all_but(self.base, self.trainable())

    def save(self, folder: Path) -> None:
        """Write ``adapter_config.json`` and ``adapter_model.safetensors``, as ``peft`` does."""
        save_peft(self.wrapped, self.model, folder)

    def _vectors(self) -> Tensor:
        """Return the virtual tokens' vectors ``(tokens, hidden)``; ``peft`` gives an encoder more than those."""
        vectors: Tensor = self.wrapped.get_prompt(1)[0, : self.config.num_virtual_tokens]
        return vectors

    def _reader(self) -> Any:
        """Return the part of the model that reads prompts."""
        return self.base.get_encoder() if self.model.encoder_decoder else self.base
