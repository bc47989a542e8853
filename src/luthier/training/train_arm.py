"""Train one arm, once: the result lies in the store under everything that it depends on."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

import luthier.version
from luthier.evaluation.adapter_task import row_format_of, write_task
from luthier.files.atomic import writing
from luthier.files.digests import digest
from luthier.files.store import Entry
from luthier.kernels.peak_memory import greatest, peak_bytes, reset_peak
from luthier.methods.adapter_io import Card, load_adapter, save_adapter
from luthier.methods.base import Attached, begin_with, count, snapshot
from luthier.models.language_model import LanguageModel
from luthier.objectives.objective import LearnsFromOwnAnswers, R, StartsAtReference
from luthier.progress import say
from luthier.training.checkpoint import TrainingProgress
from luthier.training.job import TrainingJob, faults_naming_arm
from luthier.training.log import logged_peaks, target_score_at, validation_scores
from luthier.training.loop import train
from luthier.training.own_answers import OwnAnswers
from luthier.training.reference import reference_logprobs
from luthier.training.start import StartingPoint
from luthier.training.stream import RecordMaker
from luthier.training.trained import (
    Trained,
    TrainingCosts,
    TrainingResult,
    read_trained,
    write_trained,
)
from luthier.training.validation import Validate, Validation
from luthier.training.validator import make_validator, read_other_tasks

OnValidation: TypeAlias = Callable[[Sequence[float]], None]
"""Called after each validation with the scores of all so far, higher is better; it raises to end the training."""


def train_arm(
    model: LanguageModel, job: TrainingJob[R], *, out: Path, on_validation: OnValidation | None = None
) -> Trained:
    """Return a training from the store, doing it first if it is not there.

    The model is left as it was: the base, with nothing attached.

    Args:
        model: The base that the job names.
        job: The training.
        out: Folder of the store.
        on_validation: May end the training by an exception of its own; what was trained so far stays where a later
            call finds it.

    Raises:
        DivergenceError: The loss or the weights are not finite, or the model's own answers teach nothing.
        StoreError: The store cannot be written.
    """
    assert model.digest == job.model, "the job was made for this model"
    assert job.stream.data.records, "the plan requires training examples"
    entry = job.entry(out)
    with entry.held(job.name):
        if entry.finished:
            say(f"{job.name}: trained before, found in the store ({entry.key[:8]})")
        else:
            _train(model, job, entry, out, on_validation)
    return read_trained(entry)


def _train(
    model: LanguageModel, job: TrainingJob[R], entry: Entry, out: Path, on_validation: OnValidation | None
) -> None:
    """Train, or go on where a killed process left off, and finish the entry."""
    reset_peak(model.device)
    data = job.stream.data
    with faults_naming_arm(job.name):
        others = read_other_tasks(model, job)
    # Before the method is attached, the model is the base; then it is the start.
    starts_at_reference = isinstance(job.recipe.objective, StartsAtReference)
    references = None if starts_at_reference else _references(model, job, out, "")
    began_with = start_weights(model, job.start) if job.start is not None else None
    attached = job.method.attach(model, job.settings, seed=job.recipe.seed)
    try:
        if began_with is not None:
            begin_with(attached, began_with, where=f"{job.name}, its start")
            del began_with
        reference, held_out = references or _references(model, job, out, _start_of(job))
        recipe = replace(job.recipe, objective=job.recipe.objective.fitted(data.records, reference))
        # The weights are those of the start now, also where a checkpoint is loaded later.
        own: RecordMaker[Any] | None = OwnAnswers(model, attached, job, entry.work) if _draws(job) else None
        with faults_naming_arm(job.name):
            progress = train(
                model,
                attached,
                replace(job.stream, reference=reference, maker=own),
                recipe,
                folder=entry.work,
                out=out,
                validate=_reporting(make_validator(model, job, held_out, others), on_validation, entry),
                label=f"{job.name}: training",
            )
        with writing(entry.work):
            _store(model, job, attached, entry, progress)
    finally:
        attached.detach()


def _draws(job: TrainingJob[R]) -> bool:
    """Whether a training learns from answers that the model draws."""
    return isinstance(job.recipe.objective, LearnsFromOwnAnswers)


def _references(model: LanguageModel, job: TrainingJob[R], out: Path, start: str) -> tuple[list[Tensor], list[Tensor]]:
    """Return the log-probabilities of the reference, the model as it is now, of training and of validation records."""
    data, held_out = job.stream.data, job.validation
    reference = reference_logprobs(model, job.recipe, data.records, data.digest, out=out, start=start)
    return reference, reference_logprobs(model, job.recipe, held_out.records, held_out.digest, out=out, start=start)


def _start_of(job: TrainingJob[R]) -> str:
    """Return what tells a job's start apart from the base; "" where the untrained method computes as the base does."""
    method = [job.method.name, job.settings.model_dump(mode="json")]
    if job.start is not None:
        return digest([*method, job.start.key])
    return "" if getattr(job.method, "starts_as_base", False) else digest([*method, job.recipe.seed])


def start_weights(model: LanguageModel, start: StartingPoint) -> dict[str, Tensor]:
    """Return the trained weights of a starting point, on the CPU; the model is left as it was.

    Raises:
        StoreError: When it is not what was written.
    """
    attached = load_adapter(model, start.folder)
    try:
        return snapshot(attached)
    finally:
        attached.detach()


def _reporting(validate: Validate | None, on_validation: OnValidation | None, entry: Entry) -> Validate | None:
    """Report the scores of every validation so far after each validation."""
    if validate is None or on_validation is None:
        return validate

    def validate_and_report() -> Validation:
        found = validate()
        earlier = validation_scores(entry.work / "log.jsonl", higher_is_better=found.higher_is_better)
        on_validation((*earlier, found.score))
        return found

    return validate_and_report


def _store(
    model: LanguageModel, job: TrainingJob[R], attached: Attached, entry: Entry, progress: TrainingProgress
) -> None:
    """Write the adapter and what is known of it, remove the checkpoints, and finish the entry."""
    card = Card(
        luthier=luthier.version.__version__,
        method=job.method.name,
        settings=job.settings.model_dump(mode="json"),
        base_name=model.name,
        base_digest=model.digest,
        task=job.task.task.name,
        row_format=row_format_of(job.task.task),
        template=job.task.template,
        stop=job.task.generation.stop,
        encoding=job.task.stated_encoding,
        trainable_parameters=count(attached.trainable()),
        training=job.recipe.key_inputs()["training"],
    )
    adapter = entry.work / "adapter"
    shutil.rmtree(adapter, ignore_errors=True)
    save_adapter(model, attached, adapter, card)
    write_task(job.task.task, adapter)
    higher_is_better = job.task.metrics.higher_is_better
    result = TrainingResult(
        steps=progress.step,
        best_step=progress.best_step,
        best_score=target_score_at(entry.work / "log.jsonl", progress.best_step, higher_is_better=higher_is_better),
        chosen_by=progress.best_score,
        higher_is_better=higher_is_better,
        trainable_parameters=card.trainable_parameters,
        stored_bytes=sum(path.stat().st_size for path in adapter.rglob("*") if path.is_file()),
        learning_rate=job.recipe.peak_learning_rate,
        micro_tokens=progress.micro_tokens,
        examples=progress.step * len(job.stream.indices(0)),
        supervised_tokens=progress.supervised_tokens,
    )
    costs = TrainingCosts(
        training_seconds=progress.seconds,
        supervised_tokens_per_second=progress.supervised_tokens / progress.seconds if progress.seconds else None,
        peak_memory_bytes=greatest(peak_bytes(model.device), *logged_peaks(entry.work / "log.jsonl")),
        threads=torch.get_num_threads(),
    )
    write_trained(entry.work, result, costs)
    for folder in entry.work.glob("step-*"):
        shutil.rmtree(folder)
    for path in entry.work.glob("best-*"):
        path.unlink()
    entry.finish()
