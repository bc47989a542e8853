"""Measure a model, with an adapter or without, on tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch

from luthier.arguments import require_settings
from luthier.config.advice import use_torch
from luthier.config.evaluate import EvaluateConfig
from luthier.config.evaluation import EngineConfig
from luthier.display import Displayed
from luthier.errors import ConfigError, LuthierError, collecting, raise_faults
from luthier.evaluation.context import EvaluationContext
from luthier.evaluation.engines import Engines, device_for, open_engines
from luthier.evaluation.jobs import EvaluationJob
from luthier.evaluation.measured import Judging, Measured, MeasuredGroup, NativeTask
from luthier.evaluation.prepared_task import PreparedTask, generation_settings_of, make_encoder, with_exemplars
from luthier.evaluation.run import PredictionLog, ensure_answered, read_log
from luthier.experiments.answers_file import write_answers, write_harness_answers
from luthier.experiments.harness import Asked, apart, load_harness, prepare_harness
from luthier.experiments.inputs import repeated_names
from luthier.experiments.named import ALL
from luthier.files.store import About
from luthier.files.store_contents import using_store
from luthier.inference.engine import TORCH, Engine
from luthier.kernels.peak_memory import settled_objects
from luthier.methods.adapter_io import load_adapter
from luthier.metrics.overlap.unicode_words import unread_references
from luthier.models.language_model import LanguageModel
from luthier.models.load import folder_digest, load_model
from luthier.progress import say
from luthier.records import Score
from luthier.results.records import Change
from luthier.results.scores import change, score
from luthier.tasks.loader import load_examples, load_exemplar_pool, load_task, with_data_settings
from luthier.tasks.names import library_names
from luthier.tasks.schema import Task
from luthier.tasks.task_sets import PLAIN_TEXT, NamedTask, expand
from luthier.threads import threads_in_words

if TYPE_CHECKING:
    from luthier.evaluation.harness.task import HarnessTask


@dataclass(frozen=True)
class Evaluated(Displayed):
    """One task, measured.

    Attributes:
        task: The task; one of lm-eval, or a group of its tasks, where ``lm_eval:`` was asked for.
        scores: The primary output first.
        shots_used: Fewest and most exemplars that fitted.
        dropped: Examples that do not fit and were not answered.
        log: The predictions and the time that they took.
        parts: The scores of each part of the test split, where the task names parts.
        coarser: The primary output less that of the model's own weights, where the engine's are coarser.
        same: Share of answers that are then the same.
    """

    view: ClassVar[str] = "evaluated task"

    task: Task | Judging
    scores: tuple[Score, ...]
    shots_used: tuple[int, int]
    dropped: int
    log: PredictionLog
    parts: Mapping[str, tuple[Score, ...]]
    coarser: Change | None = None
    same: float | None = None

    def __repr__(self) -> str:
        return f"<Evaluated {self.task.name}: {self.scores[0]}>"


class Evaluation(Displayed, list[Evaluated]):
    """The tasks that were measured, in order."""

    view: ClassVar[str] = "evaluation"


def evaluate(config: EvaluateConfig) -> Evaluation:
    """Measure a model on tasks; what was answered before is found in the store.

    Args:
        config: Names the model, the adapter and the tasks.

    Raises:
        LuthierError: Whatever is wrong with tasks, model or adapter, before anything is answered.
    """
    require_settings(config, EvaluateConfig, "evaluate")
    faults: list[LuthierError] = []
    ours, theirs = apart(_named(config.tasks))
    loaded = [with_data_settings(task, config.data) for task in _load_tasks([own.name for own in ours], faults)]
    if theirs and config.evaluation.engine != TORCH:
        what = "tasks of lm-eval ask which answers are the likeliest, which this engine does not say"
        faults.append(ConfigError(what, where="evaluation.engine", fix=f"{use_torch().capitalize()}."))
    harness_tasks = load_harness(theirs, config.data, faults)
    with collecting(faults):
        device = device_for(config.evaluation.engine, config.device)
        model = load_model(
            config.model,
            device=device,
            precision=config.precision,
            kernels=config.kernels,
            trust_remote_code=config.trust_remote_code,
        )
    raise_faults("nothing can be measured", faults)
    adapter = config.adapter
    attached = load_adapter(model, adapter, any_base=config.any_base) if adapter else None
    model.keep_free(model.virtual_tokens)
    prepared: list[PreparedTask] = []
    for task in loaded:
        with collecting(faults):
            examples = load_examples(task, "test", limit=config.data.test, seed=config.seed, evaluation=True)
            prepared.append(PreparedTask(task, make_encoder(model, task, config.data), tuple(examples)))
    shots = config.shots if "shots" in config.model_fields_set else None
    asked = Asked(shots, config.data.test, config.seed, config.decoding.max_new_tokens)
    harness = prepare_harness(harness_tasks, model, config.data, asked, faults)
    raise_faults("nothing can be measured", faults)
    evaluation, key = config.evaluation, folder_digest(adapter) if adapter else ""
    about = About(arm=str(adapter) if adapter else "", run="eval")
    context = EvaluationContext(
        config.runs, key, config.decoding, evaluation.batch_tokens, cache=evaluation.cache, about=about
    )
    say(threads_in_words(torch.get_num_threads()))
    try:
        with using_store(config.runs, remake_damaged=config.remake_damaged), settled_objects():
            engines = open_engines(evaluation.engine, model, attached, context)
            evaluator = _Evaluator(model, context, engines, evaluation, config.shots, config.seed, config.answers)
            found = [evaluator.evaluate(item) for item in prepared]
            measured = [evaluator.evaluate_harness(item) for item in harness.tasks]
            return Evaluation([*found, *measured, *(evaluator.sum_up(group, measured) for group in harness.groups)])
    finally:
        if attached is not None:
            attached.detach()


def _named(names: Sequence[str]) -> tuple[NamedTask, ...]:
    """Put the members of sets of tasks, and all built-in tasks for the word for them, in their place."""
    return expand([name for asked in names for name in (_builtin() if asked == ALL else (asked,))])


def _load_tasks(names: Sequence[str], faults: list[LuthierError]) -> list[Task]:
    loaded: list[Task] = []
    for name in names:
        with collecting(faults):
            loaded.append(load_task(name))
    faults += repeated_names(loaded, "tasks")
    return loaded


def _builtin() -> tuple[str, ...]:
    return tuple(name for name in library_names() if name != PLAIN_TEXT)


@dataclass(frozen=True)
class _Evaluator:
    """Evaluates one task after another in the same circumstances.

    Attributes:
        model: With its adapter, if there is one.
        context: How answers are generated, and where they are kept.
        engines: What computes them.
        config: How they are scored.
        shots: Exemplars before each prompt.
        seed: Of what is drawn.
        answers: Folder for a file of each task's answers, or None.
    """

    model: LanguageModel
    context: EvaluationContext
    engines: Engines
    config: EngineConfig
    shots: int
    seed: int
    answers: Path | None

    def evaluate(self, prepared: PreparedTask) -> Evaluated:
        """Evaluate one task."""
        task = prepared.task
        pool = load_exemplar_pool(task, limit=None, seed=self.seed) if self.shots else ()
        prompted, used = with_exemplars(prepared, pool, self.shots, self.context.decoding, seed=self.seed)
        measured = NativeTask(prompted, self.shots)
        job = self._answered(measured, self.engines.answers, task.name)
        log, signature = read_log(job), measured.signature()
        self._say_where(prompted, job, log)
        if log.unparsed:
            say(f"{task.name}: no answer was found in {log.unparsed} of {len(log.predictions)} generated texts")
        if unread := unread_references(log.predictions, prepared.metrics.metrics):
            say(f"{task.name}: {unread}")
        if self.engines.answers:
            signature["engine"] = self.config.engine
        scores = score(log.predictions, prepared.metrics, self.config, signature)
        part_of = {example.id: example.part for example in prepared.examples}
        parts = {
            part: score(
                [own for own in log.predictions if part_of[own.id] == part], prepared.metrics, self.config, signature
            )
            for part in sorted({part_of[own.id] for own in log.predictions} - {""})
        }
        found = Evaluated(task, scores, used, len(job.dropped), log, parts)
        if self.engines.exact is None:
            return found
        exact = read_log(self._answered(measured, self.engines.exact, f"{task.name} in float32")).predictions
        coarser = change(log.predictions, exact, prepared.metrics, self.config)
        same = sum(one.text == other.text for one, other in zip(log.predictions, exact, strict=True)) / len(exact)
        return replace(found, coarser=coarser, same=same)

    def evaluate_harness(self, task: HarnessTask) -> Evaluated:
        """Evaluate one task of lm-eval."""
        job = self._answered(task, None, task.name)
        log = read_log(job)
        shots = task.shots
        if job.cut:
            say(f"{task.name}: {job.cut} of {len(job.requests)} prompts were too long, and cut on their left")
        if self.answers is None:
            say(f"{task.name}: predictions are in {job.entry.folder}; --answers FOLDER writes them with prompts")
        else:
            say(f"{task.name}: answers, prompts and numbers are in {write_harness_answers(self.answers, task, log)}")
        scores = score(log.predictions, task.metrics_of(log.predictions), self.config, task.signature())
        return Evaluated(task, scores, (shots, shots), len(job.dropped), log, {})

    def sum_up(self, group: MeasuredGroup, measured: Sequence[Evaluated]) -> Evaluated:
        """Return the numbers of a group of tasks, from the answers to its members."""
        logs = {own.task.name: own.log.predictions for own in measured}
        predictions = group.log_of(logs)
        asked = {own.task for own in predictions}
        members = [own for own in measured if own.task.name in asked]
        log = PredictionLog(
            predictions, sum(own.log.seconds for own in members), None, sum(own.log.cached for own in members)
        )
        scores = score(predictions, group.metrics_of(predictions), self.config, group.signature())
        shots = [count for own in members for count in own.shots_used]
        return Evaluated(group, scores, (min(shots), max(shots)), sum(own.dropped for own in members), log, {})

    def _say_where(self, prompted: PreparedTask, job: EvaluationJob, log: PredictionLog) -> None:
        if self.answers is None:
            where = job.entry.folder
            say(f"{prompted.task.name}: predictions are in {where}; --answers FOLDER writes them with prompts")
            return
        new_tokens = generation_settings_of(prompted.task, self.context.decoding).new_tokens
        path = write_answers(self.answers, prompted, log, new_tokens=new_tokens)
        say(f"{prompted.task.name}: answers, prompts and row numbers are in {path}")

    def _answered(self, measured: Measured, engine: Engine | None, label: str) -> EvaluationJob:
        """Return a job that is finished."""
        return ensure_answered(measured.job(self.model, replace(self.context, engine=engine), label=label))
