"""What the tests of training share: a tiny model, eight examples, and a run of the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch

from luthier.config.training import TrainingConfig
from luthier.methods.base import Attached
from luthier.methods.registry import find_method, read_settings
from luthier.models.language_model import LanguageModel
from luthier.objectives.cross_entropy import CrossEntropy, cross_entropy
from luthier.objectives.objective import LossSum, MicroBatch, mean_loss
from luthier.objectives.penalty import Penalty
from luthier.records import Encoded
from luthier.training.checkpoint import TrainingProgress
from luthier.training.log import read_log
from luthier.training.loop import train
from luthier.training.recipe import TrainingRecipe
from luthier.training.stream import shuffled_stream, training_set
from luthier.training.validation import Validate, Validation
from tiny_models import encoded, tiny_model

ROWS = encoded(31, [(6, 4), (9, 2), (3, 7), (12, 5), (5, 1), (8, 3), (4, 6), (10, 4)])
HELD_OUT = encoded(32, [(7, 5), (11, 3)])
LORA = {"rank": 2, "dropout": 0.2}

LossFunction: TypeAlias = Callable[[LanguageModel, Sequence[Encoded]], torch.Tensor]
"""Returns the sum of the loss over a batch."""


@dataclass(frozen=True)
class ByFunction(CrossEntropy):
    """Cross-entropy whose loss is computed by a function of the test."""

    function: LossFunction = cross_entropy

    def loss(self, model: LanguageModel, batch: MicroBatch[Encoded]) -> LossSum:
        return LossSum(self.function(model, batch.records))


def start(method: str = "lora", name: str = "llama", **settings: Any) -> tuple[LanguageModel, Attached]:
    """Load a tiny model afresh and attach a method, as a new process does."""
    model = tiny_model(name)
    model.name = name  # its folder is another one in every process
    found = find_method(method)
    given = {**LORA, **settings} if method == "lora" else settings
    return model, found.attach(model, read_settings(found, given, where="test"), seed=3)


def run(
    model: LanguageModel,
    attached: Attached,
    folder: Path,
    *,
    validate: Validate | None = None,
    objective: LossFunction = cross_entropy,
    seed: int = 3,
    rate: float = 1e-2,
    penalties: tuple[Penalty, ...] = (),
    **training: Any,
) -> TrainingProgress:
    """Train on the eight rows."""
    config = TrainingConfig(**{"steps": 8, "batch_size": 3, "validations": 4, "learning_rate": rate, **training})
    return train(
        model,
        attached,
        shuffled_stream(training_set("rows", ROWS), config, seed=seed),
        TrainingRecipe(ByFunction(function=objective), config, seed, penalties),
        folder=folder,
        validate=validate,
    )


def held_out(model: LanguageModel) -> Validate:
    """Return a validation on the held-out rows, whose value goes up and down from one to the next."""

    def validate() -> Validation:
        loss = mean_loss(CrossEntropy(), model, [MicroBatch(HELD_OUT, HELD_OUT)])
        return Validation(loss, "digits", loss * 1000 % 1, higher_is_better=True)

    return validate


def scripted(values: list[float], *, higher_is_better: bool = True) -> Validate:
    """Return a validation that finds the given values, one after another."""
    rest = iter(values)

    def validate() -> Validation:
        return Validation(1.0, "scripted", next(rest), higher_is_better)

    return validate


def losses(folder: Path) -> list[float]:
    """Return the loss of every step of the log."""
    return [float(line["loss"] or 0) for line in read_log(folder / "log.jsonl") if "loss" in line]


def validations(folder: Path) -> list[tuple[int, float]]:
    """Return the step and value of every validation in the log."""
    return [
        (int(line["step"] or 0), float(line["validation_score"] or 0))
        for line in read_log(folder / "log.jsonl")
        if "validation_score" in line
    ]
