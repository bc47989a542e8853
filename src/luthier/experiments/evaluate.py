"""Measure a model, with an adapter or without, on tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from luthier.arguments import require_settings
from luthier.config.evaluate import EvaluateConfig
from luthier.config.evaluation import EngineConfig
from luthier.errors import ConfigError, LuthierError, collecting, raise_faults
from luthier.evaluation.context import EvaluationContext
from luthier.evaluation.engines import Engines, device_for, open_engines
from luthier.evaluation.jobs import EvaluationJob
from luthier.evaluation.measured import Measured, MeasuredGroup, NativeTask
from luthier.evaluation.prepared_task import PreparedTask, generation_settings_of, make_encoder, with_exemplars
from luthier.evaluation.run import PredictionLog, ensure_answered, read_log
from luthier.experiments.adapted_model import answering_context
from luthier.experiments.answers_file import write_answers, write_harness_answers
from luthier.experiments.asked_tasks import AskedTask, left_out, load_asked, named_tasks, nothing_left
from luthier.experiments.evaluated import Evaluated, Evaluation
from luthier.experiments.evaluated_pairs import pairs_of_tasks, preferences_of
from luthier.experiments.harness import Asked, apart, load_harness, prepare_harness
from luthier.experiments.helm import HelmMeter, helm_meter
from luthier.experiments.lower_precision import EXAMPLES
from luthier.experiments.suite_averages import averages_of, counted
from luthier.experiments.tuned_on import TunedOn, tuned_on
from luthier.files.store_contents import using_store
from luthier.inference.engine import Engine
from luthier.kernels.peak_memory import settled_objects
from luthier.methods.adapter_io import load_adapter
from luthier.metrics.chance import chance_level
from luthier.metrics.extraction import extract_again
from luthier.metrics.overlap.unicode_words import unread_references
from luthier.metrics.suite_averages import SuiteScore, suite_scores
from luthier.metrics.task_metrics import TaskMetrics
from luthier.models.language_model import LanguageModel
from luthier.models.load import load_model
from luthier.progress import say
from luthier.records import Prediction, Score
from luthier.results.contamination import Contamination
from luthier.results.guessing import majority_baseline
from luthier.results.scores import change, score
from luthier.results.seven import Seven
from luthier.tasks.loader import load_examples, load_exemplar_pool
from luthier.threads import threads_in_words

if TYPE_CHECKING:
    from luthier.evaluation.harness.task import HarnessTask


def evaluate(config: EvaluateConfig) -> Evaluation:
    """Measure a model on tasks; what was answered before is found in the store.

    Args:
        config: Names the model, the adapter and the tasks.

    Raises:
        LuthierError: Whatever is wrong with tasks, model or adapter, before anything is answered.
    """
    require_settings(config, EvaluateConfig, "evaluate")
    faults: list[LuthierError] = []
    ours, theirs = apart(named_tasks(config.tasks, config.data.folder))
    loaded = load_asked(ours, config.data, faults)
    if not loaded and not theirs and not faults:
        faults.append(nothing_left(config.tasks))
    harness_tasks = load_harness(theirs, config.data, faults, engine=config.evaluation.engine, run_code=config.run_code)
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
    prepared = _prepare(loaded, model, config, faults)
    if not prepared and not theirs and not faults:
        faults.append(nothing_left(config.tasks))
    meter = _meter(config, model, theirs, faults)
    shots = config.shots if "shots" in config.model_fields_set else None
    how = Asked(shots, config.data.test, config.seed, config.decoding.max_new_tokens)
    harness = prepare_harness(harness_tasks, model, config.data, how, faults)
    raise_faults("nothing can be measured", faults)
    evaluation, context = config.evaluation, replace(answering_context(config, "eval"), cache=config.evaluation.cache)
    say(threads_in_words(torch.get_num_threads()))
    try:
        with using_store(config.runs, remake_damaged=config.remake_damaged), settled_objects():
            engines = open_engines(evaluation.engine, model, attached, context)
            given = (evaluation, config.shots, config.seed, config.answers, meter)
            evaluator = _Evaluator(model, context, engines, *given, _trained(config, prepared))
            found = evaluator.evaluate_all(prepared)
            pairs = pairs_of_tasks(model, [one.ready for one in prepared])
            logs = pairs.logs(context)
            others = [evaluator.evaluate_harness(item) for item in harness.tasks]
            sums = [evaluator.sum_up(group, others) for group in harness.groups]
    finally:
        if attached is not None:
            attached.detach()
    if pairs.pairs:
        with using_store(config.runs, remake_damaged=config.remake_damaged):
            base = pairs.logs(replace(context, adapter="")) if adapter else logs
        known = preferences_of(logs, base, evaluation, config.seed)
        found = [replace(item, preferences=known.get(item.task.name)) for item in found]
    return Evaluation([*found, *others, *sums], _averages(found, config))


def _prepare(
    loaded: Sequence[AskedTask], model: LanguageModel, config: EvaluateConfig, faults: list[LuthierError]
) -> list[_Prepared]:
    prepared: list[_Prepared] = []
    for asked in loaded:
        with collecting(faults), left_out(asked):
            task = asked.task
            examples = load_examples(task, "test", limit=config.data.test, seed=config.seed, evaluation=True)
            ready = PreparedTask(task, make_encoder(model, task, config.data), tuple(examples))
            prepared.append(_Prepared(ready, asked.by_name))
    return prepared


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A task made ready, and whether it was asked for by its own name."""

    ready: PreparedTask
    by_name: bool


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
        meter: Measures the seven of the suite ``helm``, or None.
        trained: What the adapter was trained on, or None.
    """

    model: LanguageModel
    context: EvaluationContext
    engines: Engines
    config: EngineConfig
    shots: int
    seed: int
    answers: Path | None
    meter: HelmMeter | None
    trained: TunedOn | None

    def evaluate_all(self, prepared: Sequence[_Prepared]) -> list[Evaluated]:
        """Evaluate tasks; a member of a set that the model cannot hold is left out, and said."""
        found: list[Evaluated] = []
        for item in prepared:
            with left_out(AskedTask(item.ready.task, item.by_name)):
                found.append(self.evaluate(item.ready))
        return found

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
        found = Evaluated(
            task,
            scores,
            used,
            len(job.dropped),
            log,
            parts,
            extracted=self._by_other_extractions(prepared, log, signature),
            majority=_majority(log, prepared.metrics),
            chance=chance_level(log.predictions, prepared.metrics),
            seven=self._seven(prompted, log, scores, signature),
            contamination=self._contamination(prepared, log, signature),
        )
        exact = self._in_float32(prompted)
        if not exact:
            return found
        by_id = {one.id: one for one in log.predictions}
        lower = [by_id[one.id] for one in exact]
        coarser = change(lower, exact, prepared.metrics, self.config)
        same = sum(one.text == other.text for one, other in zip(lower, exact, strict=True)) / len(exact)
        return replace(found, coarser=coarser, same=same)

    def _seven(
        self, prompted: PreparedTask, log: PredictionLog, scores: Sequence[Score], signature: Mapping[str, str]
    ) -> Seven | None:
        def ask(perturbed: PreparedTask, label: str) -> EvaluationJob:
            return self._answered(NativeTask(perturbed, self.shots), self.engines.answers, label)

        return None if self.meter is None else self.meter.measure(prompted, log, scores, signature, ask)

    def _contamination(
        self, prepared: PreparedTask, log: PredictionLog, signature: Mapping[str, str]
    ) -> Contamination | None:
        if self.trained is None:
            return None
        found = self.trained.measure(prepared, log.predictions, self.config, signature)
        say(f"{prepared.task.name}: {found.sentence}")
        return found

    def _in_float32(self, prompted: PreparedTask) -> tuple[Prediction, ...]:
        """Answer again with float32 weights, or some examples with float32 products; nothing where all is float32."""
        label = f"{prompted.task.name} in float32"
        if self.engines.exact is not None:
            return read_log(self._answered(NativeTask(prompted, self.shots), self.engines.exact, label)).predictions
        if self.model.products is None or self.engines.answers is not None:
            return ()
        some = replace(prompted, examples=prompted.examples[:EXAMPLES])
        with self.model.in_precision(None):
            return read_log(self._answered(NativeTask(some, self.shots), None, label)).predictions

    def _by_other_extractions(
        self, prepared: PreparedTask, log: PredictionLog, signature: Mapping[str, str]
    ) -> dict[str, tuple[Score, ...]]:
        """Score the same generated texts by each further way of taking the answer out of them."""
        found: dict[str, tuple[Score, ...]] = {}
        for name, extraction in prepared.task.other_extractions.items():
            again = extract_again(log.predictions, extraction)
            said = {**signature, "extract": extraction.signature}
            found[name] = score(again, prepared.metrics, self.config, said)
        return found

    def evaluate_harness(self, task: HarnessTask) -> Evaluated:
        """Evaluate one task of lm-eval."""
        job = self._answered(task, None, task.name)
        logged = read_log(job)
        log = replace(logged, predictions=task.judge.marked(logged.predictions))
        if job.cut:
            say(f"{task.name}: {job.cut} of {len(job.requests)} prompts were too long, and cut on their left")
        if self.answers is None:
            say(f"{task.name}: predictions are in {job.entry.folder}; --answers FOLDER writes them with prompts")
        else:
            say(f"{task.name}: answers, prompts and numbers are in {write_harness_answers(self.answers, task, log)}")
        metrics, used = task.metrics_of(log.predictions), (task.shots, task.shots)
        scores = score(log.predictions, metrics, self.config, task.signature())
        majority = _majority(log, metrics) if task.has_classes else None
        return Evaluated(task, scores, used, len(job.dropped), log, {}, majority=majority)

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


def _trained(config: EvaluateConfig, prepared: Sequence[_Prepared]) -> TunedOn | None:
    if config.adapter is None:
        return None
    return tuned_on(config.adapter, [one.ready.task for one in prepared], config.data)


def _meter(
    config: EvaluateConfig, model: LanguageModel, of_harness: Sequence[str], faults: list[LuthierError]
) -> HelmMeter | None:
    """Make ready what a suite measures, where one is asked for; it perturbs Luthier's own tasks alone."""
    made: list[HelmMeter] = []
    if config.suite is not None and of_harness:
        what = f"the suite '{config.suite}' cannot perturb tasks of lm-eval: {', '.join(of_harness)}"
        faults.append(ConfigError(what, where="suite", fix="Evaluate them without it, or name tasks of Luthier."))
    elif config.suite is not None:
        with collecting(faults):
            made.append(helm_meter(config.helm, config.evaluation, model.device))
    return made[0] if made else None


def _majority(log: PredictionLog, metrics: TaskMetrics) -> float | None:
    found = majority_baseline((), log.predictions, metrics)
    return None if found is None else found.value


def _averages(found: Sequence[Evaluated], config: EvaluateConfig) -> tuple[SuiteScore, ...]:
    """Return the averages of the suites that were asked for by name."""
    wanted = averages_of(config.tasks, [one.task.name for one in found])
    members = {task for average in wanted for task in average.tasks}
    several = {task: outputs for average in wanted for task, outputs in average.scores.items()}
    own = {
        one.task.name: counted(
            one.scores, one.log.predictions, several.get(one.task.name, (one.scores[0].metric,)), one.chance
        )
        for one in found
        if one.task.name in members
    }
    return suite_scores(wanted, own, confidence=config.evaluation.confidence)
