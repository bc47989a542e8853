"""The same tasks of lm-eval by its own `simple_evaluate` with the ``hf`` model, and by ours; and what must be equal.

The same tokens of every request, |Δlogprob| ≤ 2e-4 (or five millionths, where
that is more: sums in another order), the same likeliest answers and generations. Numbers are judged from
*their* responses, so that they must agree to 1e-12.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lm_eval
import numpy as np
import pytest
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from luthier.config.decoding import DecodingConfig
from luthier.config.evaluate import EvaluateConfig
from luthier.config.evaluation import EngineConfig
from luthier.evaluation.harness.judge import harness_metrics
from luthier.evaluation.harness.loading import quiet
from luthier.evaluation.harness.task import HarnessTask
from luthier.experiments.evaluate import evaluate
from luthier.experiments.evaluated import Evaluated
from luthier.metrics.metric import Metric
from luthier.records import Prediction


class RecordingHF(HFLM):  # type: ignore[misc]  # lm-eval has no types
    """Their model, which notes the tokens that it reads."""

    def __init__(self, model: Path) -> None:
        place, file = (model.parent, model.name) if model.suffix == ".gguf" else (model, None)
        super().__init__(pretrained=str(place), gguf_file=file, device="cpu", dtype="float32", batch_size=8)
        self.scored: dict[tuple[str, str], tuple[list[int], list[int]]] = {}
        self.windows: list[tuple[list[int], list[int]]] = []
        self.read: list[list[int]] = []

    def _loglikelihood_tokens(self, requests: Any, **options: Any) -> Any:
        for asked, context, answer in requests:
            whole = (context + answer)[-(self.max_length + 1) :]  # as they cut it
            read = whole[: len(whole) - len(answer)] if self.backend == "causal" else context[-self.max_length :]
            if asked is None:
                self.windows.append((read, answer))
            else:
                self.scored[asked] = (read, answer)
        return super()._loglikelihood_tokens(requests, **options)

    def _model_generate(self, context: Any, max_length: int, stop: Any, **options: Any) -> Any:
        self.read += [row[mask.bool()].tolist() for row, mask in zip(context, options["attention_mask"], strict=True)]
        return super()._model_generate(context, max_length, stop, **options)


@dataclass
class Both:
    """What both gave for some tasks."""

    theirs: dict[str, Any]
    hf: RecordingHF
    ours: dict[str, Evaluated]
    tasks: dict[str, HarnessTask]


def run_both(names: Sequence[str], tasks: Path, model: Path, runs: Path, *, new_tokens: int = 12) -> Both:
    """Evaluate the tasks and groups that the YAMLs of a folder hold, by both."""
    hf = RecordingHF(model)
    with quiet():
        theirs = lm_eval.simple_evaluate(
            model=hf,
            tasks=list(names),
            task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
            gen_kwargs={"max_gen_toks": new_tokens},
            bootstrap_iters=0,
        )
    config = EvaluateConfig(
        model=str(model),
        tasks=tuple(f"lm_eval:{tasks}/{name}.yaml" for name in names),
        runs=runs,
        device="cpu",
        decoding=DecodingConfig(max_new_tokens=new_tokens),
        evaluation=EngineConfig(resamples=100),
    )
    found = {own.task.name.removeprefix("lm_eval:"): own for own in evaluate(config)}
    ready = {name: own.task for name, own in found.items() if isinstance(own.task, HarnessTask)}
    return Both(theirs, hf, found, ready)


def check(both: Both, name: str) -> None:
    """Check everything about a task."""
    check_tokens(both, name)
    check_answers(both, name)
    check_numbers(both, name)


def check_tokens(both: Both, name: str) -> None:
    """Every token that is read, and every one that is scored."""
    task = both.tasks[name]
    assert not task.dropped
    for own in task.requests:
        if own.writing is not None:
            assert own.request.items[0].prompt_ids.tolist() in both.hf.read
            continue
        read = [(item.prompt_ids.tolist(), item.target_ids.tolist()) for item in own.request.items]
        if own.document.kind == "loglikelihood_rolling":
            assert read
            assert all(window in both.hf.windows for window in read)
            assert sum(len(target) for _, target in read) == len(both.hf.tok_encode(own.document.instances[0].args[0]))
        else:
            assert read == [both.hf.scored[instance.args] for instance in own.document.instances]


def check_answers(both: Both, name: str) -> None:
    """Every log-probability, every choice, every generation."""
    samples = {sample["doc_id"]: sample for sample in both.theirs["samples"][name]}
    log = both.ours[name].log.predictions
    assert len(samples) == len(log) == both.ours[name].scores[0].n
    for number, own in enumerate(log):
        responses = [resps[0] for resps in samples[number]["resps"]]
        if not own.choices:
            # Of an encoder-decoder they count the prompt in the limit of an answer, and go on where ours has ended.
            assert responses[0] == own.text or (both.hf.backend == "seq2seq" and responses[0].startswith(own.text))
            continue
        if isinstance(responses[0], float):
            assert own.choice_logprobs == pytest.approx(responses, abs=1e-3)
            continue
        expected = [logprob for logprob, _ in responses]
        assert own.choice_logprobs == pytest.approx(expected, abs=2e-4, rel=5e-6)
        assert list(own.choice_greedy) == [greedy for _, greedy in responses]
        best, second = sorted(expected, reverse=True)[:2] if len(expected) > 1 else (0.0, -math.inf)
        assert best - second < 4e-4 or int(np.argmax(own.choice_logprobs)) == int(np.argmax(expected))


def check_numbers(both: Both, name: str) -> None:
    """Every number of every filter, from their responses: their means, and what each document gives."""
    task, results = both.tasks[name], both.theirs["results"][name]
    samples = list(both.theirs["samples"][name])
    log = [as_prediction(own, samples) for own in task.requests]
    metrics = [own for own in harness_metrics(task.name, task.judge, log, None).metrics if isinstance(own, Metric)]
    found = {}
    for metric in metrics:
        of_filter = metric.options.removeprefix("filter:").partition("|")[0]
        found[f"{metric.name},{of_filter}"] = float(metric.evaluate(metric.statistics(log))[0])
    expected = {key: value for key, value in results.items() if "," in key and "_stderr" not in key}
    assert found == {key: pytest.approx(value, rel=1e-12, abs=1e-12, nan_ok=True) for key, value in expected.items()}


def as_prediction(own: Any, samples: Sequence[dict[str, Any]]) -> Prediction:
    place = int(own.document.id.rpartition("#")[2])
    resps = [one[0] for one in next(one for one in samples if one["doc_id"] == place)["resps"]]
    if own.writing is not None:
        return Prediction(own.blank.id, own.blank.task, resps[0], own.blank.targets)
    logprobs, greedy = (resps, ()) if isinstance(resps[0], float) else zip(*resps, strict=True)
    choices = own.request.example.choices
    return Prediction(
        own.blank.id,
        own.blank.task,
        choices[0],
        own.blank.targets,
        choices,
        tuple(logprobs),
        choice_greedy=tuple(greedy),
    )
