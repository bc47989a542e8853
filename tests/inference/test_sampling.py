"""How the next token is chosen, against tables worked out by hand."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from luthier.inference.sampling import Sampling, choose_tokens, random_stream

# Probabilities 0.5, 0.25, 0.15, 0.1 at temperature 1.
LOGITS = torch.tensor([[0.5, 0.25, 0.15, 0.1]]).log()


def frequencies(sampling: Sampling, draws: int = 4000) -> list[float]:
    own = random_stream(sampling.seed, "example")
    counts = Counter(int(choose_tokens(LOGITS, sampling, [own])) for _ in range(draws))
    return [counts[token] / draws for token in range(4)]


@pytest.mark.parametrize(
    ("sampling", "table"),
    [
        ({"temperature": 1.0}, [0.5, 0.25, 0.15, 0.1]),
        # Squared and divided by their sum: 0.25, 0.0625, 0.0225, 0.01 over 0.345.
        ({"temperature": 0.5}, [0.7246, 0.1812, 0.0652, 0.0290]),
        ({"temperature": 1.0, "top_k": 1}, [1, 0, 0, 0]),
        ({"temperature": 1.0, "top_k": 2}, [2 / 3, 1 / 3, 0, 0]),
        ({"temperature": 1.0, "top_k": 9}, [0.5, 0.25, 0.15, 0.1]),
        # The mass before the second is 0.5 < 0.7, before the third 0.75: two stay.
        ({"temperature": 1.0, "top_p": 0.7}, [2 / 3, 1 / 3, 0, 0]),
        ({"temperature": 1.0, "top_p": 0.01}, [1, 0, 0, 0]),
        ({"temperature": 1.0, "top_p": 0.8}, [0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0]),
        ({"temperature": 1.0, "top_p": 1.0}, [0.5, 0.25, 0.15, 0.1]),
        # top-k first: 0.556, 0.278, 0.167 are left, and before the third lies 0.833.
        ({"temperature": 1.0, "top_k": 3, "top_p": 0.8}, [2 / 3, 1 / 3, 0, 0]),
    ],
)
def test_what_can_be_drawn_and_how_often(sampling: dict[str, float], table: list[float]) -> None:
    found = frequencies(Sampling(**sampling))  # type: ignore[arg-type]
    for frequency, probability in zip(found, table, strict=True):
        # Four standard errors of 4000 draws.
        assert abs(frequency - probability) <= 4 * math.sqrt(probability * (1 - probability) / 4000) + 1e-4
        assert (frequency == 0) == (probability == 0)


def test_greedy_takes_the_first_of_the_likeliest() -> None:
    logits = torch.tensor([[0.0, 3.0, 3.0], [5.0, -1.0, 2.0]])
    assert choose_tokens(logits, Sampling(), []).tolist() == [1, 0]


def test_every_example_has_a_stream_of_its_own() -> None:
    one, same, other, seeded = (
        random_stream(0, "a"),
        random_stream(0, "a"),
        random_stream(0, "b"),
        random_stream(1, "a"),
    )
    draws = [torch.rand(4, generator=generator).tolist() for generator in (one, same, other, seeded)]
    assert draws[0] == draws[1]
    assert len({tuple(draw) for draw in draws}) == 3
