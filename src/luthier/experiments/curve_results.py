"""From what the units of a learning curve left in the store to its folder: ``results.json``, costs and logs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import torch

from luthier.config.advice import lower_rate
from luthier.errors import DivergenceError
from luthier.evaluation.prepared_task import signature_context
from luthier.evaluation.run import PredictionLog, read_log
from luthier.experiments.curve_plan import CurvePlan, examples_of
from luthier.experiments.environment import environment_of, execution_since
from luthier.experiments.failures import failure_of
from luthier.experiments.plan import Plan
from luthier.experiments.run_unit import loss_job, target_job
from luthier.experiments.summaries import data_summary, model_summary, task_summary, training_summary
from luthier.experiments.trained_arms import trained
from luthier.experiments.units import Unit
from luthier.files.atomic import writing
from luthier.metrics.prediction_log import write_predictions
from luthier.metrics.scoring import primary_value
from luthier.metrics.task_metrics import TOKEN_LOSS, TaskMetrics
from luthier.results.costs import mean_costs
from luthier.results.curve_records import ArmCurve, CurvePoint, CurveResults, CurveRun, error_of, has_error
from luthier.results.learning_curve import LearningCurve, Runs, learning_curve
from luthier.results.records import COSTS, RESULTS, ArmCosts, RunCosts, write_json
from luthier.results.scores import score_over_seeds
from luthier.training.job import default_rate
from luthier.training.trained import Trained
from luthier.version import __version__


@dataclass(frozen=True)
class SizeRun:
    """What an arm left that was trained on one size with one seed.

    Attributes:
        trained: The training.
        answers: To the target's test split.
        references: The log-probabilities of its references.
    """

    trained: Trained
    answers: PredictionLog
    references: PredictionLog


def write_curve(plan: CurvePlan, run: Path, *, started: datetime) -> None:
    """Write the folder of a learning curve; ``results.json`` comes last, and whole.

    Args:
        plan: What was read and checked; all of its units have run.
        run: The folder.
        started: When this execution began.

    Raises:
        DivergenceError: No arm was trained at any size.
        StoreError: Something is damaged, or the folder cannot be written.
    """
    found = {arm.name: _runs_of(plan, arm.name) for arm in plan.largest.arms}
    if not any(found.values()):
        what = "the training of every arm has failed at every size"
        raise DivergenceError(what, where="arms", fix=f"{lower_rate()}; what is finished is kept.")
    costs = {
        f"{name}, {size:,} examples": mean_costs([_costs(one) for one in runs.values()])
        for name, sizes in found.items()
        for size, runs in sizes.items()
    }
    with writing(run):
        (run / "predictions").mkdir(exist_ok=True)
        for name, sizes in found.items():
            for size, runs in sizes.items():
                for seed, one in runs.items():
                    write_predictions(run / _log_path(name, size, seed), one.answers.predictions)
        rows = [json.dumps(asdict(example), ensure_ascii=False) for example in plan.largest.target.examples]
        (run / "predictions" / "examples.jsonl").write_text("".join(row + "\n" for row in rows), encoding="utf-8")
        model, threads = plan.largest.model, torch.get_num_threads()
        record = RunCosts(str(model.device), threads, costs, execution_since(started), model.kernels.why)
        write_json(run / COSTS, record)
        write_json(run / RESULTS, _results(plan, run.name, found))


def _runs_of(plan: CurvePlan, name: str) -> dict[int, dict[int, SizeRun]]:
    """Return the training runs of an arm by size and seed; a size at which one has failed is left out."""
    return {
        size: {seed: _read(own, name, seed) for seed in own.arm(name).seeds}
        for size, own in zip(plan.sizes, plan.plans, strict=True)
        if failure_of(own, own.arm(name)) is None
    }


def _read(plan: Plan, name: str, seed: int) -> SizeRun:
    answers = read_log(target_job(plan, Unit("evaluate", name, seed))[0])
    references = read_log(loss_job(plan, Unit("loss", name, seed)))
    return SizeRun(trained(plan, plan.arm(name), seed), answers, references)


def _log_path(name: str, size: int, seed: int) -> str:
    return f"predictions/{name}-{size}-seed-{seed}.jsonl"


def _results(plan: CurvePlan, name: str, found: Mapping[str, Mapping[int, Mapping[int, SizeRun]]]) -> CurveResults:
    largest = plan.largest
    some = next(one for sizes in found.values() for runs in sizes.values() for one in runs.values())
    return CurveResults(
        luthier=__version__,
        run=name,
        config=plan.config.identity(),
        model=model_summary(largest.model),
        task=task_summary(largest, some.answers.predictions),
        data=data_summary(largest),
        sizes=plan.sizes,
        fixed=plan.config.fixed,
        arms=tuple(_arm_curve(plan, arm, sizes) for arm, sizes in found.items()),
        confidence=plan.config.evaluation.confidence,
        scale=largest.target.metrics.scale,
        threads=torch.get_num_threads(),
        environment=environment_of(largest.model.device),
        precision=largest.model.product_type,
        kernels=largest.model.kernels.key_inputs(),
    )


def _arm_curve(plan: CurvePlan, name: str, sizes: Mapping[int, Mapping[int, SizeRun]]) -> ArmCurve:
    arm, metrics = plan.largest.arm(name), plan.largest.target.metrics
    assert arm.method is not None, "the plan requires a method"
    points = tuple(
        _point(own, name, size, sizes[size]) for size, own in zip(plan.sizes, plan.plans, strict=True) if size in sizes
    )
    known = [one for runs in sizes.values() for one in runs.values()]
    rate = arm.training.learning_rate or default_rate(arm)
    return ArmCurve(
        name=name,
        method=arm.method,
        seeds=arm.seeds,
        training=training_summary(arm.training, known[-1].trained.result.learning_rate if known else rate),
        points=points,
        loss=_curve(plan, {point.examples: [one.loss for one in point.runs] for point in points}),
        error=_error_curve(plan, points, metrics),
        notes=tuple(
            f"its training failed at {size:,} examples, so they are left out: {failure}"
            for size, own in zip(plan.sizes, plan.plans, strict=True)
            if (failure := failure_of(own, own.arm(name))) is not None
        ),
    )


def _examples(plan: Plan) -> int:
    """Return how many examples a size trained on: those that fit; of a mixture those of an epoch."""
    return examples_of(plan) if plan.training.mixtures else len(plan.training.target.records)


def _point(plan: Plan, name: str, size: int, runs: Mapping[int, SizeRun]) -> CurvePoint:
    target, scoring = plan.target, plan.config.evaluation
    context = signature_context(target, plan.arm(name).shots)
    answers = {seed: one.answers.predictions for seed, one in runs.items()}
    losses = {seed: one.references.predictions for seed, one in runs.items()}

    return CurvePoint(
        size=size,
        examples=_examples(plan),
        score=score_over_seeds(answers, target.metrics, scoring, context)[0],
        loss=score_over_seeds(losses, TOKEN_LOSS, scoring, context)[0],
        runs=tuple(
            CurveRun(
                seed,
                primary_value(answers[seed], target.metrics),
                primary_value(losses[seed], TOKEN_LOSS),
                one.trained.result.steps,
                one.trained.result.best_step,
                _log_path(name, size, seed),
            )
            for seed, one in runs.items()
        ),
    )


def _error_curve(plan: CurvePlan, points: Sequence[CurvePoint], metrics: TaskMetrics) -> LearningCurve | None:
    if not has_error(metrics):
        return None
    return _curve(plan, {point.examples: [error_of(one.score, metrics) for one in point.runs] for point in points})


def _curve(plan: CurvePlan, errors: Mapping[int, Sequence[float]]) -> LearningCurve | None:
    """Return the curve of the errors at each number of examples; None where there are not two."""
    runs = [Runs(examples, tuple(own)) for examples, own in errors.items()]
    if len(runs) < 2:
        return None
    # Where the largest size failed, less is within reach.
    forecast = [size for size in plan.forecast if runs[-1].examples < size <= 10 * runs[-1].examples]
    return learning_curve(runs, forecast=forecast, confidence=plan.config.evaluation.confidence)


def _costs(one: SizeRun) -> ArmCosts:
    known = one.trained.costs
    return ArmCosts(
        training_seconds=known.training_seconds,
        supervised_tokens_per_second=known.supervised_tokens_per_second,
        peak_memory_bytes=known.peak_memory_bytes,
        evaluation_seconds=one.answers.seconds + one.references.seconds,
        known_answers=one.answers.cached,
    )
