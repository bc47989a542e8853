"""Log-probabilities of given targets, and the token loss of plain text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from luthier.data.batching import plan_batches
from luthier.inference.capabilities import capabilities_of
from luthier.inference.encoder_once import encoder_once_logprobs
from luthier.inference.tree_scoring import TargetScores, tree_logprobs
from luthier.models.encoder_decoder import EncoderDecoderModel
from luthier.models.language_model import LanguageModel
from luthier.records import Encoded

BUDGET = 8192
"""Tokens in one forward pass, where a caller gives no budget."""


@dataclass(frozen=True, slots=True)
class AnswerScore:
    """One answer after its prompt.

    Attributes:
        logprob: Sum of its tokens' log-probabilities (nats).
        greedy: Whether each of its tokens is the likeliest.
    """

    logprob: float
    greedy: bool


@torch.no_grad()
def answer_logprobs(model: LanguageModel, batch: Sequence[Encoded], *, budget: int = BUDGET) -> list[float]:
    """Return the sum of the target tokens' log-probabilities (nats) of each item of a batch.

    A prefix that prompts share is computed once, and each prompt once for all its targets, where it is verified that
    the model then gives its own numbers (see :mod:`luthier.inference.capabilities`).

    Args:
        model: In evaluation mode.
        batch: In any order; the order does not change what is computed.
        budget: Tokens in one forward pass at most; a longer item is a pass of its own.
    """
    fast, slow = _paths(model, batch)
    found: dict[int, float] = {}
    for places, score in ((fast, _by_verified_path), (slow, _by_the_model)):
        if places:
            items = [batch[place] for place in places]
            tokens = score(model, items, budget)[0].double()
            parts = torch.split(tokens, [len(item.target_ids) for item in items])
            found |= {place: float(part.sum()) for place, part in zip(places, parts, strict=True)}
    return [found[place] for place in range(len(batch))]


@torch.no_grad()
def score_answers(model: LanguageModel, batch: Sequence[Encoded], *, budget: int = BUDGET) -> list[AnswerScore]:
    """Score answers like :func:`answer_logprobs`, and say which ones greedy decoding would have produced."""
    fast, slow = _paths(model, batch)
    found: dict[int, AnswerScore] = {}
    for places, score in ((fast, _by_verified_path), (slow, _by_steps)):
        if places:
            items = [batch[place] for place in places]
            lengths = [len(item.target_ids) for item in items]
            parts = (torch.split(part, lengths) for part in score(model, items, budget))
            for place, logs, likeliest in zip(places, *parts, strict=True):
                found[place] = AnswerScore(float(logs.double().sum()), bool(likeliest.all()))
    return [found[place] for place in range(len(batch))]


def _paths(model: LanguageModel, batch: Sequence[Encoded]) -> tuple[list[int], list[int]]:
    """Return the places of the items that the fastest verified path takes, and of the others: those too long for it.

    The last token of a target is predicted and not read.
    """
    capabilities = capabilities_of(model)
    if capabilities.encoder_once and isinstance(model, EncoderDecoderModel):
        return list(range(len(batch))), []
    most = model.window + 1 - model.virtual_tokens if capabilities.tree else 0
    fast = [place for place, item in enumerate(batch) if _length(item) <= most]
    return fast, [place for place, item in enumerate(batch) if _length(item) > most]


def _by_verified_path(model: LanguageModel, batch: Sequence[Encoded], budget: int) -> TargetScores:
    """Score by the fastest path that is verified for the model."""
    capabilities = capabilities_of(model)
    if isinstance(model, EncoderDecoderModel):
        return encoder_once_logprobs(model, batch, budget)
    return tree_logprobs(model, batch, budget, own_output_layer=capabilities.own_output_layer)


def _by_the_model(model: LanguageModel, batch: Sequence[Encoded], budget: int) -> tuple[torch.Tensor]:
    """Score each item with its whole prompt, in batches of similar length."""
    parts: dict[int, torch.Tensor] = {}
    for chosen in plan_batches([_length(item) for item in batch], budget):
        items = [batch[index] for index in chosen]
        tokens = model.target_logprobs(items).cpu()
        parts |= dict(zip(chosen, torch.split(tokens, [len(item.target_ids) for item in items]), strict=True))
    return (torch.cat([parts[index] for index in range(len(batch))]),)


def _by_steps(model: LanguageModel, batch: Sequence[Encoded], budget: int) -> TargetScores:
    """Score each item a token at a time, where whole distributions are needed and no faster path provides them."""
    logs: dict[int, torch.Tensor] = {}
    likeliest: dict[int, torch.Tensor] = {}
    for chosen in plan_batches([_length(item) for item in batch], budget):
        for index in chosen:
            targets = torch.from_numpy(batch[index].target_ids.astype(np.int64)).to(model.device)
            continuation = model.begin([batch[index].prompt_ids])
            rows = []
            for place, token in enumerate(targets):
                rows.append(continuation.logits[0])
                if place + 1 < len(targets):
                    continuation.advance(token[None])
            values = torch.stack(rows).log_softmax(dim=-1)
            logs[index] = values.gather(1, targets[:, None])[:, 0].cpu()
            likeliest[index] = (values.argmax(dim=1) == targets).cpu()
    order = range(len(batch))
    return torch.cat([logs[index] for index in order]), torch.cat([likeliest[index] for index in order])


def _length(item: Encoded) -> int:
    return len(item.prompt_ids) + len(item.target_ids)


@dataclass(frozen=True, slots=True)
class TextLoss:
    """Token loss of one document.

    Attributes:
        nats: Sum of the negative log-probabilities.
        tokens: Tokens predicted.
    """

    nats: float
    tokens: int
