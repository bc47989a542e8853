"""How the next token is chosen, one random stream for each example."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from luthier.config.decoding import DecodingConfig


def stream(seed: int, example_id: str) -> torch.Generator:
    """Return the random stream of one example: its neighbours in a batch do not matter."""
    digest = hashlib.blake2b(f"{seed}:{example_id}".encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


def choose(logits: Tensor, decoding: DecodingConfig, streams: list[torch.Generator]) -> Tensor:
    """Choose the next token of each sequence.

    Args:
        logits: float32 ``(sequences, vocabulary)``.
        decoding: Greedy at temperature 0, else sampled.
        streams: The random stream of each sequence.

    Returns:
        int64 ``(sequences,)``.
    """
    if decoding.temperature == 0:
        return logits.argmax(dim=-1)
    probabilities = torch.softmax(_keep_likely(logits / decoding.temperature, decoding), dim=-1).cpu()
    drawn = [torch.multinomial(row, 1, generator=own) for row, own in zip(probabilities, streams, strict=True)]
    return torch.cat(drawn).to(logits.device)


def _keep_likely(logits: Tensor, decoding: DecodingConfig) -> Tensor:
    """Set all but the likeliest tokens to minus infinity (top-k, then nucleus: Holtzman et al. 2020, section 3.1)."""
    if decoding.top_k is not None and decoding.top_k < logits.shape[-1]:
        least = logits.topk(decoding.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    if decoding.top_p is not None and decoding.top_p < 1:
        ordered, places = logits.sort(dim=-1, descending=True)
        probabilities = ordered.softmax(dim=-1)
        # A token stays when the mass before it has not reached top_p: the likeliest always stays.
        outside = probabilities.cumsum(dim=-1) - probabilities >= decoding.top_p
        logits = logits.masked_fill(torch.zeros_like(outside).scatter(-1, places, outside), float("-inf"))
    return logits
