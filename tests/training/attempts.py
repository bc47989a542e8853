"""What the tests of objectives on rewards share: drawn answers of made-up tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from luthier.data.attempts import Attempt, Drawn
from luthier.models.language_model import LanguageModel
from luthier.records import Encoded, Example
from tiny_models import encoded

LENGTHS = (4, 2, 7, 5, 1, 3, 6, 4)
"""Tokens of the answers: four to each of two prompts."""
SAMPLES = 4
REWARDS = ((1.0, 0.25, 0.0, 0.5), (0.75, float("nan"), 0.1, 0.9))
"""One answer has none."""
ADVANTAGES = (1.5, -0.5, 0.0, 0.25, -1.0, 0.75, 0.4, -0.3)


def answers(seed: int = 61) -> list[Encoded]:
    """Return eight answers of random tokens, four to each of two prompts."""
    items = encoded(seed, [(9 if place < SAMPLES else 6, length) for place, length in enumerate(LENGTHS)])
    prompts = [items[0].prompt_ids, items[SAMPLES].prompt_ids]
    return [
        replace(item, id=f"{place // SAMPLES}~{place % SAMPLES}", prompt_ids=prompts[place // SAMPLES])
        for place, item in enumerate(items)
    ]


def drawn(advantages: Sequence[float] = ADVANTAGES, old: Sequence[Sequence[float]] | None = None) -> list[Attempt]:
    """Return the answers as they are learned from."""
    known = old or [()] * len(advantages)
    return [
        Attempt(item.id, asked(item.id.partition("~")[0]), item, Drawn(advantage, tuple(own)))
        for item, advantage, own in zip(answers(), advantages, known, strict=True)
    ]


def asked(name: str) -> Example:
    """Return an example of which the objectives look at the id alone."""
    return Example(name, "made up", "", "the cat", ("sat",))


@torch.no_grad()
def logprobs(model: LanguageModel, records: Sequence[Attempt]) -> list[torch.Tensor]:
    """Return the log-probabilities of the tokens of each answer."""
    return [model.target_logprobs([record.answer]) for record in records]
