"""HELM's seven for a task that was answered: the perturbed versions are answered too, the rest is read off the log."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from luthier.config.evaluation import ScoringConfig
from luthier.config.helm import HelmConfig
from luthier.evaluation.jobs import EvaluationJob
from luthier.evaluation.perturbations.perturbation import Kind, Perturbation
from luthier.evaluation.perturbed_tasks import PerturbedTask, perturbations_of, perturbed_tasks
from luthier.evaluation.prepared_task import PreparedTask
from luthier.evaluation.run import PredictionLog, read_log
from luthier.evaluation.social_answers import social_scores
from luthier.metrics.choice.helm_calibration import WANTED
from luthier.metrics.registry import get_metric
from luthier.metrics.scoring import score_predictions
from luthier.metrics.seed_runs import Log
from luthier.metrics.social.toxicity_scorer import find_scorer
from luthier.metrics.task_metrics import TaskMetrics
from luthier.records import Prediction, Score
from luthier.results.change import Change
from luthier.results.scores import change, score
from luthier.results.seven import Efficiency, Perturbed, Seven, WorstCase
from luthier.results.worst_case import all_versions, worst_versions

CALIBRATION = ("helm_ece", "helm_selective")
WATTS_OF_A_THREAD, WATTS_OF_AN_ACCELERATOR = 10.0, 300.0

Answer = Callable[[PreparedTask, str], EvaluationJob]
"""Answers a task under a label; the job that it returns is finished."""


@dataclass(frozen=True)
class HelmMeter:
    """Measures the seven of one task after another.

    Attributes:
        config: What is measured.
        scoring: Level and resamples of intervals.
        perturbations: All that are asked for.
        device: Where the model is: its power is assumed from that.
    """

    config: HelmConfig
    scoring: ScoringConfig
    perturbations: tuple[Perturbation, ...]
    device: torch.device

    def measure(
        self,
        prompted: PreparedTask,
        log: PredictionLog,
        scores: Sequence[Score],
        signature: Mapping[str, str],
        ask: Answer,
    ) -> Seven:
        """Measure one task.

        Args:
            prompted: The task as it was answered, exemplars included.
            log: The answers.
            scores: Their scores, the primary one first.
            signature: What a score depends on besides the metric.
            ask: Answers the perturbed versions.
        """
        notes: list[str] = []
        versions = self._versions(prompted, ask)
        _note_unchanged(versions, notes)
        judged = _Judged(prompted, log.predictions, self.scoring, signature, self.config.seed)
        return Seven(
            scenario=prompted.task.name,
            higher_is_better=prompted.metrics.higher_is_better,
            accuracy=scores[0],
            calibration=self._calibration(log.predictions, signature, notes),
            robustness=judged.worst_case([one for one in versions if one.name in self.config.robustness]),
            fairness=judged.worst_case([one for one in versions if one.name in self.config.fairness]),
            perturbed=tuple(judged.perturbed(one) for one in versions),
            bias=self._of_texts(prompted, log.predictions, self.config.bias, signature, notes),
            toxicity=self._of_texts(prompted, log.predictions, (self._toxicity,), signature, []),
            social=social_scores(prompted.task, log.predictions),
            efficiency=self._efficiency(log),
            notes=tuple(notes),
        )

    @property
    def _toxicity(self) -> str:
        return f"toxicity:scorer={self.config.toxicity}"

    def _versions(self, prompted: PreparedTask, ask: Answer) -> list[_Version]:
        """Answer every perturbed version of the items."""
        found = []
        for own in perturbed_tasks(prompted, self.perturbations, seed=self.config.seed):
            job = ask(own.prepared, f"{prompted.task.name}, {own.perturbation.name}")
            found.append(_Version(own, read_log(job).predictions, len(job.dropped)))
        return found

    def _calibration(self, log: Log, signature: Mapping[str, str], notes: list[str]) -> tuple[Score, ...]:
        if not all(prediction.choice_logprobs for prediction in log):
            notes.append(
                "Calibration is not measured: the answers are free text, and have no probabilities of choices."
            )
            return ()
        if len(log) < WANTED:
            notes.append(f"Calibration wants {WANTED} items or more; these are {len(log)}.")
        return self._scores(log, CALIBRATION, signature)

    def _of_texts(
        self, prompted: PreparedTask, log: Log, metrics: Sequence[str], signature: Mapping[str, str], notes: list[str]
    ) -> tuple[Score, ...]:
        """Score what texts say; choices say nothing of the model's own, and our words are English."""
        if any(prediction.choices for prediction in log):
            notes.append("Bias and toxicity are not measured: the answers are choices, not texts of the model's own.")
            return ()
        if prompted.task.language.split("-")[0] != "en":
            notes.append(f"Bias and toxicity are not measured: the answers are in '{prompted.task.language}'.")
            return ()
        return self._scores(whole_texts(log), metrics, signature)

    def _scores(self, log: Log, metrics: Sequence[str], signature: Mapping[str, str]) -> tuple[Score, ...]:
        confidence, resamples = self.scoring.confidence, self.scoring.resamples
        found = score_predictions(log, metrics, context=signature, confidence=confidence, resamples=resamples)
        return tuple(found)

    def _efficiency(self, log: PredictionLog) -> Efficiency:
        watts, assumption = assumed_power(self.config.watts, self.device)
        return Efficiency(
            seconds=log.seconds,
            examples=len(log.predictions),
            prompt_tokens=sum(prediction.prompt_tokens for prediction in log.predictions),
            answer_tokens=sum(own.generated_tokens + sum(own.choice_tokens) for own in log.predictions),
            watts=watts,
            assumption=assumption,
            cached=log.cached,
        )


def helm_meter(config: HelmConfig, scoring: ScoringConfig, device: torch.device) -> HelmMeter:
    """Read word lists and the classifier of toxicity now, so that what is wrong is told before any answer.

    Raises:
        LuthierError: A list or the classifier cannot be used.
    """
    find_scorer(config.toxicity)
    for name in config.bias:
        get_metric(name)
    return HelmMeter(config, scoring, perturbations_of(config), device)


def assumed_power(given: float | None, device: torch.device) -> tuple[float, str]:
    """Return the power that is assumed, in watts, and the assumption in words."""
    if given is not None:
        return given, f"{given:g} W, as given"
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return WATTS_OF_A_THREAD * threads, f"{WATTS_OF_A_THREAD:g} W for each CPU thread, {threads} in use"
    return WATTS_OF_AN_ACCELERATOR, f"{WATTS_OF_AN_ACCELERATOR:g} W for an accelerator ({device.type})"


def whole_texts(log: Log) -> list[Prediction]:
    """Return generated texts as the model wrote them, where an answer was taken out of them."""
    return [own if own.generated is None else replace(own, text=own.generated, generated=None) for own in log]


@dataclass(frozen=True)
class _Version:
    """A perturbed version of the items, answered.

    Attributes:
        task: The perturbed task.
        log: The answers.
        dropped: Items that do not fit.
    """

    task: PerturbedTask
    log: tuple[Prediction, ...]
    dropped: int

    @property
    def name(self) -> str:
        """Name of the perturbation."""
        return self.task.perturbation.name

    @property
    def kind(self) -> Kind:
        """What it asks after."""
        return self.task.perturbation.kind


@dataclass(frozen=True)
class _Judged:
    """The original answers, to which those of perturbed versions are held."""

    prompted: PreparedTask
    original: tuple[Prediction, ...]
    scoring: ScoringConfig
    signature: Mapping[str, str]
    seed: int

    def worst_case(self, versions: Sequence[_Version]) -> WorstCase | None:
        """Take the worst of the versions of each item; None where no version changes any item."""
        changed = frozenset[str]().union(*(one.task.changed for one in versions))
        if not changed:
            return None
        metrics, logs = self.prompted.metrics, [one.log for one in versions]
        worst = worst_versions(self.original, logs, metrics)
        context = self._context(versions)
        return WorstCase(
            over=tuple(one.name for one in versions),
            score=score(worst, metrics, self.scoring, context | {"of": "worst"})[0],
            loss=_of_worst(change(worst, self.original, metrics, self.scoring), metrics),
            mean=score(all_versions([self.original, *logs]), metrics, self.scoring, context | {"of": "all"})[0],
            changed=len(changed),
        )

    def perturbed(self, version: _Version) -> Perturbed:
        """Score one perturbed version, against the original of the same items."""
        metrics, own = self.prompted.metrics, {prediction.id for prediction in version.log}
        known = {prediction.id for prediction in self.original}
        log = [prediction for prediction in version.log if prediction.id in known]
        before = [prediction for prediction in self.original if prediction.id in own]
        perturbation = version.task.perturbation
        return Perturbed(
            name=perturbation.name,
            kind=perturbation.kind,
            signature=perturbation.signature,
            changed=len(version.task.changed),
            dropped=version.dropped,
            score=score(log, metrics, self.scoring, self._context([version]))[0],
            loss=change(log, before, metrics, self.scoring),
        )

    def _context(self, versions: Sequence[_Version]) -> dict[str, str]:
        named = "+".join(f"{one.name}({one.task.perturbation.signature})" for one in versions)
        return {**self.signature, "perturbed": named, "perturbation-seed": str(self.seed)}


def _of_worst(loss: Change, metrics: TaskMetrics) -> Change:
    """Return the loss of a worst case: no gain, so that its interval ends at 0 and no test has a meaning.

    A number that is not a mean (BLEU, Matthews' correlation) may rise all the same; the interval then ends at that.
    """
    if metrics.higher_is_better:
        loss = replace(loss, high=min(loss.high, max(loss.value, 0.0)))
    else:
        loss = replace(loss, low=max(loss.low, min(loss.value, 0.0)))
    return replace(loss, p_value=math.nan, significant=False, detectable=None)


def _note_unchanged(versions: Sequence[_Version], notes: list[str]) -> None:
    """Say which perturbations change no item: their worst case is not measured, or is that of the others."""
    idle = [one.name for one in versions if not one.task.changed]
    if idle:
        notes.append(f"No item is changed by: {', '.join(idle)}.")
