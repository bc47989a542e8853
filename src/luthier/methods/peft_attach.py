"""Put a fresh instance of any ``peft`` configuration on a model, or leave the model as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import nn

from luthier.errors import ConfigError, LuthierError, first_line
from luthier.methods.base_weights import BaseWeights, give_back
from luthier.methods.peft_config import complete_config, kind_of, seeded, without_warnings
from luthier.methods.peft_layers import AttachedPeft, module_tree, put_back, swaps_since
from luthier.methods.peft_soft_prompt import AttachedSoftPrompt
from luthier.models.language_model import LanguageModel
from luthier.models.module_discovery import blocks


def attach_peft(model: LanguageModel, config: Any, *, seed: int) -> AttachedPeft | AttachedSoftPrompt:
    """Put a fresh instance of a ``peft`` configuration on the model.

    Args:
        model: The model.
        config: A ``PeftConfig``; what it leaves open and the model decides is filled in.
        seed: Of its random weights.

    Raises:
        ConfigError: When ``peft`` cannot put it on this model, or it starts by writing to the base's own weights.
    """
    complete_config(model, config)
    base = model.module
    if config.is_prompt_learning:
        with seeded(seed), _refusing(config), without_warnings():
            return AttachedSoftPrompt(model, _wrap(base, config))
    tree, weights = module_tree(base), BaseWeights(base)
    try:
        with seeded(seed), _refusing(config), without_warnings():
            wrapped = _wrap(base, config)
        if weights.exchanged or weights.written:
            raise ConfigError(
                f"this {kind_of(config)} writes to the base's own weights, so it could not be taken off",
                where="settings",
                fix="Choose a start that leaves them alone, such as init_lora_weights: true.",
            )
    except LuthierError:
        put_back(base, swaps_since(tree))
        give_back(model, weights)
        raise
    # `bias: all` trains the base's own biases.
    weights.give_copies(weight for weight in wrapped.parameters() if weight.requires_grad)
    attached = AttachedPeft(model, wrapped, swaps_since(tree), weights)
    if not attached.trainable():
        attached.detach()
        raise ConfigError(
            f"{kind_of(config)} trains nothing on this model", where="settings", fix="Look at its targets."
        )
    return attached


def _wrap(base: nn.Module, config: Any) -> Any:
    """Let ``peft`` put a configuration on; name the blocks' linear layers where it does not know the architecture."""
    from peft import get_peft_model

    try:
        return get_peft_model(base, config)
    except ValueError:
        if getattr(config, "target_modules", "given") is not None:
            raise
        found = blocks(base)
        config.target_modules = {
            layer.name for block in found for part in (*block.attentions, block.mlp) for layer in part
        }
        if hasattr(config, "feedforward_modules"):
            config.feedforward_modules = {block.mlp[-1].name for block in found if block.mlp}
        return get_peft_model(base, config)


@contextlib.contextmanager
def _refusing(config: Any) -> Iterator[None]:
    """Turn what ``peft`` says of a configuration that does not fit the model into a fault of the settings."""
    try:
        yield
    except (ValueError, TypeError, KeyError, RuntimeError, NotImplementedError) as fault:
        raise ConfigError(
            f"peft cannot put {kind_of(config)} on this model: {first_line(fault)}",
            where="settings",
            fix="Name layers that the model has, or leave target_modules out.",
        ) from None
