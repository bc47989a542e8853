"""Run every arm from the same start on the same splits, measure what each kept and cost, and say what follows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from luthier.config.compare import CompareConfig
from luthier.experiments.execution import executor_of
from luthier.experiments.outcomes import Outcome, read_base, read_outcome
from luthier.experiments.plan import Plan, read_plan, require_test, run_name
from luthier.experiments.summaries import data_summary, model_summary, task_summary
from luthier.experiments.units import plan_units
from luthier.files.atomic import writing
from luthier.metrics.prediction_log import write_predictions
from luthier.results.recommendation import recommend
from luthier.results.records import RunCosts, RunResults, write_json
from luthier.results.scores import all_pairs
from luthier.version import __version__


def compare(config: CompareConfig) -> Path:
    """Run a comparison; return the run's folder, with ``results.json``, ``costs.json`` and the logs in it.

    Finished work is found in the store and not done again; a killed run goes on.

    Raises:
        LuthierError: Whatever is wrong with the configuration, the data or the model, before anything is trained.
    """
    with executor_of(config) as executor:
        plan = read_plan(config)
        require_test(plan)
        run = config.out / (config.name or run_name(plan))
        with writing(run):
            run.mkdir(parents=True, exist_ok=True)
        retaining = bool(plan.retained or plan.texts)
        executor.execute(plan, plan_units(plan.arms, searching=config.search.trials > 0, retaining=retaining))
        base = read_base(plan)
        _write_run(plan, run, [read_outcome(plan, arm.name, base) for arm in plan.arms])
    return run


def _write_run(plan: Plan, run: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the run's folder; ``results.json`` comes last, and whole."""
    metrics = plan.target.metrics
    logs = {outcome.result.name: outcome.predictions for outcome in outcomes}
    pairs = all_pairs(logs, metrics, plan.config.evaluation)
    first = outcomes[0].result.name
    # The corrected differences, so that no table contradicts another.
    against_first = {pair.a: pair.change for pair in pairs if pair.b == first}
    arms = tuple(replace(outcome.result, against_first=against_first.get(outcome.result.name)) for outcome in outcomes)
    results = RunResults(
        luthier=__version__,
        run=run.name,
        config=plan.config.identity(),
        model=model_summary(plan.model),
        task=task_summary(plan),
        data=data_summary(plan),
        arms=arms,
        pairs=pairs,
        recommendation=recommend(arms, pairs, higher_is_better=metrics.higher_is_better),
        confidence=plan.config.evaluation.confidence,
        threads=torch.get_num_threads(),
    )
    costs = RunCosts(
        str(plan.model.device), torch.get_num_threads(), {outcome.result.name: outcome.costs for outcome in outcomes}
    )
    with writing(run):
        _write_logs(plan, run, outcomes)
        write_json(run / "costs.json", costs)
        write_json(run / "results.json", results)


def _write_logs(plan: Plan, run: Path, outcomes: Sequence[Outcome]) -> None:
    for folder in ("predictions", "curves"):
        (run / folder).mkdir(exist_ok=True)
    rows = [json.dumps(asdict(example), ensure_ascii=False) for example in plan.target.examples]
    (run / "predictions" / "examples.jsonl").write_text("".join(row + "\n" for row in rows), encoding="utf-8")
    for outcome in outcomes:
        write_predictions(run / outcome.result.predictions, outcome.predictions)
        if outcome.trained:
            shutil.copyfile(outcome.trained.log, run / outcome.result.curve)
