"""Log-probabilities of given answers, and the token loss of plain text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from luthier.models.language_model import LanguageModel
from luthier.records import Encoded


@torch.no_grad()
def answer_logprobs(model: LanguageModel, batch: Sequence[Encoded]) -> list[float]:
    """Return the sum of the target tokens' log-probabilities (nats) of each item of a batch."""
    tokens = model.target_logprobs(batch).cpu().double()
    lengths = [len(item.target_ids) for item in batch]
    return [float(part.sum()) for part in torch.split(tokens, lengths)]


@dataclass(frozen=True, slots=True)
class TextLoss:
    """Token loss of one document.

    Attributes:
        nats: Sum of the negative log-probabilities.
        tokens: Tokens predicted.
    """

    nats: float
    tokens: int


def text_windows(tokenizer: Any, text: str, *, encoder_decoder: bool, max_length: int, name: str) -> list[Encoded]:
    """Cut a document into windows, so that no token is predicted twice.

    A decoder reads the begin token, or where it has none the last token of the window before (then the first token of
    the document is only read), and predicts the rest. An encoder-decoder reads half of a window and writes the other.

    Returns:
        Windows of at most ``max_length`` tokens; empty when the text is too short to predict anything.
    """
    ids = np.array(tokenizer(text, add_special_tokens=False)["input_ids"], dtype=np.int32)
    if encoder_decoder:
        pieces = [(start, ids[start : start + max_length]) for start in range(0, len(ids), max_length)]
        halves = [(start, piece[: len(piece) // 2], piece[len(piece) // 2 :]) for start, piece in pieces]
    else:
        if tokenizer.bos_token_id is not None:
            ids = np.concatenate([np.array([tokenizer.bos_token_id], dtype=np.int32), ids])
        step = max_length - 1
        halves = []
        for start in range(0, len(ids) - 1, step):
            head = ids[:1] if tokenizer.bos_token_id is not None else ids[start : start + 1]
            halves.append((start, head, ids[start + 1 : start + max_length]))
    return [
        Encoded(f"{name}#{start}", prompt, target) for start, prompt, target in halves if len(prompt) and len(target)
    ]
