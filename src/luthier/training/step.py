"""One optimizer step: the gradient over its forward passes, the clip of its norm, and the change of the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic

import torch
from torch import Tensor

from luthier.config.advice import lower_rate
from luthier.errors import DivergenceError
from luthier.exhausted import memory_ran_out
from luthier.methods.base import Attached
from luthier.models.language_model import LanguageModel
from luthier.objectives.objective import MicroBatch, Objective, R, cut_into_micro_batches
from luthier.objectives.penalty import PenaltyTerm
from luthier.progress import say
from luthier.training.checkpoint import random_state, restore_random_state
from luthier.training.pass_size import busy_tokens
from luthier.training.recipe import TrainingRecipe
from luthier.training.stream import StepStream


@dataclass(frozen=True, slots=True)
class Training(Generic[R]):
    """What every step of one training needs.

    Attributes:
        model: With the method attached, in training mode.
        attached: Names the parameters that are trained.
        stream: The records of each step.
        recipe: The objective, its penalties, and the training settings.
        terms: The penalties, started, by name.
        optimizer: Over the trained parameters.
        label: What messages call it.
    """

    model: LanguageModel
    attached: Attached
    stream: StepStream[R]
    recipe: TrainingRecipe[R]
    terms: tuple[tuple[str, PenaltyTerm], ...]
    optimizer: torch.optim.AdamW
    label: str


@dataclass(frozen=True, slots=True)
class StepFigures:
    """What one optimizer step found.

    Attributes:
        loss: Of the objective.
        norm: Of the gradient, before it was clipped.
        quantities: Named quantities for the log.
        micro_tokens: Tokens of a forward pass at most: fewer than were asked for where memory ran out.
    """

    loss: float
    norm: float
    quantities: dict[str, float]
    micro_tokens: int


def take_step(
    training: Training[R],
    records: Sequence[R],
    reference: Sequence[Tensor],
    rate: float,
    *,
    step: int,
    micro_tokens: int,
) -> StepFigures:
    """Take one optimizer step.

    Args:
        training: What every step needs.
        records: Of this step.
        reference: For each of them the log-probabilities of the reference; empty for none.
        rate: The learning rate.
        step: From 0, for messages.
        micro_tokens: Tokens of a forward pass at most.

    Raises:
        DivergenceError: When the loss or the gradient is not finite; names the examples of the step.
    """
    optimizer, config = training.optimizer, training.recipe.config
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss, quantities, micro_tokens = _gradient_that_fits(training, records, reference, step, micro_tokens)
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    limit = config.clip_norm if config.clip_norm is not None else float("inf")
    norm = float(torch.nn.utils.clip_grad_norm_(weights, limit, foreach=True))
    if not (math.isfinite(loss) and math.isfinite(norm)):
        names = ", ".join(record.id for record in records)
        raise DivergenceError(
            f"the loss ({loss}) or its gradient ({norm}) is not finite",
            where=f"step {step + 1}",
            fix=f"{lower_rate()}, or look at this batch: {names}. The last checkpoint is kept.",
        )
    optimizer.step()
    return StepFigures(loss, norm, quantities, micro_tokens)


def _gradient_that_fits(
    training: Training[R], records: Sequence[R], reference: Sequence[Tensor], step: int, micro_tokens: int
) -> tuple[float, dict[str, float], int]:
    """Compute the gradient of a step, from its start again in passes of half the size where memory runs out.

    The gradient is that of the whole step however it is cut, within the rounding of sums. Dropout is drawn from the
    same random state, pass by pass: with other passes it leaves out other units.
    """
    auto = training.recipe.config.micro_tokens == "auto"
    even = auto and training.model.why_padded() is None
    state = random_state() if auto else {}
    while True:
        training.optimizer.zero_grad(set_to_none=True)
        batches = cut_into_micro_batches(
            training.recipe.objective,
            records,
            micro_tokens,
            enough=busy_tokens(training.model),
            even=even,
            reference=reference,
        )
        try:
            with training.model.computing():
                return *_accumulate_gradients(training, batches, records), micro_tokens
        except Exception as fault:
            tokens, most = max(
                (_tokens(training.recipe.objective, batch, even), len(batch.records)) for batch in batches
            )
            if not (auto and most > 1 and memory_ran_out(fault)):
                raise
        # Here the exception is gone, and with it what held the tensors of the pass.
        _free_device_memory(training.model.device)
        restore_random_state(state)
        micro_tokens = math.ceil(min(micro_tokens, tokens) / 2)
        say(
            f"{training.label}: memory ran out in a pass of {tokens:,} tokens; step {step + 1} is made again, and "
            f"training goes on, in passes of at most {micro_tokens:,}"
        )


def _tokens(objective: Objective[R], batch: MicroBatch[R], even: bool) -> int:
    """Return the tokens of a pass, the padding included where there is any."""
    lengths = [objective.tokens(record) for record in batch.records]
    return sum(lengths) if even else len(lengths) * max(lengths)


def _free_device_memory(device: torch.device) -> None:
    """Give what freed tensors took back to the device: pieces of it may be too small for the next ones."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _accumulate_gradients(
    training: Training[R], batches: Sequence[MicroBatch[R]], records: Sequence[R]
) -> tuple[float, dict[str, float]]:
    """Compute the gradient of a step; return the objective's loss, and the quantities and penalties by name."""
    model = training.model
    objective = training.recipe.objective.of_step(model, batches)
    normaliser = objective.normaliser(records)
    loss, quantities = 0.0, dict[str, float]()
    for batch in batches:
        found = objective.loss(model, batch)
        # The sum over this part, divided by the normaliser of the whole step: 8 x 1 is 1 x 8.
        part = found.total / normaliser
        penalty = _penalty_on_batch(training, batch, quantities)
        (part if penalty is None else part + penalty).backward()
        loss += float(part.detach())
        for name, value in found.quantities.items():
            quantities[name] = quantities.get(name, 0.0) + value / normaliser
    for name, term in training.terms:
        on_weights = term.on_weights()
        if on_weights is not None:
            on_weights.backward()
            quantities[name] = quantities.get(name, 0.0) + float(on_weights.detach())
    return loss, quantities


def _penalty_on_batch(training: Training[R], batch: MicroBatch[R], quantities: dict[str, float]) -> Tensor | None:
    """Return the penalties that are computed on a micro-batch, summed, and add them to the quantities."""
    total: Tensor | None = None
    for name, term in training.terms:
        part = term.on_batch(training.model, batch)
        if part is not None:
            total = part if total is None else total + part
            quantities[name] = quantities.get(name, 0.0) + float(part.detach())
    return total
