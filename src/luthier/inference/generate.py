"""Generate answers; a sequence that has ended leaves the batch at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch

from luthier.config import DecodingConfig
from luthier.inference.decoding import choose, stream
from luthier.models.language_model import LanguageModel
from luthier.records import Encoded


@dataclass(frozen=True, slots=True)
class Generation:
    """What was generated after one prompt.

    Attributes:
        text: Up to the end token or the first stop string, neither included.
        tokens: Generated tokens, the end token included.
        finish: ``"stop"`` or ``"length"``.
    """

    text: str
    tokens: int
    finish: str


@torch.no_grad()
def generate(
    model: LanguageModel,
    prompts: Sequence[Encoded],
    decode: Callable[[list[int]], str],
    decoding: DecodingConfig,
    *,
    max_new_tokens: int,
    end_ids: Collection[int],
    stop: Sequence[str] = (),
) -> list[Generation]:
    """Generate one answer to each prompt of a batch.

    Args:
        model: In evaluation mode.
        prompts: Their ``prompt_ids`` are read.
        decode: Token ids of an answer to its text.
        decoding: Greedy or sampled.
        max_new_tokens: Tokens generated at most.
        end_ids: Tokens that end an answer.
        stop: Strings that end an answer; looked for in the text, so that they may span tokens.

    Returns:
        Generations in the order of the prompts; none depends on its neighbours (float32).
    """
    answers: list[list[int]] = [[] for _ in prompts]
    finished: dict[int, Generation] = {}
    streams = [stream(decoding.seed, prompt.id) for prompt in prompts]
    running = list(range(len(prompts)))
    continuation = model.begin([prompt.prompt_ids for prompt in prompts])
    while running:
        tokens = choose(continuation.logits, decoding, [streams[index] for index in running])
        kept = []
        for row, (index, token) in enumerate(zip(running, tokens.tolist(), strict=True)):
            answers[index].append(token)
            end = _finished(answers[index], end_ids, decode, stop, max_new_tokens)
            if end is None:
                kept.append(row)
            else:
                finished[index] = end
        if kept and len(kept) < len(running):
            rows = torch.tensor(kept, device=tokens.device)
            continuation.keep(rows)
            tokens = tokens[rows]
        running = [running[row] for row in kept]
        if running:
            continuation.advance(tokens)
    return [finished[index] for index in range(len(prompts))]


def _finished(
    answer: list[int], end_ids: Collection[int], decode: Callable[[list[int]], str], stop: Sequence[str], limit: int
) -> Generation | None:
    """Return the generation if the newest token has ended it."""
    if answer[-1] in end_ids:
        return Generation(cut(decode(answer[:-1]), stop), len(answer), "stop")
    if stop:
        text = decode(answer)
        if any(string in text for string in stop):
            return Generation(cut(text, stop), len(answer), "stop")
    if len(answer) >= limit:
        return Generation(cut(decode(answer), stop), len(answer), "length")
    return None


def cut(text: str, stop: Sequence[str]) -> str:
    """Return the text before the first stop string."""
    places = [text.find(string) for string in stop]
    return text[: min((place for place in places if place >= 0), default=len(text))]
