"""Log-probabilities of target tokens from hidden states, without ever holding the logits of the whole vocabulary.

The logits of a large vocabulary are the largest tensor of a training step, and only two numbers of each row are
needed: the target's logit and the log of the sum. They are computed a few rows at a time, freed, and recomputed in the
backward pass (the idea of Liger-Kernel's fused linear cross-entropy, arXiv:2410.10989, for any loss of the
log-probabilities).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_BYTES = 32 * 2**20
"""Float32 logits that are held at a time."""
_PIECE = 8192
"""Rows of the vocabulary whose gradient is added at a time."""


def is_plain(head: object) -> bool:
    """Whether an output layer is a linear layer and nothing else, as :func:`logprobs_of_targets` assumes."""
    return type(head) is nn.Linear


def logprobs_of_targets(hidden: Tensor, head: nn.Linear, targets: Tensor) -> Tensor:
    """Log-probability of each target, differentiable in the hidden states and the output layer.

    Args:
        hidden: ``(targets, hidden size)``.
        head: The output layer: weights ``(vocabulary, hidden size)``, optionally with a bias.
        targets: int64 ``(targets,)``.

    Returns:
        float32 ``(targets,)``, in nats.
    """
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    found: Tensor = _TargetLogprobs.apply(hidden, head.weight, head.bias, targets, dtype)  # type: ignore[no-untyped-call]
    return found


class _TargetLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, dtype: torch.dtype
    ) -> Tensor:
        matrix = weight.to(dtype)
        rows = max(1, _BYTES // (4 * weight.shape[0]))
        logs, sums = (
            hidden.new_empty(len(hidden), dtype=torch.float32),
            hidden.new_empty(len(hidden), dtype=torch.float32),
        )
        ctx.kept = None
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            logits = _logits(hidden[part], matrix, bias, dtype)  # (rows, V)
            sums[part] = logits.logsumexp(dim=1)
            logs[part] = logits.gather(1, targets[part, None])[:, 0] - sums[part]
            if len(hidden) <= rows:
                ctx.kept = logits  # all rows fit at once: they need not be recomputed
        ctx.save_for_backward(hidden, matrix, bias, targets, sums)
        ctx.rows = rows
        return logs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        (gradient,) = gradients
        hidden, matrix, bias, targets, sums = ctx.saved_tensors
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        of_hidden = torch.empty_like(hidden) if wants_hidden else None
        of_weight = None
        of_bias = torch.zeros_like(bias, dtype=torch.float32) if wants_bias else None
        for start in range(0, len(hidden), ctx.rows):
            part = slice(start, start + ctx.rows)
            logits = ctx.kept if ctx.kept is not None else _logits(hidden[part], matrix, bias, matrix.dtype)
            ctx.kept = None
            # d logprob / d logits is one at the target, less the softmax.
            change = logits.sub_(sums[part, None]).exp_().mul_(-gradient[part, None])
            change.scatter_add_(1, targets[part, None], gradient[part, None])
            change_in = change.to(matrix.dtype)
            if of_hidden is not None:
                of_hidden[part] = change_in @ matrix
            if wants_weight:
                read = hidden[part].to(matrix.dtype)
                if of_weight is None:
                    of_weight = (change_in.T @ read).float()
                else:
                    _add_product(of_weight, change_in, read)
            if of_bias is not None:
                of_bias += change.sum(dim=0)
        return of_hidden, of_weight, of_bias, None, None


def _add_product(total: Tensor, change: Tensor, read: Tensor) -> None:
    """Add ``change' @ read`` to ``(V, D)`` in pieces: the product is never whole."""
    for start in range(0, len(total), _PIECE):
        total[start : start + _PIECE] += change[:, start : start + _PIECE].T @ read


def _logits(hidden: Tensor, matrix: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Float32 logits that the caller may overwrite."""
    logits = (hidden.to(dtype) @ matrix.T).float()
    return logits if bias is None else logits + bias
