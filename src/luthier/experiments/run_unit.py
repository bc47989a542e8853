"""Run units of work on a plan's model, each once: what is finished lies in the store."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from luthier.config.arms import Arm
from luthier.config.interpolation import BASE, TRAINED
from luthier.errors import DivergenceError
from luthier.evaluation.context import EvaluationContext
from luthier.evaluation.divergence import divergence_job
from luthier.evaluation.jobs import EvaluationJob, task_job
from luthier.evaluation.latency import TimingJob, time_requests, timing_job
from luthier.evaluation.measured import Measured
from luthier.evaluation.pairs import pairs_job
from luthier.evaluation.prepared_task import PreparedTask, of_references, with_exemplars
from luthier.evaluation.run import run
from luthier.evaluation.text_loss import text_job
from luthier.experiments.failures import failure_of, keep_failure
from luthier.experiments.libraries import import_lazy_libraries
from luthier.experiments.lower_precision import compare_precisions, precision_jobs
from luthier.experiments.plan import Plan, name_of_run
from luthier.experiments.search import search_arm, search_is_finished, settled
from luthier.experiments.trained_arms import entry_of, train
from luthier.experiments.units import Split, Unit
from luthier.files.code_digest import code_digest
from luthier.files.digests import digest
from luthier.files.store import About, Entry
from luthier.kernels.peak_memory import settled_objects
from luthier.methods.adapter_io import load_adapter
from luthier.methods.base import Attached
from luthier.methods.interpolation import interpolable
from luthier.models.language_model import LanguageModel
from luthier.training.trained import adapter_folder

INTERPOLATION_MODULES = ("luthier.methods.registry", "luthier.methods.interpolation")
"""The modules from which the code of points between base and trained arm is reached."""


class AttachedAdapter:
    """The adapter that is attached to a model between units: several in a row use the same one.

    Args:
        model: The base.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._folder: Path | None = None
        self._attached: Attached | None = None
        self._at = TRAINED

    def use(self, entry: Entry | None, at: float = TRAINED) -> Attached | None:
        """Let the model compute with the adapter of a finished training, or bare.

        Args:
            entry: Of the training; None for the base.
            at: Point between the base and what was trained.

        Raises:
            StoreError: When the adapter is not what was written.
        """
        folder = entry.folder if entry is not None else None
        if folder != self._folder:
            self.detach()
            if entry is not None:
                self._attached = load_adapter(self._model, adapter_folder(entry))
                self._folder = folder
        if self._attached is not None and at != self._at:
            interpolable(self._attached, where="interpolate").interpolate(at)
            self._at = at
        return self._attached

    def detach(self) -> None:
        """Leave the base as it was."""
        attached, self._attached, self._folder, self._at = self._attached, None, None, TRAINED
        if attached is not None:
            attached.detach()


class UnitRunner:
    """Runs units of one plan in this process.

    Args:
        plan: What was read and checked.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._adapter = AttachedAdapter(plan.model)
        self._settled = contextlib.ExitStack()
        self._prepared = False

    def run(self, unit: Unit) -> None:
        """Do what a unit says, unless that has been done.

        Raises:
            LuthierError: What went wrong; what is finished is kept.
        """
        plan = self._plan
        if has_failed(plan, unit):
            return
        if unit.kind in ("search", "train"):
            try:
                self._train(unit)
            except DivergenceError as fault:
                keep_failure(plan, unit, fault)
        elif unit.kind == "precision":
            self._adapter.detach()
            compare_precisions(plan)
        elif unit.kind == "time":
            timing = timing_of(plan, unit)
            if not timing.entry.finished:
                time_requests(timing, self._adapter.use(trained_entry(plan, unit)))
        else:
            unfinished = [job for job in answering_jobs(plan, unit) if not job.entry.finished]
            if unfinished:
                self._prepare()
                self._adapter.use(trained_entry(plan, unit), unit.at)
            for job in unfinished:
                run(job)

    def _train(self, unit: Unit) -> None:
        """Search or train."""
        plan, arm = self._plan, self._plan.arm(unit.arm)
        if not is_finished(plan, unit):
            self._prepare()
        self._adapter.detach()
        if unit.kind == "search":
            search_arm(plan, arm)
        else:
            assert unit.seed is not None
            train(plan, settled(plan, arm)[0], unit.seed)

    def _prepare(self) -> None:
        """Import what would count for the first unit that needs it, and search none of it for garbage at each unit."""
        if not self._prepared:
            self._prepared = True
            import_lazy_libraries()
            self._settled.enter_context(settled_objects())

    def close(self) -> None:
        """Leave the plan's model as it was."""
        self._settled.close()
        self._adapter.detach()


@contextlib.contextmanager
def running(plan: Plan) -> Iterator[UnitRunner]:
    """Give a runner; the plan's model is left as it was, whatever happens."""
    runner = UnitRunner(plan)
    try:
        yield runner
    finally:
        runner.close()


def is_finished(plan: Plan, unit: Unit) -> bool:
    """Whether everything that a unit makes lies in the store; of an arm that has failed, nothing is made any more."""
    if has_failed(plan, unit):
        return True
    trains = unit.kind == "search" or unit.seed is not None
    if trains and not search_is_finished(plan, plan.arm(unit.arm)):
        return False  # without its outcome nobody knows what is trained
    if unit.kind == "search":
        return True
    entry = trained_entry(plan, unit)
    if unit.kind == "train":
        return entry is not None and entry.finished
    if unit.kind == "precision":
        return precision_jobs(plan).finished
    if unit.kind == "time":
        return timing_of(plan, unit).entry.finished
    return all(job.entry.finished for job in answering_jobs(plan, unit))


def has_failed(plan: Plan, unit: Unit) -> bool:
    """Whether the arm of a unit has failed, before it or in it."""
    return bool(unit.arm) and failure_of(plan, plan.arm(unit.arm)) is not None


def trained_entry(plan: Plan, unit: Unit) -> Entry | None:
    """Return where the trained arm of a unit lies in the store; None where the base computes."""
    if unit.seed is None or unit.at == BASE:
        return None
    return entry_of(plan, settled(plan, plan.arm(unit.arm))[0], unit.seed)


def _context(plan: Plan, unit: Unit) -> EvaluationContext:
    entry, evaluation = trained_entry(plan, unit), plan.config.evaluation
    key = _key_at(entry, unit.at) if entry else ""
    about = About(arm=_label(plan, unit), run=name_of_run(plan))
    return EvaluationContext(
        plan.config.runs, key, plan.config.decoding, evaluation.batch_tokens, cache=evaluation.cache, about=about
    )


def answering_jobs(plan: Plan, unit: Unit) -> list[EvaluationJob]:
    """Return what a unit answers that answers anything."""
    if unit.kind == "evaluate":
        return [target_job(plan, unit)[0]]
    if unit.kind == "divergence":
        return [divergence_of(plan, unit)]
    if unit.kind == "pairs":
        return [pairs_of_unit(plan, unit)]
    return [loss_job(plan, unit)] if unit.kind == "loss" else retention_jobs(plan, unit)


def pairs_of_unit(plan: Plan, unit: Unit) -> EvaluationJob:
    """Return the log-probabilities of both answers of the target's held-out pairs."""
    return pairs_job(plan.model, plan.pairs, _context(plan, unit), label=f"{_label(plan, unit)}: pairs")


def measures_divergence(plan: Plan) -> bool:
    """Whether it is measured how far arms are from the base: where forgetting is, and there are validation examples."""
    return bool((plan.retained or plan.texts) and plan.training.validation.records)


def divergence_of(plan: Plan, unit: Unit) -> EvaluationJob:
    """Return the divergence from the base on some of the target's validation examples."""
    records = plan.training.validation.records[: plan.config.training.validation_examples]
    return divergence_job(plan.model, records, _context(plan, unit), label=f"{_label(plan, unit)}: divergence")


def _key_at(entry: Entry, at: float) -> str:
    """Return what the answers at a point are keyed by: the trained arm, the point, and the code that moves there."""
    if at == TRAINED:
        return entry.key
    return digest({"trained": entry.key, "at": at, "code": code_digest(INTERPOLATION_MODULES)})


def target_job(plan: Plan, unit: Unit) -> tuple[EvaluationJob, tuple[int, int]]:
    """Return the answers to the target's split, and the fewest and most exemplars that fitted."""
    target, used = _with_exemplars(plan, plan.arm(unit.arm), unit.split)
    label = f"{_label(plan, unit)}: {target.task.name}"
    return task_job(plan.model, target, _context(plan, unit), label=label), used


def loss_job(plan: Plan, unit: Unit) -> EvaluationJob:
    """Return the log-probabilities of the references of the target's test split; of several, of the first."""
    target, _ = _with_exemplars(plan, plan.arm(unit.arm))
    label = f"{_label(plan, unit)}: {target.task.name}, loss of the references"
    return task_job(plan.model, of_references(target), _context(plan, unit), label=label)


def timing_of(plan: Plan, unit: Unit) -> TimingJob:
    """Return the timing of single requests of the target's test split."""
    target, _ = _with_exemplars(plan, plan.arm(unit.arm))
    return timing_job(plan.model, target, _context(plan, unit), label=f"{_label(plan, unit)}: one request")


def retention_jobs(plan: Plan, unit: Unit) -> list[EvaluationJob]:
    """Return the answers to the retained tasks, then the token loss of the plain text if there is any.

    An arm and a point are chosen on the tasks alone.
    """
    context, label = _context(plan, unit), _label(plan, unit)
    jobs = [other.job(plan.model, context, label=f"{label}: {other.name}") for other in retained_of(plan, unit)]
    if plan.texts and unit.split == "test":
        jobs.append(text_job(plan.model, plan.texts, context, label=f"{label}: plain text"))
    return jobs


def retained_of(plan: Plan, unit: Unit) -> tuple[Measured, ...]:
    """Return the retained tasks with the split that a unit answers."""
    if unit.split == "test":
        return plan.retained
    return plan.choosing.retained if plan.choosing else ()


def _with_exemplars(plan: Plan, arm: Arm, split: Split = "test") -> tuple[PreparedTask, tuple[int, int]]:
    target = plan.choosing.target if split == "validation" and plan.choosing else plan.target
    return with_exemplars(target, plan.pool, arm.shots, plan.config.decoding, seed=plan.config.seed)


def _label(plan: Plan, unit: Unit) -> str:
    """What progress and notes call the arm; its seed is said where there are several."""
    if not unit.arm:
        return "base" if unit.split == "test" else f"base, {unit.split}"
    at = "" if unit.at == TRAINED else f" at {unit.at:g}"
    split = "" if unit.split == "test" else f", {unit.split}"
    several = unit.seed is not None and unit.at != BASE and len(plan.arm(unit.arm).seeds) > 1
    return f"{unit.arm}{at}, seed {unit.seed}{split}" if several else f"{unit.arm}{at}{split}"
