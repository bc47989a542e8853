"""What a model is asked in a unit of work, apart by how it answers: by writing, or by scoring given answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from luthier.evaluation.jobs import EvaluationJob
from luthier.evaluation.measured import Measured, NativeTask
from luthier.evaluation.requests import Request, encode_requests, plan_request_batches, stop_conditions_of
from luthier.evaluation.timed_answers import Asked, running_at_once, work_of
from luthier.experiments.estimate import Batch, Lengths, reference_lengths
from luthier.experiments.plan import Plan
from luthier.experiments.run_unit import retained_of
from luthier.experiments.workload import UnitWork
from luthier.inference.stop_conditions import StopConditions
from luthier.metrics.task_metrics import TOKEN_LOSS
from luthier.models.language_model import LanguageModel
from luthier.objectives.objective import LearnsFromOwnAnswers, Objective
from luthier.records import Encoded, Example
from luthier.training.job import TrainingJob
from luthier.training.training_task import TrainingTask

Way: TypeAlias = Literal["written", "choices", "texts"]
"""Answers are written, given choices are scored, or the loss of texts is, which predicts every token of them."""
_REFERENCES = 64
"""References whose tokens are counted."""


@dataclass(frozen=True)
class Questions:
    """Requests that are answered in one way.

    Attributes:
        task: Name of the task.
        items: The sequences of each request.
        references: The first target of each.
        ending: What ends an answer that is written; None where given answers are scored.
        batches: Cuts requests, by place, into batches.
    """

    task: str
    items: tuple[tuple[Encoded, ...], ...]
    references: tuple[str, ...]
    ending: StopConditions | None
    batches: Callable[[Sequence[int]], list[tuple[int, ...]]]

    @property
    def way(self) -> Way:
        """How they are answered."""
        return "written" if self.ending is not None else "texts" if self.task == TOKEN_LOSS.task else "choices"

    @property
    def asked(self) -> list[Asked]:
        """What is to be written."""
        assert self.ending is not None
        return [Asked(own[0], self.ending) for own in self.items]

    def written_batches(self, model: LanguageModel, budget: int) -> list[Batch]:
        """Return the batches of what is written."""
        asked = self.asked
        found = []
        for places in self.batches(range(len(asked))):
            chosen = [asked[place] for place in places]
            at_once = min(len(chosen), running_at_once(chosen, budget))
            found.append(Batch(len(chosen), at_once, work_of(model, [item.prompt for item in chosen])))
        return found

    def scored_work(self, model: LanguageModel) -> float:
        """Return the work of what is scored."""
        return work_of(model, [item for own in self.items for item in own])

    def as_references(self, model: LanguageModel) -> Lengths:
        """Return the lengths of answers that are like their references."""
        assert self.ending is not None
        some = self.references[:: max(1, len(self.references) // _REFERENCES)]
        counts = [len(model.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in some]
        return reference_lengths(counts, self.ending.limit)


def asked_in(plan: Plan, work: UnitWork, *, whole: bool = False) -> list[Questions]:
    """Return what is left to be asked in a unit of work.

    Args:
        plan: Of the comparison.
        work: An evaluation, or a measurement of what was retained.
        whole: Return what is known already as well.
    """
    target = NativeTask(plan.target)
    retains = work.unit.kind == "retain"
    measured: list[Measured] = list(retained_of(plan, work.unit)) if retains else [target] * len(work.jobs)
    places = [range(len(job.requests)) for job in work.jobs] if whole else work.left()
    found = []
    for number, (job, left) in enumerate(zip(work.jobs, places, strict=True)):
        found += _of_job(plan, job, measured[number] if number < len(measured) else None, left)
    return found


def _of_job(plan: Plan, job: EvaluationJob, measured: Measured | None, left: Sequence[int]) -> list[Questions]:
    """Return the questions of a job; one without a task measures the loss of texts."""
    found = []
    for scored in (True, False):
        places = [place for place in left if bool(job.requests[place].blank.choices) == scored]
        if not places:
            continue
        ending = None if scored or measured is None else measured.ending(plan.model, plan.config.decoding)
        blanks = [job.requests[place].blank for place in places]
        items = tuple(job.items[place] for place in places)
        references = tuple(blank.targets[0] if blank.targets else "" for blank in blanks)
        found.append(Questions(blanks[0].task, items, references, ending, _cutting(job, places)))
    return found


def _cutting(job: EvaluationJob, places: Sequence[int]) -> Callable[[Sequence[int]], list[tuple[int, ...]]]:
    """Cut requests into the batches of a job, by their places among some of its requests."""
    own = {place: number for number, place in enumerate(places)}

    def batches(chosen: Sequence[int]) -> list[tuple[int, ...]]:
        cut = job.batches([places[number] for number in chosen])
        return [tuple(own[place] for place in batch) for batch in cut]

    return batches


def asked_in_validation(plan: Plan, job: TrainingJob[Encoded]) -> list[Questions]:
    """Return what one validation of a training asks, of the target and of the other tasks that choose the weights."""
    others = job.selection.others if job.selection is not None else ()
    count = job.recipe.config.validation_examples
    asked = [(job.task, job.validation.examples), *((own.task, own.examples) for own in others)]
    return [found for task, examples in asked for found in _asked_of(plan, task, examples[:count])]


def asked_in_draw(plan: Plan, job: TrainingJob[Any]) -> tuple[list[Questions], int]:
    """Return what a model answers at once to learn from it, and the steps that do; nothing of other trainings."""
    objective: Objective[Any] = job.recipe.objective
    if not isinstance(objective, LearnsFromOwnAnswers):
        return [], 1
    examples = [record.example for record in job.stream.records(0) for _ in range(objective.settings.samples)]
    return _asked_of(plan, job.task, examples), objective.settings.updates


def _asked_of(plan: Plan, task: TrainingTask, chosen: Sequence[Example]) -> list[Questions]:
    requests, _ = encode_requests(chosen, task.encoder, new_tokens=task.generation.new_tokens)
    ending = stop_conditions_of(plan.model, task.encoder, task.generation)
    parts = [[own for own in requests if bool(own.example.choices) == scored] for scored in (True, False)]
    return [
        Questions(
            task.task.name,
            tuple(request.items for request in part),
            tuple(request.example.targets[0] if request.example.targets else "" for request in part),
            None if part[0].example.choices else ending,
            _planning(part, task.generation.new_tokens, task.batch_tokens),
        )
        for part in parts
        if part
    ]


def _planning(
    requests: Sequence[Request], new_tokens: int, batch_tokens: int
) -> Callable[[Sequence[int]], list[tuple[int, ...]]]:
    def batches(chosen: Sequence[int]) -> list[tuple[int, ...]]:
        some = [requests[place] for place in chosen]
        cut = plan_request_batches(some, new_tokens=new_tokens, batch_tokens=batch_tokens)
        return [tuple(chosen[place] for place in batch) for batch in cut]

    return batches
