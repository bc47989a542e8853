"""The size of the passes that a training begins with: as planned, or halved until they fit into the free memory.

What a pass takes is measured before the first step, by what a forward pass keeps for its backward pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from luthier.kernels.free_memory import free_bytes
from luthier.kernels.verification import evaluation_mode
from luthier.methods.base import count
from luthier.objectives.objective import R
from luthier.progress import say
from luthier.training.pass_size import planned_pass_size
from luthier.training.step import Training

_SPARE = 0.9
"""Share of the free memory that is used; others take some meanwhile."""
_HEAP = {"cpu": 2.2, "cuda": 1.3}
"""Memory that a pass takes for each byte that it keeps. The C library's heap has as many holes again: passes over
SmolLM2-135M took 1.9 to 2.2 times what they kept, with LoRA and with full tuning."""
_TRANSIENT = 128 * 2**20
"""Bytes that a pass takes besides: pieces of logits and of their gradient."""


@dataclass(frozen=True, slots=True)
class KeptBytes:
    """What a forward pass keeps for its backward pass, the parameters not counted.

    Attributes:
        fixed: Bytes that do not depend on its tokens, such as weights that are cast to bf16.
        each: Bytes for each token.
    """

    fixed: float
    each: float


def first_pass_size(training: Training[R]) -> int:
    """Return the tokens of the passes that a training begins with.

    Args:
        training: In the mode and precision of training.
    """
    planned = planned_pass_size(training.model, training.recipe.config)
    free = free_bytes(training.model.device)
    if training.recipe.config.micro_tokens != "auto" or free is None:
        return planned
    heap = _HEAP.get(training.model.device.type, 1.0)
    kept, tokens = kept_bytes(training), planned
    fixed = _bytes_of_training(training) + heap * kept.fixed + _TRANSIENT
    while tokens > 1 and fixed + heap * kept.each * tokens > _SPARE * free:
        tokens = math.ceil(tokens / 2)
    if tokens < planned:
        say(
            f"{training.label}: memory is short ({free / 1e9:.2f} GB are free): passes take at most {tokens:,} tokens, "
            f"not {planned:,}; the last digits of what is learned differ from those with more memory"
        )
    return tokens


def kept_bytes(training: Training[R]) -> KeptBytes:
    """Measure what a forward pass keeps, on a short and a longer record; without dropout, which would be drawn."""
    objective, records = training.recipe.objective, training.stream.data.some
    ordered = sorted(range(len(records)), key=lambda place: objective.tokens(records[place]))
    short, long = records[ordered[0]], records[ordered[len(ordered) // 2]]
    tokens = objective.tokens(short), objective.tokens(long)
    kept = _kept_by(training, short), _kept_by(training, long)
    each = (kept[1] - kept[0]) / (tokens[1] - tokens[0]) if tokens[1] > tokens[0] else kept[0] / tokens[0]
    return KeptBytes(max(0.0, kept[0] - each * tokens[0]), each)


def _kept_by(training: Training[R], record: R) -> int:
    model = training.model
    weights = {weight.untyped_storage().data_ptr() for weight in model.module.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # an operation that keeps its own result would hold itself for good

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with evaluation_mode(model.module), torch.enable_grad(), hooks:
        model.target_logprobs(training.recipe.objective.sequences(record))
    return sum(kept.values())


def _bytes_of_training(training: Training[R]) -> int:
    """Return what gradients and the optimizer's two moments take, in float32; a checkpoint's moments are there."""
    return 4 * count(training.attached.trainable()) * (1 if training.optimizer.state else 3)
