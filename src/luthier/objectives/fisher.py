"""The diagonal of the Fisher information of a model's weights, by gradients of single examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from luthier.kernels.verification import evaluation_mode
from luthier.models.language_model import LanguageModel, logprobs_from
from luthier.progress import progress
from luthier.records import Encoded


def diagonal_fisher(
    model: LanguageModel,
    weights: Mapping[str, nn.Parameter],
    records: Sequence[Encoded],
    *,
    seed: int,
    empirical: bool = False,
) -> dict[str, Tensor]:
    """Return the mean, over target tokens, of the squared gradient of the log-probability of a label.

    The gradients are those of single examples: squares of a batch's gradient are something else (Kunstner, Hennig and
    Balles 2019, arXiv:1905.12558). Labels are drawn from the model at each target token, given what stands before it in
    the example: the expectation is then the Fisher information, since tokens' scores are uncorrelated.

    Args:
        model: With nothing attached.
        weights: Of the model, by name.
        records: On which it is estimated; at least one.
        seed: Of the labels: each record has its own stream, so that it does not matter which others there are.
        empirical: Take the records' own tokens as labels instead.

    Returns:
        float32 on the model's device, of the shape of each weight.
    """
    found = {name: torch.zeros_like(weight, dtype=torch.float32) for name, weight in weights.items()}
    grown = [weight for weight in weights.values() if not weight.requires_grad]
    tokens = 0
    try:
        for weight in grown:
            weight.requires_grad_(True)
        with (
            evaluation_mode(model.module),
            torch.enable_grad(),
            progress("Fisher information", len(records), "examples") as advance,
        ):
            for place, record in enumerate(records):
                logits = model.target_logits([record])  # (S, V)
                own = torch.from_numpy(record.target_ids.astype("int64")).to(logits.device)
                labels = own if empirical else _drawn(logits.detach(), seed, place)
                total = logprobs_from(logits, labels).sum()
                for name, gradient in zip(weights, _gradients(total, weights), strict=True):
                    if gradient is not None:
                        found[name] += gradient.float().square()
                tokens += len(record.target_ids)
                advance(1, "")
    finally:
        for weight in grown:
            weight.requires_grad_(False)
    return {name: total / tokens for name, total in found.items()}


def _gradients(total: Tensor, weights: Mapping[str, nn.Parameter]) -> tuple[Tensor | None, ...]:
    found: tuple[Tensor | None, ...] = torch.autograd.grad(total, list(weights.values()), allow_unused=True)
    return found


def _drawn(logits: Tensor, seed: int, place: int) -> Tensor:
    """Draw a token from each distribution ``(S, V)``, the same on every device: int64 ``(S,)``."""
    stream = int(np.random.SeedSequence([seed, place]).generate_state(1, np.uint64)[0] >> 1)
    generator = torch.Generator().manual_seed(stream)
    return torch.multinomial(logits.float().softmax(dim=1).cpu(), 1, generator=generator)[:, 0].to(logits.device)
