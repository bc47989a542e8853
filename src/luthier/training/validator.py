"""What measures the validation splits during a training: the loss, the target's metric, and those of other tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from luthier.data.batching import ENOUGH
from luthier.evaluation.requests import Request, encode_requests, predict_all
from luthier.metrics.extraction import extract_answers
from luthier.metrics.scoring import primary_value
from luthier.models.language_model import LanguageModel
from luthier.objectives.objective import R, cut_into_micro_batches, mean_loss
from luthier.progress import say
from luthier.records import Example, Prediction
from luthier.training.job import TrainingJob
from luthier.training.selection import known_tasks, mean_share, target_if_kept
from luthier.training.training_task import TrainingTask
from luthier.training.validation import Validate, Validation

Values: TypeAlias = dict[str, float]
"""Primary scores of tasks, by name."""
Choose: TypeAlias = Callable[[float, Values], tuple[float, Values]]
"""Returns by what weights are chosen, higher is better, from the target's primary score and those of the other tasks;
and what the log says of it."""


@dataclass(frozen=True)
class OtherTasks:
    """The tasks beside the target that take part in the choice of the best weights.

    Attributes:
        asked: Each of them, with its requests.
        choose: How their scores are weighed.
    """

    asked: tuple[tuple[TrainingTask, list[Request]], ...]
    choose: Choose


def read_other_tasks(model: LanguageModel, job: TrainingJob[R]) -> OtherTasks | None:
    """Return what chooses the best weights beside the target; None where nothing does, or nothing is measured.

    Args:
        model: The base, with nothing attached: what it can do of the other tasks is measured now.
        job: The training.

    Raises:
        ConfigError: The weights are chosen by what is retained, and the base can do none of it.
    """
    if job.selection is None or not _target_requests(job):
        return None
    count = job.recipe.config.validation_examples
    asked = tuple((own.task, _requests(own.task, own.examples, count)) for own in job.selection.others)
    return OtherTasks(asked, _choice(model, job, asked))


def make_validator(
    model: LanguageModel, job: TrainingJob[R], reference: Sequence[Tensor], others: OtherTasks | None
) -> Validate | None:
    """Return what measures validation; None where there is nothing to measure.

    Args:
        model: With what is trained.
        job: The training.
        reference: The log-probabilities of the reference for the validation records.
        others: From :func:`read_other_tasks`.
    """
    task, config, objective = job.task, job.recipe.config, job.recipe.objective
    if not job.validation.examples or not config.validations:
        return None
    requests = _target_requests(job)
    if not requests:
        say(f"{job.name}: no validation example fits, so the last weights are kept")
        return None
    batches = cut_into_micro_batches(
        objective, job.validation.records, task.batch_tokens, enough=ENOUGH, reference=reference
    )

    def validate() -> Validation:
        metrics = task.metrics
        value = primary_value(_answers(model, task, requests), metrics)
        loss = mean_loss(objective, model, batches)
        if others is None:
            return Validation(loss, metrics.primary, value, metrics.higher_is_better)
        scores = {
            other.task.name: primary_value(_answers(model, other, asked), other.metrics)
            for other, asked in others.asked
        }
        chosen_by, said = others.choose(value, scores)
        return Validation(
            loss, metrics.primary, value, metrics.higher_is_better, others=scores | said, chosen_by=chosen_by
        )

    return validate


def _target_requests(job: TrainingJob[R]) -> list[Request]:
    """Return the target's requests of a validation; none where nothing is measured."""
    count = job.recipe.config.validation_examples
    if not job.recipe.config.validations or not job.validation.records:
        return []
    return _requests(job.task, job.validation.examples, count)


def _requests(task: TrainingTask, examples: Sequence[Example], limit: int) -> list[Request]:
    requests, _ = encode_requests(examples[:limit], task.encoder, new_tokens=task.generation.new_tokens)
    return requests


def _answers(model: LanguageModel, task: TrainingTask, requests: Sequence[Request]) -> tuple[Prediction, ...]:
    batches = predict_all(model, task.encoder, requests, task.generation, batch_tokens=task.batch_tokens)
    return extract_answers([own for batch in batches for own in batch], task.task.extraction)


def _choice(
    model: LanguageModel, job: TrainingJob[R], others: Sequence[tuple[TrainingTask, Sequence[Request]]]
) -> Choose:
    """Return how the selection of a job weighs the scores of a validation."""
    selection, target = job.selection, job.task.metrics
    assert selection is not None
    metrics = {other.task.name: other.metrics for other, _ in others}
    if selection.by == "mean":

        def mean(value: float, scores: Values) -> tuple[float, Values]:
            found = mean_share([(value, target), *((scores[name], own) for name, own in metrics.items())])
            return found, {"mean": found}

        return mean
    say(f"{job.name}: what the base can do is measured on the validation splits of {len(others)} retained tasks")
    known = known_tasks({other.task.name: (_answers(model, other, asked), other.metrics) for other, asked in others})

    def retained(value: float, scores: Values) -> tuple[float, Values]:
        kept = math.fsum(own.share(scores[name]) for name, own in known.items()) / len(known)
        score = value if target.higher_is_better else -value
        return target_if_kept(score, kept, selection.retain_at_least), {"retained": kept}

    return retained
