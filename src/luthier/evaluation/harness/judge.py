"""How lm-eval judges logged answers: its filters, its `process_results` and its aggregations, without a model."""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from lm_eval.api import metrics as theirs
from lm_eval.api.instance import Instance

from luthier.errors import TaskError, first_line
from luthier.evaluation.harness.documents import Document
from luthier.evaluation.harness.items import aggregated_metric
from luthier.evaluation.harness.loading import quiet
from luthier.metrics.metric import Details, FloatArray, Metric, divide
from luthier.metrics.task_metrics import TaskMetrics
from luthier.records import Prediction

Key: TypeAlias = tuple[str, str]
"""A metric and a filter, as lm-eval reports numbers."""
Number: TypeAlias = Any
"""What `process_results` gives: a number where the aggregation is a mean, else whatever the aggregation takes."""

_UNPARSED = "[invalid]"
"""What lm-eval's filters answer where they find nothing."""
_RIGHT_OR_WRONG = frozenset({"acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match"})
_SHARES = _RIGHT_OR_WRONG | {"mcc", "f1", "pct_stereotype"}
"""Metrics whose greatest value is 1."""
_LOWEST = {"mcc": -1.0}


@dataclass(frozen=True)
class Judged:
    """What lm-eval says of one document.

    Attributes:
        numbers: By metric and filter.
        unparsed: Filters that found no answer.
    """

    numbers: Mapping[Key, Number]
    unparsed: frozenset[str]


@dataclass(frozen=True)
class Judge:
    """Judges the answers to a task's documents, each once.

    Attributes:
        task: lm-eval's own.
        documents: What it asked.
    """

    task: Any
    documents: Sequence[Document]
    _known: dict[Hashable, Judged] = field(default_factory=dict, repr=False)

    def judged(self, log: Sequence[Prediction]) -> list[Judged]:
        """Judge predictions, in their order.

        Raises:
            TaskError: When lm-eval cannot.
        """
        marks = [(own.id, own.text, own.choice_logprobs, own.choice_greedy) for own in log]
        fresh = {mark: own for mark, own in zip(marks, log, strict=True) if mark not in self._known}
        if fresh:
            self._known.update(zip(fresh, self._judge(list(fresh.values())), strict=True))
        return [self._known[mark] for mark in marks]

    def marked(self, log: Sequence[Prediction]) -> tuple[Prediction, ...]:
        """Say of each prediction whether the first filter found no answer in it.

        Raises:
            TaskError: When lm-eval cannot.
        """
        first = self.task._filters[0].name
        judged = self.judged(log)
        return tuple(replace(own, unparsed=first in of.unparsed) for own, of in zip(log, judged, strict=True))

    def _judge(self, log: Sequence[Prediction]) -> list[Judged]:
        by_id = {document.id: document for document in self.documents}
        try:
            with quiet():
                asked = [_answered(by_id[own.id], own) for own in log]
                flat = [instance for instances in asked for instance in instances]
                for ensemble in self.task._filters:
                    ensemble.apply(flat)
                return [self._of_document(instances) for instances in asked]
        except Exception as error:  # whatever a filter or a function of the task raises
            said = f"{type(error).__name__}: {first_line(error)}"
            raise TaskError(f"lm-eval cannot judge the answers: {said}", where=log[0].task) from None

    def _of_document(self, instances: Sequence[Any]) -> Judged:
        numbers: dict[Key, Number] = {}
        unparsed = set()
        for name in instances[0].filtered_resps:
            responses = [instance.filtered_resps[name] for instance in instances]
            found = self.task.process_results(instances[0].doc, responses)
            numbers |= {(metric, name): value for metric, value in found.items()}
            if any(isinstance(one, str) and one == _UNPARSED for one in responses):
                unparsed.add(name)
        return Judged(numbers, frozenset(unparsed))


def _answered(document: Document, prediction: Prediction) -> list[Any]:
    """Return lm-eval's requests with the responses that a prediction holds."""
    if len(document.parts) > 1:
        answers = zip(document.parts, parts_of(prediction), strict=True)
        return [instance for part, own in answers for instance in _answered(part, own)]
    found = []
    for number, asked in enumerate(document.instances):
        instance = Instance(asked.request_type, asked.doc, asked.arguments, asked.idx, asked.metadata)
        repeats = asked.repeats or 1
        if document.kind == "loglikelihood":
            answer = (prediction.choice_logprobs[number], prediction.choice_greedy[number])
            instance.resps = [answer] * repeats
        elif document.kind == "loglikelihood_rolling":
            instance.resps = [prediction.choice_logprobs[0]] * repeats
        else:
            instance.resps = responses_of(prediction.text, repeats)
        found.append(instance)
    return found


def responses_as_text(texts: Sequence[str]) -> str:
    """Return the answers to one prompt as the text of a prediction: a JSON list where there are several."""
    return texts[0] if len(texts) == 1 else json.dumps(list(texts), ensure_ascii=False)


def parts_as_text(answers: Sequence[Prediction]) -> str:
    """Return the answers to one document in several ways as text: what is written, and of scores the numbers."""
    scored = [[own.choice_logprobs, own.choice_greedy] if own.choices else own.text for own in answers]
    return json.dumps(scored, ensure_ascii=False)


def parts_of(prediction: Prediction) -> list[Prediction]:
    """Return the answers that :func:`parts_as_text` wrote."""
    return [
        replace(prediction, text=own)
        if isinstance(own, str)
        else replace(prediction, choice_logprobs=tuple(own[0]), choice_greedy=tuple(own[1]))
        for own in json.loads(prediction.text)
    ]


def responses_of(text: str, repeats: int) -> list[str]:
    """Return the answers that :func:`responses_as_text` wrote."""
    return [text] if repeats == 1 else [str(own) for own in json.loads(text)]


def document_chance(judge: Judge) -> float | None:
    """Return the accuracy of random choices, where a task chooses and its first number is an accuracy."""
    task = judge.task
    listed = list(task.aggregation())
    chooses = task.OUTPUT_TYPE == "multiple_choice" and callable(getattr(task.config, "process_results", None)) is False
    if not chooses or not listed or listed[0] not in _RIGHT_OR_WRONG - {"exact_match"}:
        return None
    shares = [len(own.targets) / len(own.choices) for own in judge.documents if own.choices]
    return math.fsum(shares) / len(shares) if shares else None


def harness_metrics(name: str, judge: Judge, log: Sequence[Prediction], chance: float | None) -> TaskMetrics:
    """Return the numbers that a task gives for some answers: those of each filter are numbers of their own.

    The first metric that the task lists, by its first filter, is primary.

    Args:
        name: Of the task.
        judge: Judges it.
        log: The answers.
        chance: Its primary number by guessing, where that is known.

    Raises:
        TaskError: When lm-eval cannot judge them.
    """
    keys = list(dict.fromkeys(key for own in judge.judged(log) for key in own.numbers))
    if not keys:
        raise TaskError("lm-eval gives no number for the answers", where=name, fix="Look at the task's metric_list.")
    listed = {metric: place for place, metric in enumerate(judge.task.aggregation())}
    filters = list(dict.fromkeys(own for _, own in keys))
    keys.sort(key=lambda key: (listed.get(key[0], len(listed)), filters.index(key[1])))
    metrics = tuple(metric_of(judge, key) for key in keys)
    return TaskMetrics(name, metrics, metrics[0].primary, chance)


def metric_of(judge: Judge, key: Key) -> Metric:
    """Return one number of a task as a metric: what it gives for each document, and lm-eval's aggregation of that."""
    metric, of_filter = key
    aggregation = judge.task.aggregation().get(metric, theirs.mean)
    only = [own.name for own in judge.task._filters] == ["none"]
    output = metric if only else f"{metric},{of_filter}"
    default = not callable(getattr(judge.task.config, "process_results", None))
    plain = Metric(
        name=metric,
        outputs=(output,),
        primary=output,
        higher_is_better=bool(judge.task.higher_is_better().get(metric, True)),
        options=f"filter:{of_filter}|aggregation:{getattr(aggregation, '__name__', 'own')}",
        statistics=partial(_statistics, judge, key),
        aggregate=_mean,
        details=_unparsed if not only else _nothing,
        proportion=default and metric in _RIGHT_OR_WRONG and aggregation is theirs.mean,
        scale=1.0 if metric in _SHARES else None,
        lowest=_LOWEST.get(metric, 0.0),
    )
    if aggregation is theirs.mean:
        return plain
    return aggregated_metric(plain, aggregation, partial(_numbers, judge, key))


def _numbers(judge: Judge, key: Key, log: Sequence[Prediction]) -> list[Any]:
    """Return what each document gives for a number; None where it gives nothing."""
    return [own.numbers.get(key) for own in judge.judged(log)]


def _statistics(judge: Judge, key: Key, log: Sequence[Prediction]) -> FloatArray:
    """Return float64 ``(n, 3)``: whether a document gives the number, the number, and whether no answer was found."""
    judged = judge.judged(log)
    try:
        rows = [(key in own.numbers, float(own.numbers.get(key) or 0.0), key[1] in own.unparsed) for own in judged]
    except (TypeError, ValueError):
        what = f"lm-eval's '{key[0]}' is to be averaged, and a document gives no number for it"
        raise TaskError(what, where=log[0].task, fix="Give it an `aggregation` in the task's metric_list.") from None
    return np.asarray(rows, dtype=np.float64)


def _mean(sums: FloatArray) -> FloatArray:
    return divide(sums[..., 1:2], sums[..., :1])


def _unparsed(sums: FloatArray) -> Details:
    return ({"unparsed": float(sums[2] / sums[0])} if sums[0] else {},)


def _nothing(sums: FloatArray) -> Details:
    return ()
