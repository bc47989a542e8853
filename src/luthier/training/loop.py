"""The training loop. It knows no objective, penalty or method by name."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from luthier.config.training import TrainingConfig
from luthier.files.atomic import writing
from luthier.kernels.activation_checkpointing import keep_activations, recompute_activations
from luthier.kernels.peak_memory import peak_bytes
from luthier.kernels.variable_length import recomputation_contexts
from luthier.methods.base import Attached, load_weights, snapshot, writes_to_base
from luthier.models.frozen_activations import reuse_frozen_activations
from luthier.models.language_model import LanguageModel
from luthier.objectives.objective import LearnsFromOwnAnswers, R, StartsAtReference, supervised_tokens
from luthier.objectives.penalty import PenaltyTerm, Start
from luthier.progress import progress as show_progress
from luthier.progress import say
from luthier.records import Encoded
from luthier.signals import uninterrupted
from luthier.training.checkpoint import TrainingProgress, load_checkpoint, save_checkpoint
from luthier.training.compute import ComputeSettings
from luthier.training.dropout import without_dropout
from luthier.training.first_steps import FirstSteps
from luthier.training.log import TrainingLog
from luthier.training.memory_fit import first_pass_size
from luthier.training.optimizer import learning_rate, make_optimizer, optimizer_tensors, restore_optimizer
from luthier.training.outcome import ended_worse, require_finite
from luthier.training.recipe import TrainingRecipe
from luthier.training.start import require_start_at_reference
from luthier.training.step import Training, take_step
from luthier.training.stream import StepStream
from luthier.training.trackers import tracking
from luthier.training.validation import Validate, load_best, validate_and_keep_best, validation_steps


def train(
    model: LanguageModel,
    attached: Attached,
    stream: StepStream[R],
    recipe: TrainingRecipe[R],
    *,
    folder: Path,
    out: Path | None = None,
    validate: Validate | None = None,
    label: str = "training",
) -> TrainingProgress:
    """Train an attached method, and leave its best weights on the model.

    Args:
        model: The model that the method is attached to.
        attached: Names the parameters that are trained.
        stream: The records of each optimizer step.
        recipe: The objective, its penalties, and the training settings.
        folder: Checkpoints and ``log.jsonl`` go there; a killed run goes on from it to the same bits.
        out: Folder of the store, for what penalties measure of the base; ``folder`` when not given.
        validate: Measures the validation split; the last weights are kept when not given.
        label: What the progress bar says.

    Raises:
        ConfigError: When the package of a tracker is not installed.
        DivergenceError: When the loss or the gradient is not finite; names the examples of the step.
        StoreError: When the folder cannot be written.
    """
    parameters = attached.trainable()
    # Before a checkpoint is loaded, the weights have their starting values.
    terms = started_penalties(model, attached, stream, recipe, out=out or folder)
    optimizer = make_optimizer(parameters, recipe.config)
    training = Training(model, attached, stream, recipe, terms, optimizer, label)
    torch.manual_seed(recipe.seed)
    progress = _resume(folder, attached, training.optimizer)
    if progress.step:
        say(f"{label}: goes on after step {progress.step} of {stream.steps}, from a checkpoint")
    padded = model.why_padded()
    if padded is not None and progress.step < stream.steps:
        say(f"{label}: batches of this model are padded: {padded}")
    with (
        _logging(folder, label, recipe.config, progress) as log,
        training_mode(model, recipe),
        reuse_frozen_activations(model, read_again(stream, recipe), recipe.config.frozen_cache_mib * 2**20),
    ):
        if not progress.step:
            require_start_at_reference(training)
        if not progress.micro_tokens:
            progress = replace(progress, micro_tokens=first_pass_size(training))
        progress = _run(training, progress, folder, log, validate)
    if worse := ended_worse(folder / "log.jsonl"):
        say(f"{label}: {worse}")
    training.optimizer.zero_grad(set_to_none=True)  # a gradient is as large as its weight, and nobody needs it now
    load_best(attached, progress, folder)
    return progress


def started_penalties(
    model: LanguageModel, attached: Attached, stream: StepStream[R], recipe: TrainingRecipe[R], *, out: Path | None
) -> tuple[tuple[str, PenaltyTerm], ...]:
    """Start the penalties of a recipe on an untrained method; with no store, only so that steps can be timed."""
    records = [one for record in stream.data.at_once for one in recipe.objective.sequences(record)]
    in_place = writes_to_base(attached)
    start = Start(model, attached, in_place, records, ComputeSettings.of(model).key_inputs(), out)
    return tuple((penalty.name, penalty.start(start)) for penalty in recipe.penalties)


def _run(
    training: Training[R],
    progress: TrainingProgress,
    folder: Path,
    log: TrainingLog,
    validate: Validate | None,
) -> TrainingProgress:
    """Take the steps that are left, with validations and checkpoints between them."""
    model, attached, config, steps = training.model, training.attached, training.recipe.config, training.stream.steps
    label = training.label
    validated = validation_steps(steps, config.validations if validate else 0)
    saved = time.monotonic()
    whole = True
    first_steps = FirstSteps(training, progress, validations=len(validated))
    with show_progress(label, steps, "steps", done=progress.step) as advance:
        try:
            while True:
                if progress.step in validated or progress.step >= steps:
                    require_finite(attached.trainable(), step=progress.step)
                if validate is not None and progress.step in validated and progress.validated_step < progress.step:
                    progress = validate_and_keep_best(model, attached, validate, progress, folder, log)
                    saved = -math.inf
                if progress.step and time.monotonic() - saved >= config.checkpoint_seconds:
                    _save(training, progress, folder)
                    saved = time.monotonic()
                if progress.step >= steps or _is_exhausted(progress, config):
                    return progress
                whole = False
                with uninterrupted():
                    progress, loss = _logged_step(training, progress, folder, log)
                    whole = True
                first_steps.after(progress)
                advance(1, f"loss {loss:.3f}")
        except KeyboardInterrupt:
            if whole and progress.step:
                with uninterrupted():
                    _save(training, progress, folder)
                say(f"{label}: stopped after step {progress.step} of {steps}; a checkpoint is kept")
            raise


def _save(training: Training[R], progress: TrainingProgress, folder: Path) -> None:
    require_finite(training.attached.trainable(), step=progress.step)
    with writing(folder):
        tensors = optimizer_tensors(training.optimizer, training.attached.trainable())
        save_checkpoint(folder, progress, snapshot(training.attached), tensors)


def _logged_step(
    training: Training[R], progress: TrainingProgress, folder: Path, log: TrainingLog
) -> tuple[TrainingProgress, float]:
    """Take one step and log it; return how far training has come, and the loss."""
    recipe, stream = training.recipe, training.stream
    rate = learning_rate(progress.step, stream.steps, recipe.peak_learning_rate, recipe.config)
    started = time.monotonic()
    made = stream.of_step(progress.step)
    found = take_step(
        training, made.records, made.reference, rate, step=progress.step, micro_tokens=progress.micro_tokens
    )
    seconds = time.monotonic() - started
    tokens = supervised_tokens(recipe.objective, made.records)
    progress = replace(
        progress,
        step=progress.step + 1,
        seconds=progress.seconds + seconds,
        supervised_tokens=progress.supervised_tokens + tokens,
        micro_tokens=found.micro_tokens,
    )
    with writing(folder):
        log.append(
            {
                "step": progress.step,
                "loss": found.loss,
                "learning_rate": rate,
                "gradient_norm": found.norm,
                "tokens_per_second": tokens / max(seconds, 1e-9),
                "memory_bytes": peak_bytes(training.model.device),
                "micro_tokens": found.micro_tokens,
                **made.quantities,
                **found.quantities,
            }
        )
    return progress, found.loss


def read_again(stream: StepStream[R], recipe: TrainingRecipe[R]) -> Sequence[Encoded]:
    """Return the sequences of all records if most are read twice or more, else none; none that a step makes anew.

    Decided from the order of the steps alone, so that a run that goes on decides as before.
    """
    if stream.order.passes < 1.5 or isinstance(recipe.objective, LearnsFromOwnAnswers):
        return ()
    return [sequence for record in stream.data.at_once for sequence in recipe.objective.sequences(record)]


@contextlib.contextmanager
def _logging(folder: Path, label: str, config: TrainingConfig, progress: TrainingProgress) -> Iterator[TrainingLog]:
    """Open ``log.jsonl`` and the trackers beside it."""
    settings: dict[str, Any] = config.model_dump(mode="json", exclude_none=True)
    with tracking(config.trackers, run=label, folder=folder, settings=settings) as also:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            log = TrainingLog(folder / "log.jsonl", step=progress.step, validated=progress.validated_step, also=also)
        yield log


def _is_exhausted(progress: TrainingProgress, config: TrainingConfig) -> bool:
    """Whether validation has not improved for as long as the settings allow."""
    return config.patience is not None and progress.validations_without_gain >= config.patience


def _resume(folder: Path, attached: Attached, optimizer: torch.optim.AdamW) -> TrainingProgress:
    """Put the newest checkpoint in place, if there is one."""
    checkpoint = load_checkpoint(folder)
    if checkpoint is None:
        return TrainingProgress()
    load_weights(attached, checkpoint.weights, where=str(folder))
    restore_optimizer(optimizer, attached.trainable(), checkpoint.optimizer)
    return checkpoint.progress


@contextlib.contextmanager
def training_mode(model: LanguageModel, recipe: TrainingRecipe[R]) -> Iterator[None]:
    """Compute as a training does: with dropout, and recomputed activations if asked for; off again after, always.

    Dropout is off where the model is compared with its start, or with the model that drew its answers.
    """
    config = recipe.config
    model.module.train()
    if config.activation_checkpointing:
        recompute_activations(model.module, partial(recomputation_contexts, model.module))
    own_answers = isinstance(recipe.objective, LearnsFromOwnAnswers)
    compared = own_answers or isinstance(recipe.objective, StartsAtReference)
    try:
        with without_dropout(model.module) if compared else contextlib.nullcontext(False) as dropped:
            if dropped:
                other = "what drew its answers" if own_answers else "its start"
                say(f"{recipe.objective.name}: dropout is off, because the model is compared with {other}")
            yield
    finally:
        model.module.eval()
        if config.activation_checkpointing:
            keep_activations(model.module)
