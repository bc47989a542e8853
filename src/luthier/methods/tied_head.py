"""An output layer that shares its matrix with the input embedding, when a merge changes only one of the two."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import nn

from luthier.errors import ModelError
from luthier.models.language_model import LanguageModel


def untie_for(model: LanguageModel, changed: Collection[nn.Module]) -> Callable[[], None]:
    """Give the output layer a matrix of its own, if it shares one that a merge is about to change.

    Args:
        model: The adapter is on it.
        changed: Modules of the base whose weights the merge writes to.

    Returns:
        A function that ties the two again.

    Raises:
        ModelError: When an encoder-decoder shares it: how it scales its logits depends on the sharing.
    """
    weights = [weight for module in changed for weight in module.parameters()]
    module: Any = model.module
    # Under an adapter, the modules of the base are inside those of `peft`.
    reader, head = _own(module.get_input_embeddings()), _own(module.get_output_embeddings())
    shared = reader.weight
    if head.weight is not shared or not any(weight is shared for weight in weights):
        return _nothing
    if model.encoder_decoder:
        raise ModelError(
            "the output layer of this model shares its matrix with the embeddings, so that what was trained of one "
            "alone cannot be merged into it",
            fix="Keep the adapter as it is, or train it without embeddings and output layer.",
        )
    configs = {id(config): config for config in (module.config, module.config.get_text_config())}.values()
    head.weight = nn.Parameter(shared.detach().clone(), requires_grad=shared.requires_grad)
    for config in configs:
        config.tie_word_embeddings = False

    def tie() -> None:
        head.weight = shared
        for config in configs:
            config.tie_word_embeddings = True

    return tie


def tie_if_equal(model: LanguageModel, tie: Callable[[], None]) -> Callable[[], None]:
    """Tie the two again where the merge changed both alike; return what undoes the untying that is left."""
    module: Any = model.module
    reader, head = module.get_input_embeddings(), module.get_output_embeddings()
    if tie is not _nothing and torch.equal(reader.weight, head.weight):
        tie()
        return _nothing
    return tie


def _own(layer: Any) -> Any:
    """Return the base's own layer inside a layer of ``peft``."""
    while True:
        inner = getattr(layer, "original_module", None) or getattr(layer, "base_layer", None)
        if inner is None:
            return layer
        layer = inner


def _nothing() -> None:
    """The head was not tied."""
