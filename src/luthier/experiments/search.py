"""Choose an arm's hyper-parameters on the validation split, within a budget of trials that is the same for every arm.

The sampler is Optuna's TPE, and a trial that falls behind is stopped by its median rule. Every trial lies in the run
store under all that it depends on, what came before it included. So a search that was killed goes on, and one that is
done is found again, by asking the same questions once more.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna
from pydantic import TypeAdapter

from luthier.config.advice import how_to_set, lower_rate
from luthier.config.arms import Arm
from luthier.errors import ConfigError, DivergenceError
from luthier.experiments.plan import Plan, name_of_run
from luthier.experiments.trained_arms import entry_of, train
from luthier.files.atomic import writing
from luthier.files.code_digest import code_digest
from luthier.files.store import About, Entry, open_entry, reading
from luthier.methods.registry import find_method
from luthier.methods.search_space import LogRange, Space, defaults_of, space_of
from luthier.progress import say
from luthier.results.summaries import Search
from luthier.training.job import with_rate
from luthier.training.selection import score_in_words
from luthier.training.train_arm import OnValidation

_STATES = {
    "complete": optuna.trial.TrialState.COMPLETE,
    "pruned": optuna.trial.TrialState.PRUNED,
    "failed": optuna.trial.TrialState.FAIL,
}
_IN_TRAINING = ("learning_rate", "epochs")
ENTRY_MODULES = ("luthier.experiments.search",)
"""The module from which the code of a search is reached."""


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """What a search tried and chose, and the wall seconds that it took."""

    search: Search
    seconds: float


_OUTCOME = TypeAdapter(SearchOutcome)


@dataclass(frozen=True)
class Tried:
    """One trial: its validation scores (higher is better) from the first validation to the last, and how it ended.

    Attributes:
        parameters: What was tried.
        scores: At each validation.
        score: Of the weights that are kept; None where it did not come to its end.
        ended: ``complete``, ``pruned`` or ``failed``.
        seconds: Wall time.
        reason: Why it failed.
    """

    parameters: dict[str, float]
    scores: tuple[float, ...]
    score: float | None
    ended: str
    seconds: float
    reason: str = ""


class _Pruned(Exception):
    """A trial has fallen behind."""


def search_arm(plan: Plan, arm: Arm) -> None:
    """Search an arm's hyper-parameters, unless that has been done; the outcome lies in the store.

    Raises:
        ConfigError: There is no validation split to choose on.
        DivergenceError: No trial came to an end.
    """
    assert arm.method is not None
    if not plan.training.validation.records or not arm.training.validations:
        validations, none = how_to_set("training.validations", "4"), how_to_set("search.trials", "0")
        fix = f"Give the task a validation split and {validations}, or search nothing with {none}."
        raise ConfigError("a search needs validation to choose on", where=f"arm '{arm.name}'", fix=fix)
    entry = search_entry(plan, arm)
    with entry.held(f"{arm.name}: search"):
        if entry.finished:
            return
        found = _search(plan, arm)
        with writing(entry.work):
            (entry.work / "search.json").write_bytes(_OUTCOME.dump_json(found, indent=2))
            entry.finish()


def search_is_finished(plan: Plan, arm: Arm) -> bool:
    """Whether the search of an arm has an outcome, or there is none to be made."""
    return arm.method is None or not plan.config.search.trials or search_entry(plan, arm).finished


def settled(plan: Plan, arm: Arm) -> tuple[Arm, SearchOutcome | None]:
    """Return an arm as it is trained, and the search that settled its hyper-parameters, if there was one.

    Raises:
        StoreError: When the search is damaged, or not there.
    """
    if arm.method is None or not plan.config.search.trials:
        return arm, None
    entry = search_entry(plan, arm)
    with reading(entry):
        found = _OUTCOME.validate_json(entry.checked("search.json").read_bytes())
    return with_parameters(arm, found.search.chosen), found


def search_entry(plan: Plan, arm: Arm) -> Entry:
    """Return the place of a search's outcome: it depends on all that a training does, and on the budget."""
    inputs = {
        "training": entry_of(plan, arm, arm.seeds[0]).inputs,
        "space": {name: str(values) for name, values in _space(arm).items()},
        "budget": plan.config.search.model_dump(mode="json"),
        "code": code_digest(ENTRY_MODULES),
    }
    return open_entry(plan.config.runs, "searches", inputs, _about(plan, arm))


def _about(plan: Plan, arm: Arm) -> About:
    return About(plan.target.task.name, arm.name, name_of_run(plan))


def _space(arm: Arm) -> Space:
    assert arm.method is not None
    return space_of(find_method(arm.method), arm.settings, with_rate(arm))


def _search(plan: Plan, arm: Arm) -> SearchOutcome:
    """Try as many settings of an arm as the plan allows, its defaults first, and return the best."""
    assert arm.method is not None
    method, budget, space = find_method(arm.method), plan.config.search, _space(arm)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=arm.seeds[0], n_startup_trials=max(2, budget.trials // 3)),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=2) if budget.prune else optuna.pruners.NopPruner(),
    )
    study.enqueue_trial(defaults_of(method, arm.settings, with_rate(arm)))
    tried: list[Tried] = []
    for number in range(budget.trials):
        trial = study.ask(_distributions(space))
        seen: list[float] = []
        found = _try(plan, with_parameters(arm, trial.params), trial, tried, seen)
        for step in range(len(seen), len(found.scores)):
            trial.report(found.scores[step], step)  # found in the store: reported as if it had just run
        study.tell(trial, found.score, state=_STATES[found.ended])
        tried.append(found)
        words = parameters_in_words(found.parameters)
        say(f"{arm.name}: trial {number + 1} of {budget.trials}, {words}: {_outcome(found)}")
    return _best(arm, space, tried)


def with_parameters(arm: Arm, parameters: dict[str, Any]) -> Arm:
    """Return an arm with other hyper-parameters."""
    training = {name: value for name, value in parameters.items() if name in _IN_TRAINING}
    settings = {name: value for name, value in parameters.items() if name not in _IN_TRAINING}
    return replace(arm, settings={**arm.settings, **settings}, training=arm.training.model_copy(update=training))


def parameters_in_words(parameters: dict[str, float]) -> str:
    """Hyper-parameters in a few words: ``learning_rate 0.0021, rank 16``."""
    return ", ".join(
        f"{name} {value:.2g}" if name == "learning_rate" else f"{name} {value:g}" for name, value in parameters.items()
    )


def _distributions(space: Space) -> dict[str, optuna.distributions.BaseDistribution]:
    return {
        name: optuna.distributions.FloatDistribution(values.low, values.high, log=True)
        if isinstance(values, LogRange)
        else optuna.distributions.CategoricalDistribution(values)
        for name, values in space.items()
    }


def _try(plan: Plan, arm: Arm, trial: optuna.Trial, before: Sequence[Tried], seen: list[float]) -> Tried:
    """Train one trial, or read it from the store."""
    history = [[one.parameters, one.scores, one.ended] for one in before]
    inputs = {
        "training": entry_of(plan, arm, arm.seeds[0]).inputs,
        "prune": plan.config.search.prune,
        "history": history,
        "code": code_digest(ENTRY_MODULES),
    }
    entry = open_entry(plan.config.runs, "trials", inputs, _about(plan, arm))
    with entry.held(arm.name):
        if not entry.finished:
            _train(plan, arm, trial, entry, seen)
    with reading(entry):
        kept = json.loads(entry.checked("trial.json").read_text())
    return Tried(dict(trial.params), **kept | {"scores": tuple(kept["scores"])})


def _train(plan: Plan, arm: Arm, trial: optuna.Trial, entry: Entry, seen: list[float]) -> None:
    score, reason, scores = None, "", tuple[float, ...]()
    started = time.monotonic()
    try:
        done = train(plan, arm, arm.seeds[0], on_validation=_pruning(trial, seen))
        score, scores = done.result.chosen_by, done.validation_scores
        if score is None or not math.isfinite(score):
            score, reason = None, "its validation score is not a number"
    except _Pruned:
        scores = tuple(seen)
    except DivergenceError as fault:
        reason = f"{fault.where.rpartition(', ')[2]}: {fault.what}"
    ended = "failed" if reason else "pruned" if score is None else "complete"
    seconds = time.monotonic() - started
    kept = {"scores": scores, "score": score, "ended": ended, "seconds": seconds, "reason": reason}
    with writing(entry.work):
        entry.work.mkdir(parents=True, exist_ok=True)
        (entry.work / "trial.json").write_text(json.dumps(kept))
        entry.finish()


def _pruning(trial: optuna.Trial, seen: list[float]) -> OnValidation:
    """Return what asks after each validation whether the trial has fallen behind."""

    def on_validation(scores: Sequence[float]) -> None:
        for step in range(len(seen), len(scores)):
            trial.report(scores[step], step)
            seen.append(scores[step])
        if trial.should_prune():
            raise _Pruned

    return on_validation


def _outcome(found: Tried) -> str:
    if found.score is not None:
        return score_in_words(found.score)
    return f"{found.ended} ({found.reason})" if found.reason else found.ended


def _best(arm: Arm, space: Space, tried: Sequence[Tried]) -> SearchOutcome:
    complete = {number: one.score for number, one in enumerate(tried) if one.score is not None}
    if not complete:
        raise _all_failed(arm, tried)
    winner = max(complete, key=lambda number: complete[number])  # the first of equals: the defaults come first
    best = tried[winner]
    words = {
        name: f"{values.low:.2g} to {values.high:.2g}"
        if isinstance(values, LogRange)
        else ", ".join(f"{v:g}" for v in values)
        for name, values in space.items()
    }
    search = Search(
        trials=len(tried),
        pruned=sum(one.ended == "pruned" for one in tried),
        failed=sum(one.ended == "failed" for one in tried),
        space=words,
        chosen=best.parameters,
        score=complete[winner],
        default_score=tried[0].score,
        failures=tuple(
            f"trial {number} ({parameters_in_words(one.parameters)}): {one.reason}"
            for number, one in enumerate(tried, 1)
            if one.reason
        ),
    )
    return SearchOutcome(search, sum(one.seconds for one in tried))


def _all_failed(arm: Arm, tried: Sequence[Tried]) -> DivergenceError:
    failed = [one for one in tried if one.reason]
    others = len(tried) - len(failed)
    stopped = f", {others} stopped early" if others else ""
    first = f", the first at {parameters_in_words(failed[0].parameters)}: {failed[0].reason}" if failed else ""
    what = f"no trial came to an end: of {len(tried)}, {len(failed)} failed{stopped}{first}"
    return DivergenceError(what, where=f"arm '{arm.name}', search", fix=f"{lower_rate()}.")
