"""Measure a model, with an adapter or without, on tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from luthier.config.compare import CompareConfig
from luthier.errors import LuthierError, raise_faults
from luthier.evaluation.engines import Engines, device_of, open_engines
from luthier.evaluation.prepared_task import context_of, generation_settings_of, task_metrics_of, with_exemplars
from luthier.evaluation.run import EvaluationContext, EvaluationJob, PredictionLog, finish, read, task_work
from luthier.experiments.plan import PLAIN_TEXT, PreparedTask, collecting, make_encoder, repeated_names
from luthier.inference.engine import Engine
from luthier.methods.adapter_io import load_adapter
from luthier.models.language_model import LanguageModel
from luthier.models.load import folder_digest, load_model
from luthier.progress import say
from luthier.records import Score
from luthier.results.records import Change
from luthier.results.scores import change, score
from luthier.tasks.loader import library_names, load_examples, load_task
from luthier.tasks.schema import Task

ALL = "all"


@dataclass(frozen=True)
class Evaluated:
    """One task, measured.

    Attributes:
        task: The task.
        scores: The primary output first.
        shots_used: Fewest and most exemplars that fitted.
        dropped: Examples that do not fit and were not answered.
        log: The predictions and the time that they took.
        parts: The scores of each part of the test split, where the task names parts.
        coarser: The primary output less that of the model's own weights, where the engine's are coarser.
        same: Share of answers that are then the same.
    """

    task: Task
    scores: tuple[Score, ...]
    shots_used: tuple[int, int]
    dropped: int
    log: PredictionLog
    parts: Mapping[str, tuple[Score, ...]]
    coarser: Change | None = None
    same: float | None = None


def evaluate(
    config: CompareConfig, tasks: Sequence[str], *, shots: int = 0, adapter: Path | None = None, any_base: bool = False
) -> list[Evaluated]:
    """Measure a model on tasks; what was answered before is found in the store.

    Args:
        config: Names the model; its limits, decoding and evaluation settings are used.
        tasks: Built-in names, task YAMLs or data files; ``all`` stands for every built-in task.
        shots: Exemplars before each prompt, as many as fit.
        adapter: A folder that ``tune`` wrote.
        any_base: Accept an adapter that was trained on another base.

    Raises:
        LuthierError: Whatever is wrong with tasks, model or adapter, before anything is answered.
    """
    names = [name for asked in tasks for name in (_builtin() if asked == ALL else (asked,))]
    faults: list[LuthierError] = []
    loaded: list[Task] = []
    for name in names:
        with collecting(faults):
            loaded.append(load_task(name))
    faults += repeated_names(loaded, "tasks")
    with collecting(faults):
        model = load_model(config.model, device=device_of(config), trust_remote_code=config.trust_remote_code)
    raise_faults("nothing can be measured", faults)
    attached = load_adapter(model, adapter, any_base=any_base) if adapter else None
    model.keep_free(model.virtual_tokens)
    subjects: list[PreparedTask] = []
    for task in loaded:
        with collecting(faults):
            examples = load_examples(task, "test", limit=config.data.test, seed=config.seed, evaluation=True)
            subjects.append(PreparedTask(task, make_encoder(model, task, config), tuple(examples)))
    raise_faults("nothing can be measured", faults)
    key = folder_digest(adapter) if adapter else ""
    evaluation = config.evaluation
    under = EvaluationContext(config.out, key, config.decoding, evaluation.batch_tokens, cache=evaluation.cache)
    try:
        engines = open_engines(config, model, attached, adapter=key)
        return [_measure(model, subject, config, under, engines, shots) for subject in subjects]
    finally:
        if attached is not None:
            attached.detach()


def _builtin() -> tuple[str, ...]:
    return tuple(name for name in library_names() if name != PLAIN_TEXT)


def _measure(
    model: LanguageModel,
    subject: PreparedTask,
    config: CompareConfig,
    under: EvaluationContext,
    engines: Engines,
    shots: int,
) -> Evaluated:
    task, encoder = subject.task, subject.encoder
    pool = load_examples(task, "train", limit=None, seed=config.seed, evaluation=True) if shots else []
    how = generation_settings_of(task, config.decoding)
    shown = with_exemplars(subject.examples, pool, shots, encoder, how, seed=config.seed)

    def answered(engine: Engine | None, label: str) -> EvaluationJob:
        work = task_work(model, encoder, task, shown.examples, replace(under, engine=engine), label=label)
        if work.entry.finished:
            say(f"{label}: answered before, found in the store ({work.entry.key[:8]})")
        else:
            finish(work)
        return work

    work = answered(engines.answers, task.name)
    log = read(work)
    task_metrics, context = task_metrics_of(task), context_of(task, shots)
    if engines.answers:
        context["engine"] = config.evaluation.engine
    scores = score(log.predictions, task_metrics, config.evaluation, context)
    part_of = {example.id: example.part for example in subject.examples}
    parts = {
        part: score(
            [own for own in log.predictions if part_of[own.id] == part], task_metrics, config.evaluation, context
        )
        for part in sorted({part_of[own.id] for own in log.predictions} - {""})
    }
    found = Evaluated(task, scores, shown.used, len(work.dropped), log, parts)
    if engines.exact is None:
        return found
    exact = read(answered(engines.exact, f"{task.name} in float32")).predictions
    coarser = change(log.predictions, exact, task_metrics, config.evaluation)
    same = sum(one.text == other.text for one, other in zip(log.predictions, exact, strict=True)) / len(exact)
    return replace(found, coarser=coarser, same=same)
