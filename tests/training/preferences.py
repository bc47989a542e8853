"""What the tests of preferences share: pairs of made-up tokens, and the gradient of an objective on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from luthier.config.training import TrainingConfig
from luthier.data.preferences import Judged, Pair
from luthier.methods.base import Attached, snapshot
from luthier.methods.registry import find_method, read_settings
from luthier.models.language_model import LanguageModel
from luthier.models.load import load_model
from luthier.objectives.objective import MicroBatch, Objective
from luthier.objectives.registry import find_objective
from luthier.records import Encoded
from luthier.training.loop import train
from luthier.training.recipe import TrainingRecipe
from luthier.training.stream import shuffled_stream, training_set
from tiny_models import encoded

LENGTHS = [(6, 4, 5), (9, 2, 3), (3, 7, 4), (12, 5, 5), (5, 1, 6), (8, 3, 2), (4, 6, 1), (10, 4, 9)]
"""Tokens of prompt, chosen and rejected answer."""
PLAIN: dict[str, Any] = {"schedule": "constant", "warmup": 0.0, "clip_norm": None, "validations": 0, "epsilon": 1e-2}
"""Settings of a training that any AdamW can repeat; rounding is not magnified where a gradient is almost nothing."""


def pairs(seed: int = 51) -> list[Pair]:
    """Return eight pairs of random tokens."""
    chosen = encoded(seed, [(prompt, better) for prompt, better, _ in LENGTHS])
    rejected = encoded(seed + 1, [(prompt, worse) for prompt, _, worse in LENGTHS])
    return [
        Pair(f"pair-{place}", better, replace(worse, prompt_ids=better.prompt_ids), 0.0)
        for place, (better, worse) in enumerate(zip(chosen, rejected, strict=True))
    ]


def judged(seed: int = 51) -> list[Judged]:
    """Return eight judged answers, five of them good; each is mismatched with the answer before it."""
    items = encoded(seed, [(prompt, better) for prompt, better, _ in LENGTHS])
    return [
        Judged(item.id, item, replace(item, target_ids=items[place - 1].target_ids), place % 8 not in (1, 4, 6))
        for place, item in enumerate(items)
    ]


def begin(folder: Path, method: str = "full") -> tuple[LanguageModel, Attached]:
    """Load a model and attach a method."""
    model = load_model(str(folder), device="cpu")
    found = find_method(method)
    return model, found.attach(model, read_settings(found, {}, where="test"), seed=3)


def moved(model: LanguageModel, attached: Attached, size: float = 2e-2) -> None:
    """Move the trained weights a little, the same way every time, so that a model is not its own reference."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in attached.trainable().values():
            weight.add_(size * torch.randn(weight.shape, generator=generator))


@torch.no_grad()
def references(objective: Objective[Any], model: LanguageModel, records: Sequence[Any]) -> list[Tensor]:
    """Return the log-probabilities that a model gives to the sequences of records."""
    return [model.target_logprobs(objective.sequences(record)) for record in records]


def gradient(
    objective: Objective[Any],
    model: LanguageModel,
    attached: Attached,
    records: Sequence[Any],
    reference: Sequence[Tensor],
    *,
    passes: int = 1,
) -> tuple[float, dict[str, Tensor]]:
    """Return the loss of a step and its gradient, in so many passes."""
    size = len(records) // passes
    batches = [
        MicroBatch(records[start : start + size], records, reference[start : start + size])
        for start in range(0, len(records), size)
    ]
    objective = objective.of_step(model, batches)
    loss = 0.0
    for weight in attached.trainable().values():
        weight.grad = None
    for batch in batches:
        part = objective.loss(model, batch).total / objective.normaliser(records)
        part.backward()
        loss += float(part.detach())
    return loss, {
        name: torch.zeros_like(weight) if weight.grad is None else weight.grad.clone()
        for name, weight in attached.trainable().items()
    }


def worst(found: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Return the greatest difference of any element, relative to the greatest element of all."""
    scale = max(float(value.abs().max()) for value in other.values())
    return max(float((found[name] - other[name]).abs().max()) for name in other) / scale


def trained(
    name: str, settings: Mapping[str, Any], folder: Path, records: Sequence[Any], work: Path, *, rate: float, steps: int
) -> dict[str, Tensor]:
    """Return the weights of a model after some steps of all records each."""
    model, attached = begin(folder)
    objective = find_objective(name, settings, where="test")
    reference = references(objective, model, records) if objective.needs_reference else []
    config = TrainingConfig(**PLAIN, learning_rate=rate, steps=steps, batch_size=len(records))
    stream = replace(shuffled_stream(training_set("pairs", records), config, seed=3), reference=reference)
    train(model, attached, stream, TrainingRecipe(objective, config, 3), folder=work)
    return snapshot(attached)


def ids(item: Encoded) -> tuple[list[int], list[int]]:
    """Return the tokens of prompt and answer."""
    return item.prompt_ids.tolist(), item.target_ids.tolist()
