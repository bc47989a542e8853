"""Say what a comparison will take before it is spent: each kind of work is timed for a moment, the rest is arithmetic.

Whatever is timed leaves the model as it was, and torch's random state too. Nothing is written. What lies in the store
costs nothing. Reading the model and writing the report are not counted.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from luthier.evaluation.timed_answers import Asked, WritingRates, Written, time_scoring, time_writing
from luthier.experiments.estimate import Lengths, between, lengths_of, timing_seconds, wall_seconds, writing_seconds
from luthier.experiments.libraries import import_lazy_libraries
from luthier.experiments.plan import Plan
from luthier.experiments.questions import Questions, Way, asked_in, asked_in_draw, asked_in_validation
from luthier.experiments.workload import UnitWork, count_arms, count_work, validations_of
from luthier.kernels.peak_memory import reset_peak
from luthier.methods.merging import Mergeable
from luthier.records import Encoded
from luthier.results.forecast import ArmForecast, Forecast
from luthier.training.checkpoint import steps_taken
from luthier.training.job import TrainingJob
from luthier.training.stream import count_tokens
from luthier.training.timed_step import StepRates, random_state_kept, time_step

_SCORED_AT_MOST = 512
"""Requests from which those that are scored for a measurement are taken."""


@dataclass(frozen=True)
class Rates:
    """What answering takes with the model as it stands, and how long its answers are.

    Attributes:
        writing: Of answers; None where none are written.
        scoring: Seconds for each unit of the work of scoring choices or texts, as far as they are scored.
        lengths: Of what was written, by the name of the task.
    """

    writing: WritingRates | None = None
    scoring: Mapping[Way, float] = field(default_factory=dict)
    lengths: Mapping[str, Lengths] = field(default_factory=dict)


def forecast(plan: Plan) -> Forecast:
    """Say what a comparison will take.

    Raises:
        DivergenceError: The loss of an arm is not finite before it is trained.
    """
    started = time.monotonic()
    work = count_work(plan)
    if not all(item.found for item in work):
        import_lazy_libraries()
    with random_state_kept():
        meter = _Meter(plan, work)
        seconds = {item.unit.name: 0.0 if item.found else meter.seconds(item) for item in work}
    arms = tuple(
        ArmForecast(
            counts,
            sum(seconds[item.unit.name] for item in work if item.unit.arm == counts.name),
            sum(
                seconds[item.unit.name]
                for item in work
                if item.unit.arm == counts.name and item.unit.kind in ("search", "train")
            ),
            meter.peak_bytes(counts.name),
        )
        for counts in count_arms(plan, work)
    )
    workers = plan.config.workers
    wall = wall_seconds([item.unit for item in work], seconds, workers=workers)
    return Forecast(plan.target.task.name, arms, wall, workers, time.monotonic() - started)


@dataclass(frozen=True)
class _Trained:
    """What was measured of a trained arm: its steps if any is left, how it answers, and whether it can be merged."""

    steps: StepRates | None
    rates: Rates
    merges: bool


class _Meter:
    """Measures what a plan's units of work take, each state of the model once.

    Args:
        plan: What was read and checked.
        work: All of its units.
    """

    def __init__(self, plan: Plan, work: Sequence[UnitWork]) -> None:
        self._plan = plan
        self._work = work
        self._budget = plan.config.evaluation.batch_tokens
        self._base: dict[tuple[str, int], Rates] = {}  # by what is asked, and the number of exemplars
        self._trained: dict[str, _Trained] = {}

    def peak_bytes(self, arm: str) -> int | None:
        """Return the peak memory of an arm's passes; None where they were not timed."""
        found = self._trained.get(arm)
        return found.steps.peak_bytes if found is not None and found.steps is not None else None

    def seconds(self, work: UnitWork) -> float:
        """Return what a unit of work takes."""
        unit = work.unit
        if unit.kind in ("search", "train"):
            assert work.training is not None
            return self._training(work, work.training)
        if unit.kind == "time":
            return self._timing(work)
        rates, lengths = self._rates(work), self._lengths(work)
        return sum(self._answering(own, rates, lengths.get(own.task)) for own in asked_in(self._plan, work))

    def _training(self, work: UnitWork, job: TrainingJob[Encoded]) -> float:
        """Return what the rest of a training takes; of a search, all its trials to their ends."""
        arm, searched = self._plan.arm(work.unit.arm), work.unit.kind == "search"
        searching = any(item.unit.kind == "search" and not item.found for item in self._of(arm.name))
        if searching and work.unit.seed == arm.seeds[0]:
            return 0.0  # the winner of a search was trained in it, with the first seed
        measured = self._of_arm(arm.name)
        assert measured.steps is not None
        done = 0 if searched else steps_taken(job.entry(self._plan.config.runs).work)
        left = job.stream.steps - done
        seconds = measured.steps.seconds(left, count_tokens(job.stream, job.recipe.objective, first=done))
        drawn, updates = asked_in_draw(self._plan, job)
        for own in drawn:
            seconds += left / updates * self._answering(own, measured.rates, measured.rates.lengths.get(own.task))
        validations = validations_of(job) * left / job.stream.steps
        if validations:
            seconds += validations * self._validation(job, measured.steps, measured.rates)
        return seconds * (self._plan.config.search.trials if searched else 1)

    def _validation(self, job: TrainingJob[Encoded], steps: StepRates, rates: Rates) -> float:
        """Return what one validation takes: answers go from those of the untrained arm to such as the references."""
        seconds = steps.forward * sum(job.recipe.objective.tokens(record) for record in job.validation.records)
        for own in asked_in_validation(self._plan, job):
            untrained = rates.lengths.get(own.task)
            lengths = between(untrained, own.as_references(self._plan.model)) if untrained is not None else None
            seconds += self._answering(own, rates, lengths)
        return seconds

    def _timing(self, work: UnitWork) -> float:
        """Return what timing single requests takes."""
        first = self._whole(work)[0]
        one = replace(first, items=first.items[:1], references=first.references[:1], batches=lambda _: [(0,)])
        arm = self._plan.arm(work.unit.arm)
        merges = arm.method is not None and self._of_arm(arm.name).merges
        request = self._answering(one, self._rates(work), self._lengths(work).get(first.task))
        return timing_seconds(request, merges=merges)

    def _answering(self, own: Questions, rates: Rates, lengths: Lengths | None = None) -> float:
        model = self._plan.model
        if own.way != "written":
            return rates.scoring[own.way] * own.scored_work(model)
        assert rates.writing is not None
        known = lengths or own.as_references(model)
        return writing_seconds(rates.writing, own.written_batches(model, self._budget), known)

    def _rates(self, work: UnitWork) -> Rates:
        """Return how the model of a unit answers."""
        arm = self._plan.arm(work.unit.arm) if work.unit.arm else None
        if arm is not None and arm.method is not None:
            return self._of_arm(arm.name).rates
        return self._of_base(work)

    def _lengths(self, work: UnitWork) -> Mapping[str, Lengths]:
        """Return how long answers were, by task: of a trained arm only where it was not trained.

        A trained arm answers its own task as the references do, which the untrained one does not.
        """
        if work.unit.seed is None:
            return self._of_base(work).lengths
        base = next((item for item in self._work if item.unit.kind == "retain" and not item.unit.arm), None)
        return self._of_base(base).lengths if work.unit.kind == "retain" and base is not None else {}

    def _of_base(self, work: UnitWork) -> Rates:
        unit = work.unit
        of_target = unit.kind in ("evaluate", "time")
        key = ("target", self._plan.arm(unit.arm).shots) if of_target else (unit.kind, 0)
        if key not in self._base:
            self._base[key] = self._measured(self._whole(work))
        return self._base[key]

    def _whole(self, work: UnitWork) -> list[Questions]:
        return asked_in(self._plan, work, whole=True)

    def _of(self, arm: str) -> list[UnitWork]:
        return [item for item in self._work if item.unit.arm == arm]

    def _of_arm(self, name: str) -> _Trained:
        """Attach an untrained instance of an arm's method, and measure it; once for each arm."""
        if name not in self._trained:
            own, model = self._of(name), self._plan.model
            job = next(item.training for item in own if item.training is not None)
            trains = any(not item.found for item in own if item.training is not None)
            kinds: dict[str, UnitWork] = {item.unit.kind: item for item in own if item.jobs}
            reset_peak(model.device)
            attached = job.method.attach(model, job.settings, seed=job.recipe.seed)
            try:
                steps = time_step(model, attached, job) if trains else None
                in_place = isinstance(attached, Mergeable) and attached.in_place
                rates = None if in_place else self._measured(self._asked_of(kinds))
            finally:
                attached.detach()
            # A whole model that is trained computes as the base does.
            rates = rates or self._of_whole(kinds)
            self._trained[name] = _Trained(steps, rates, isinstance(attached, Mergeable) and not attached.in_place)
        return self._trained[name]

    def _of_whole(self, kinds: Mapping[str, UnitWork]) -> Rates:
        """Return how the base answers what an arm is asked."""
        target = self._of_base(kinds["evaluate"])
        if "retain" not in kinds:
            return target
        other = self._of_base(kinds["retain"])
        return replace(target, writing=target.writing or other.writing, scoring={**other.scoring, **target.scoring})

    def _asked_of(self, kinds: Mapping[str, UnitWork]) -> list[Questions]:
        """Return what a trained arm is measured by: its task, and others for the ways in which that is not answered."""
        asked = [own for kind in ("evaluate", "retain") if kind in kinds for own in self._whole(kinds[kind])]
        target = self._plan.target.task.name
        of_target = {own.way for own in asked if own.task == target}
        return [own for own in asked if own.task == target or own.way not in of_target]

    def _measured(self, asked: Sequence[Questions]) -> Rates:
        """Measure how the model answers some questions, as it stands."""
        ways = {way: [own for own in asked if own.way == way] for way in dict.fromkeys(own.way for own in asked)}
        written = ways.pop("written", [])
        scoring = {way: self._scoring(own) for way, own in ways.items()}
        if not written:
            return Rates(None, scoring)
        mixed = _in_turns(written)
        prompts = [prompt for _, prompt in mixed]
        sample = time_writing(self._plan.model, prompts, budget=self._budget)
        of_task: dict[str, list[Written]] = {}
        for own in sample.written:
            of_task.setdefault(mixed[own.place][0], []).append(own)
        return Rates(sample.rates, scoring, {task: lengths_of(own) for task, own in of_task.items()})

    def _scoring(self, scored: Sequence[Questions]) -> float:
        """Measure scoring on neighbours in the first batch of the largest questions."""
        first = max(scored, key=lambda own: sum(map(len, own.items)))
        some = first.batches(range(len(first.items)))[0][:_SCORED_AT_MOST]
        return time_scoring(self._plan.model, [first.items[place] for place in some], budget=self._budget)


def _in_turns(written: Sequence[Questions]) -> list[tuple[str, Asked]]:
    """Return prompts of several tasks in turns, each with the name of its task."""
    turns = itertools.zip_longest(*([(own.task, prompt) for prompt in own.asked] for own in written))
    return [item for turn in turns for item in turn if item is not None]
