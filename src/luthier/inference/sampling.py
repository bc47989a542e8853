"""Choosing the next token of each sequence; every sequence draws from a random stream of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from luthier.config.decoding import DecodingConfig


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the tokens of one sequence are chosen.

    Attributes:
        temperature: Divides the logits; 0 is greedy decoding.
        top_k: Sample among the k most probable tokens; None for all.
        top_p: Sample among the most probable tokens that hold this probability together; None for all.
        seed: Seed of the random stream.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0


def sampling_of(decoding: DecodingConfig) -> Sampling:
    """Return the sampling parameters of decoding settings."""
    return Sampling(decoding.temperature, decoding.top_k, decoding.top_p, decoding.seed)


def random_stream(seed: int, name: str) -> torch.Generator:
    """Return the random stream of one sequence; it depends on the seed and the name alone, not on the batch."""
    digest = hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


def choose_tokens(logits: Tensor, sampling: Sampling, streams: Sequence[torch.Generator]) -> Tensor:
    """Choose the next token of sequences with the same sampling parameters.

    Args:
        logits: float32 ``(sequences, vocabulary)``.
        sampling: Its seed is not used here; see :func:`random_stream`.
        streams: The random stream of each sequence; not used in greedy decoding.

    Returns:
        int64 ``(sequences,)``.
    """
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    probabilities = torch.softmax(_mask_improbable(logits / sampling.temperature, sampling), dim=-1).cpu()
    drawn = [torch.multinomial(row, 1, generator=own) for row, own in zip(probabilities, streams, strict=True)]
    return torch.cat(drawn).to(logits.device)


def choose_each(logits: Tensor, samplings: Sequence[Sampling], streams: Sequence[torch.Generator]) -> Tensor:
    """Choose the next token of sequences, each with sampling parameters of its own.

    Args:
        logits: float32 ``(sequences, vocabulary)``.
        samplings: The sampling parameters of each sequence.
        streams: The random stream of each sequence.

    Returns:
        int64 ``(sequences,)``.
    """
    alike: dict[tuple[object, ...], list[int]] = {}
    for row, sampling in enumerate(samplings):
        alike.setdefault((sampling.temperature, sampling.top_k, sampling.top_p), []).append(row)
    if len(alike) == 1:
        return choose_tokens(logits, samplings[0], streams)
    tokens = torch.empty(len(samplings), dtype=torch.int64, device=logits.device)
    for rows in alike.values():
        places = torch.tensor(rows, device=logits.device)
        tokens[places] = choose_tokens(logits[places], samplings[rows[0]], [streams[row] for row in rows])
    return tokens


def _mask_improbable(logits: Tensor, sampling: Sampling) -> Tensor:
    """Set the logits outside top-k, then outside the nucleus (Holtzman et al. 2020, section 3.1) to minus infinity."""
    if sampling.top_k is not None and sampling.top_k < logits.shape[-1]:
        least = logits.topk(sampling.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    if sampling.top_p is not None and sampling.top_p < 1:
        ordered, places = logits.sort(dim=-1, descending=True)
        probabilities = ordered.softmax(dim=-1)
        # A token stays when the mass before it has not reached top_p: the most probable one always stays.
        outside = probabilities.cumsum(dim=-1) - probabilities >= sampling.top_p
        logits = logits.masked_fill(torch.zeros_like(outside).scatter(-1, places, outside), float("-inf"))
    return logits


def only_token(logits: Tensor, token: int) -> Tensor:
    """Return logits ``(rows, vocabulary)`` that leave one token possible."""
    forced = torch.full_like(logits, -torch.inf)
    forced[:, token] = 0
    return forced
