"""Plain text as examples: windows of which every token but the first is predicted once."""

from __future__ import annotations

from typing import Any

import numpy as np

from luthier.records import Encoded


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
