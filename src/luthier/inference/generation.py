"""Generate answers: sequences that have ended leave the batch at once, and waiting ones take their places."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import torch

from luthier.config.decoding import DecodingConfig
from luthier.inference.beams import search_beams
from luthier.inference.capabilities import capabilities_of
from luthier.inference.kv_slots import KVSlots
from luthier.inference.sampling import choose, stream
from luthier.inference.static_batch import RunningBatch, StaticBatch
from luthier.inference.stop_conditions import Answer, Generation, StopConditions
from luthier.models.language_model import LanguageModel
from luthier.records import Encoded, TokenIds

_AT_A_TIME = 8
"""Of the places in a batch, one in so many is free before others join: reading a prompt alone wastes a pass."""


@torch.no_grad()
def generate(
    model: LanguageModel,
    prompts: Sequence[Encoded],
    decoding: DecodingConfig,
    ending: StopConditions,
    *,
    budget: int | None = None,
) -> list[Generation]:
    """Generate one answer to each prompt.

    Args:
        model: In evaluation mode.
        prompts: Their ``prompt_ids`` are read.
        decoding: Greedy, sampled, or by beams.
        ending: What ends an answer.
        budget: Tokens of prompts and answers held at a time at most; one sequence is always held. None is no limit.

    Returns:
        Generations in the order of the prompts; none depends on its neighbours (float32).
    """
    if not prompts:
        return []
    if decoding.beams > 1:
        return search_beams(model, prompts, decoding, ending, budget=budget)
    answers = [Answer(ending) for _ in prompts]
    streams = [stream(decoding.seed, prompt.id) for prompt in prompts]
    batch = _open(model, [prompt.prompt_ids for prompt in prompts], ending.limit, budget)
    # The longest first: if memory does not suffice, it shows at once.
    waiting = deque(sorted(range(len(prompts)), key=lambda index: (-len(prompts[index].prompt_ids), index)))
    finished: dict[int, Generation] = {}
    running: list[int] = []
    while running or waiting:
        joining = _joining(batch, prompts, waiting, len(running))
        if joining:
            batch.admit([prompts[index].prompt_ids for index in joining])
            running += joining
        tokens = choose(batch.logits, decoding, [streams[index] for index in running])
        ends = [answers[index].add(token) for index, token in zip(running, tokens.tolist(), strict=True)]
        for index, end in zip(running, ends, strict=True):
            if end is not None:
                finished[index] = answers[index].finished(end)
        kept = _closed_up([end is None for end in ends])
        if len(kept) < len(running):
            rows = torch.tensor(kept, dtype=torch.int64, device=tokens.device)
            batch.keep(rows)
            tokens = tokens[rows]
            running = [running[row] for row in kept]
        if running:
            batch.advance(tokens)
    return [finished[index] for index in range(len(prompts))]


def _open(model: LanguageModel, prompts: Sequence[TokenIds], new_tokens: int, budget: int | None) -> RunningBatch:
    """Return the fastest batch that the model has shown itself able to."""
    if capabilities_of(model).slots:
        longest = max(len(prompt) for prompt in prompts) + model.virtual_tokens + new_tokens
        if longest <= model.window:
            return KVSlots(model, prompts, new_tokens, budget)
    return StaticBatch(model, new_tokens, budget)


def _joining(batch: RunningBatch, prompts: Sequence[Encoded], waiting: deque[int], running: int) -> list[int]:
    """Take those that join now from the ones that wait."""
    if not waiting:
        return []
    room = min(batch.room(len(prompts[waiting[0]].prompt_ids)), len(waiting))
    if running and room < min(len(waiting), max(1, running // _AT_A_TIME)):
        return []
    return [waiting.popleft() for _ in range(room)]


def _closed_up(going_on: Sequence[bool]) -> list[int]:
    """Return the rows that go on, the last ones in the places of those that have ended: few change their place."""
    rows = list(range(len(going_on)))
    place = 0
    while place < len(rows):
        if going_on[rows[place]]:
            place += 1
            continue
        last = rows.pop()
        if place < len(rows):
            rows[place] = last
    return rows
