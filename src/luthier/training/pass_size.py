"""How many tokens a forward and backward pass of training takes: as the user says, or by the shape of the model alone.

So the same training is cut alike, and gives the same bits, wherever memory suffices; see :mod:`.memory_fit` for where
it does not.
"""

from __future__ import annotations

from luthier.config.training import TrainingConfig
from luthier.data.batching import ENOUGH, ENOUGH_ON_ACCELERATOR
from luthier.models.language_model import LanguageModel

_NUMBERS = 5 * 2**16
"""Numbers in one hidden state of a forward pass that keep a CPU's cores busy: memory grows with them, speed hardly. A
thousand tokens of SmolLM2-135M, 576 wide and cut to ten blocks, took 2.43 CPU seconds of a training with LoRA in passes
of 910 tokens, 2.53 in passes of 768, 2.54 in passes of 600, and 2.48 where steps of 3,900 tokens were not cut. Of the
whole model with LoRA, a pass of 908 tokens took 2.1 GB beside the 1.0 GB of process and weights, one of 454 tokens 0.9.
"""
_MOST = 8192
"""Tokens that are chosen for a pass at most, on any device."""


def busy_tokens(model: LanguageModel) -> int:
    """Return the tokens of a forward pass that keep the device busy: the narrower the model, the more of them."""
    if model.device.type != "cpu":
        return ENOUGH_ON_ACCELERATOR
    return _tokens_of_width(model) if model.why_padded() is None else ENOUGH


def planned_pass_size(model: LanguageModel, config: TrainingConfig) -> int:
    """Return the tokens of a pass where memory suffices: those that were given, or as many as keep the device busy."""
    if config.micro_tokens != "auto":
        return config.micro_tokens
    return min(_MOST, _tokens_of_width(model)) if model.device.type == "cpu" else _MOST


def _tokens_of_width(model: LanguageModel) -> int:
    width: int = getattr(model.module.config.get_text_config(), "hidden_size", ENOUGH)
    return max(ENOUGH, _NUMBERS // width)
