"""Choose an arm and a point by what the units of a comparison left in the store; see :mod:`luthier.results.choice`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from luthier.config.interpolation import BASE, TRAINED
from luthier.evaluation.run import PredictionLog, read_log
from luthier.experiments.outcomes import ArmOutcome, RetentionLogs
from luthier.experiments.plan import Plan
from luthier.experiments.run_unit import retention_jobs, target_job
from luthier.experiments.units import Unit, points_of
from luthier.metrics.seed_runs import Log
from luthier.results.choice import Candidate, Choice, choose, judged, nothing_known
from luthier.results.retention_ratio import RetainedLogs, RetentionRatio, retention_ratio
from luthier.results.scores import score_over_seeds


def choice_of(plan: Plan, outcomes: Sequence[ArmOutcome], base: RetentionLogs) -> Choice | None:
    """Choose on the validation splits, and judge what was chosen on the test splits; None where nobody asked.

    Args:
        plan: What was read and checked.
        outcomes: What each arm left that has not failed.
        base: What the base answers to the retained tasks' test splits.

    Raises:
        StoreError: When a log is damaged, or not there.
    """
    level = plan.config.retain_at_least
    if plan.choosing is None or level is None:
        return None
    candidates: list[Candidate] = []
    left_out: tuple[str, ...] = ()
    for outcome in outcomes:
        for candidate, ratio in _candidates(plan, outcome, level):
            candidates.append(candidate)
            left_out = ratio.left_out
    chosen = choose(candidates, level, higher_is_better=plan.target.metrics.higher_is_better)
    if chosen is None:
        return nothing_known(level, candidates, left_out)
    outcome = next(one for one in outcomes if one.arm.name == chosen.arm)
    return judged(chosen, _on_test(plan, outcome, chosen.at, base, level), level, candidates)


def _candidates(plan: Plan, outcome: ArmOutcome, level: float) -> Iterator[tuple[Candidate, RetentionRatio]]:
    """Yield a trained arm, and it at each of its points but the base, as the validation splits show them."""
    arm, choosing = outcome.arm, plan.choosing
    assert choosing is not None
    if arm.method is None:
        return
    before = _retained_logs(plan, Unit("retain", "", split="validation"))
    for at in (*(at for at in points_of(arm) if at != BASE), TRAINED):
        units = {seed: Unit("retain", arm.name, seed, at=at, split="validation") for seed in arm.seeds}
        after = {seed: _retained_logs(plan, unit) for seed, unit in units.items()}
        ratio = _ratio(plan, before, after, level)
        answers = {
            seed: read_log(target_job(plan, Unit("evaluate", arm.name, seed, at=at, split="validation"))[0]).predictions
            for seed in arm.seeds
        }
        scores = score_over_seeds(answers, choosing.target.metrics, plan.config.evaluation, {"split": "validation"})
        yield Candidate(arm.name, at, scores[0].value, ratio.value, ratio.low), ratio


def _on_test(plan: Plan, outcome: ArmOutcome, at: float, base: RetentionLogs, level: float) -> RetentionRatio:
    runs = outcome.runs if at == TRAINED else next(point.runs for point in outcome.points if point.at == at)
    return _ratio(plan, _answers(base.tasks), {run.seed: _answers(run.retention.tasks) for run in runs}, level)


def _ratio(plan: Plan, before: Sequence[Log], after: Mapping[int, Sequence[Log]], level: float) -> RetentionRatio:
    logs = [
        RetainedLogs(task.metrics_of(before[place]), before[place], {seed: own[place] for seed, own in after.items()})
        for place, task in enumerate(plan.retained)
    ]
    return retention_ratio(logs, level, resamples=plan.config.evaluation.resamples)


def _retained_logs(plan: Plan, unit: Unit) -> list[Log]:
    return _answers([read_log(job) for job in retention_jobs(plan, unit)])


def _answers(logs: Sequence[PredictionLog]) -> list[Log]:
    return [log.predictions for log in logs]
