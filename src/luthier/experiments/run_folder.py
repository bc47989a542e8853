"""A run's folder: ``results.json``, ``costs.json``, and the logs that they were made of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

import torch

from luthier.experiments.arm_results import arm_costs, arm_result, curve_path, failed_result, log_path, pair_logs
from luthier.experiments.choice import choice_of
from luthier.experiments.environment import environment_of, execution_since
from luthier.experiments.lower_precision import read_lower_precision
from luthier.experiments.outcomes import ArmOutcome, FailedArm, RetentionLogs
from luthier.experiments.plan import Plan
from luthier.experiments.summaries import data_summary, model_summary, task_summary
from luthier.files.atomic import writing
from luthier.metrics.prediction_log import write_predictions
from luthier.results.preferences import preference_pairs
from luthier.results.recommendation import recommend
from luthier.results.records import COSTS, RESULTS, ArmResult, RunCosts, RunResults, write_json
from luthier.results.scores import all_pairs, change_over_seeds, corrected
from luthier.version import __version__


def write_run(
    plan: Plan, run: Path, arms: Sequence[ArmOutcome | FailedArm], base: RetentionLogs, *, started: datetime
) -> None:
    """Write a run's folder; ``results.json`` comes last, and whole.

    Args:
        plan: What was read and checked.
        run: The folder.
        arms: What each arm left in the store; one of them at least has not failed.
        base: What the base answers where forgetting is measured.
        started: When this execution began.

    Raises:
        StoreError: When the folder cannot be written.
    """
    outcomes = [arm for arm in arms if isinstance(arm, ArmOutcome)]
    results = _results(plan, run.name, arms, outcomes, base)
    costs = {outcome.arm.name: arm_costs(outcome) for outcome in outcomes}
    with writing(run):
        _write_logs(plan, run, outcomes)
        write_json(
            run / COSTS,
            RunCosts(
                str(plan.model.device),
                torch.get_num_threads(),
                costs,
                execution_since(started),
                plan.model.kernels.why,
            ),
        )
        write_json(run / RESULTS, results)


def _results(
    plan: Plan,
    name: str,
    arms: Sequence[ArmOutcome | FailedArm],
    outcomes: Sequence[ArmOutcome],
    base: RetentionLogs,
) -> RunResults:
    metrics, evaluation = plan.target.metrics, plan.config.evaluation
    pairs = all_pairs({outcome.arm.name: outcome.logs for outcome in outcomes}, metrics, evaluation)
    first = arms[0].arm.name
    # The corrected differences, so that no table contradicts another.
    against_first = {pair.a: pair.change for pair in pairs if pair.b == first}
    found = tuple(
        failed_result(plan, arm)
        if isinstance(arm, FailedArm)
        else replace(arm_result(plan, arm, base), against_first=against_first.get(arm.arm.name))
        for arm in arms
    )
    if isinstance(arms[0], ArmOutcome):
        found = _points_against_first(plan, found, outcomes)
    task = task_summary(plan, outcomes[0].runs[0].log.predictions)
    choice = choice_of(plan, outcomes, base)
    return RunResults(
        luthier=__version__,
        run=name,
        config=plan.config.identity(),
        model=model_summary(plan.model),
        task=task,
        data=data_summary(plan),
        arms=found,
        pairs=pairs,
        recommendation=recommend(found, pairs, task, choice),
        confidence=evaluation.confidence,
        threads=torch.get_num_threads(),
        environment=environment_of(plan.model.device),
        precision=plan.model.product_type,
        lower_precision=read_lower_precision(plan),
        kernels=plan.model.kernels.key_inputs(),
        choice=choice,
        preference_pairs=preference_pairs(
            {own.arm.name: logs for own in outcomes if (logs := pair_logs(own))}, evaluation
        ),
    )


def _points_against_first(
    plan: Plan, found: tuple[ArmResult, ...], outcomes: Sequence[ArmOutcome]
) -> tuple[ArmResult, ...]:
    """Hold the points of every arm against the first arm, corrected for their number."""
    metrics, evaluation, first = plan.target.metrics, plan.config.evaluation, outcomes[0].logs
    changes = {
        (outcome.arm.name, point.at): change_over_seeds(point.logs, first, metrics, evaluation)
        for outcome in outcomes
        for point in outcome.points
    }
    fair = dict(zip(changes, corrected(list(changes.values()), evaluation), strict=True))
    return tuple(
        replace(arm, points=tuple(replace(own, against_first=fair[arm.name, own.at]) for own in arm.points))
        for arm in found
    )


def _write_logs(plan: Plan, run: Path, outcomes: Sequence[ArmOutcome]) -> None:
    for folder in ("predictions", "curves"):
        (run / folder).mkdir(exist_ok=True)
    rows = [json.dumps(asdict(example), ensure_ascii=False) for example in plan.target.examples]
    (run / "predictions" / "examples.jsonl").write_text("".join(row + "\n" for row in rows), encoding="utf-8")
    for outcome in outcomes:
        for one in outcome.runs:
            write_predictions(run / log_path(outcome.arm, one.seed), one.log.predictions)
            if one.trained:
                shutil.copyfile(one.trained.log, run / curve_path(outcome.arm, one.seed))
        for point in outcome.points:
            for one in point.runs:
                write_predictions(run / log_path(outcome.arm, one.seed, point.at), one.log.predictions)
