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
    """Cut a document into windows, each of whose tokens is predicted once.

    A decoder predicts every token after its window's first; windows follow one another without overlap. An
    encoder-decoder reads the first half of a window and writes the second.

    Returns:
        Windows; empty when the text is too short to predict anything.
    """
    ids = np.array(tokenizer(text, add_special_tokens=False)["input_ids"], dtype=np.int32)
    bos = tokenizer.bos_token_id
    windows = []
    step = max_length if encoder_decoder else max_length - 1
    for start in range(0, len(ids), step):
        piece = ids[start : start + step]
        if encoder_decoder:
            half = len(piece) // 2
            prompt, target = piece[:half], piece[half:]
        elif bos is not None:
            prompt, target = np.array([bos], dtype=np.int32), piece
        else:
            prompt, target = piece[:1], piece[1:]
        if len(prompt) and len(target):
            windows.append(Encoded(f"{name}#{start}", prompt, target))
    return windows
