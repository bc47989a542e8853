"""Activations below the first trained block, computed once for each example and reused in every later epoch.

Where only the top blocks are trained, the input of the first trained block never changes: most of the forward pass is
the same work in every epoch. Each example's activations are computed alone, so that they are the same bits whenever
that happens, and a run that is resumed after a kill gives what it would have given.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from luthier.kernels.activation_checkpointing import recomputes
from luthier.kernels.block_stacks import last_stack
from luthier.kernels.verification import LOGPROBS, evaluation_mode, verify
from luthier.models.decoder import DecoderModel
from luthier.models.language_model import LanguageModel
from luthier.records import Encoded


@contextlib.contextmanager
def reuse_frozen_activations(model: LanguageModel, examples: Sequence[Encoded], max_bytes: int) -> Iterator[bool]:
    """Reuse the activations of these examples below the first trained block inside, where that is possible.

    It is possible where batches of a decoder are laid end to end, nothing that the frozen blocks compute with is
    trained or drawn at random, the activations of all examples fit, and log-probabilities with and without them agree.

    Args:
        model: With its method attached, in training mode.
        examples: Those that training uses, recognised by identity.
        max_bytes: Limit of the activations of all examples in memory, in bytes.

    Yields:
        Whether activations are reused.
    """
    blocks = _frozen_blocks(model)
    tokens = sum(len(item.prompt_ids) + len(item.target_ids) - 1 for item in examples)
    width: int = model.module.config.get_text_config().hidden_size
    if not isinstance(model, DecoderModel) or not blocks or not examples or 4 * tokens * width > max_bytes:
        yield False
        return
    shortest = min(examples, key=lambda item: len(item.prompt_ids) + len(item.target_ids))
    try:
        agrees = _agrees(model, blocks, shortest)
        model.frozen_activations = FrozenActivations(model, blocks, examples) if agrees else None
        yield agrees
    finally:
        model.frozen_activations = None


class FrozenActivations:
    """The activations of examples below the first trained block.

    Args:
        model: Computes them.
        blocks: The frozen blocks.
        examples: Whose activations are kept.
    """

    def __init__(self, model: DecoderModel, blocks: Sequence[Any], examples: Sequence[Encoded]) -> None:
        self._model = model
        self._blocks = blocks
        self._known = {id(item) for item in examples}
        self._states: dict[int, Tensor] = {}

    @contextlib.contextmanager
    def replaying(self, batch: Sequence[Encoded]) -> Iterator[None]:
        """Let the frozen blocks return the activations of a batch, laid end to end, inside, without computing.

        A batch with other examples is computed by all blocks.
        """
        if not all(id(item) in self._known for item in batch):
            yield
            return
        for item in batch:
            if id(item) not in self._states:
                self._states[id(item)] = self._computed(item)
        states = torch.cat([self._states[id(item)] for item in batch], dim=1)  # (1, T, D)
        with _replaced(self._blocks, states):
            yield

    @torch.no_grad()
    def _computed(self, item: Encoded) -> Tensor:
        """The activations of one example alone: ``(1, tokens, D)``."""
        found: list[Tensor] = []
        hook = self._blocks[-1].register_forward_hook(lambda _, __, states: found.append(states))
        self._model.frozen_activations = None
        try:
            with _replaced(last_stack(self._model.module)[len(self._blocks) :], None):
                self._model.target_logprobs([item])
        finally:
            hook.remove()
            self._model.frozen_activations = self
        return found[0]


@contextlib.contextmanager
def _replaced(blocks: Sequence[Any], states: Tensor | None) -> Iterator[None]:
    """Let blocks return these states inside, or their own input where None is given."""

    def forward(hidden_states: Tensor, *_: object, **__: object) -> Tensor:
        return hidden_states if states is None else states

    own = [vars(block).get("forward") for block in blocks]  # another context may have replaced it too
    try:
        for block in blocks:
            block.forward = forward
        yield
    finally:
        for block, before in zip(blocks, own, strict=True):
            del block.forward
            if before is not None:
                block.forward = before


def _frozen_blocks(model: LanguageModel) -> list[Any]:
    """The blocks below the first trained one; none where what they compute may change from step to step."""
    stack = last_stack(model.module)
    head = model.module.get_output_embeddings()
    trained = [any(weight.requires_grad for weight in block.parameters()) for block in stack]
    count = trained.index(True) if True in trained else len(stack) - 1
    inside = {id(part) for block in stack for part in block.modules()}
    outside = [part for part in model.module.modules() if id(part) not in inside and part is not head]
    lower = [part for block in stack[:count] for part in block.modules()]
    if count < 1 or model.soft_prompt is not None or model.why_padded() is not None or recomputes(model.module):
        return []
    if model.module.get_input_embeddings().weight.requires_grad or any(_drops_out(part) for part in (*outside, *lower)):
        return []
    if any(part._forward_hooks or part._forward_pre_hooks for part in (*outside, *lower)):
        return []
    own = [weight for part in outside for weight in part._parameters.values() if weight is not None]
    return [] if any(weight.requires_grad for weight in own) else stack[:count]


def _drops_out(part: nn.Module) -> bool:
    """Whether a part of a model applies dropout."""
    shares = [value for name, value in vars(part).items() if "dropout" in name and isinstance(value, float)]
    return any(shares) or (isinstance(part, nn.Dropout) and part.p > 0)


def _agrees(model: DecoderModel, blocks: Sequence[Any], item: Encoded) -> bool:
    """Whether an example's log-probabilities are the same with reused activations: blocks may pass on more."""
    # In evaluation mode nothing is drawn: a run that is resumed must find its random state as it was.
    with evaluation_mode(model.module), model.in_precision(None):
        expected = model.target_logprobs([item])
        model.frozen_activations = FrozenActivations(model, blocks, [item])
        verified = verify(lambda: model.target_logprobs([item]), expected, LOGPROBS)
        model.frozen_activations = None
    return verified.agrees
