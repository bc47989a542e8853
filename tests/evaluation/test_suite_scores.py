"""The suites' scores: those of lm-eval 0.4.13 on the same documents, and what scripted models must get."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier.config.decoding import DecodingConfig
from luthier.evaluation.prepared_task import generation_settings_of
from luthier.evaluation.requests import encode_requests, predict_all
from luthier.metrics.extraction import extract_again, extract_answers
from luthier.metrics.registry import metric_of_output
from luthier.metrics.scoring import score_predictions
from luthier.metrics.standard_error import standard_error
from luthier.models.load import load_model
from luthier.records import Example, Prediction
from luthier.tasks.loader import load_examples, load_task
from luthier.tasks.schema import Task
from suite_pairs import PAIRS, examples_by_row, joined

pytest.importorskip("lm_eval")

from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM

from lm_eval_local import local_tasks

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")

QUICK = ("mmlu_anatomy", "cola", "wic", "truthfulqa_mc1", "truthfulqa_mc2", "truthfulqa_gen", "gsm8k")
METRICS = {"acc": "accuracy", "mcc": "mcc"}
"""Where lm-eval's number has another name than ours."""
NEW_TOKENS = {"truthfulqa_gen": 48}
"""Tokens of an answer at most, on both sides, where the task's own number leaves no room for the prompt."""
LOGPROB = 2e-4
"""Nats by which a choice's log-probability may differ: the same float32 model, in other batches."""


@pytest.fixture(scope="module")
def models(stories260k: Path) -> Any:
    """The model of both sides."""
    model = load_model(str(stories260k), device="cpu")
    return model, HFLM(pretrained=model.module, tokenizer=model.tokenizer, batch_size=8)


def _ours(name: str, model: Any, data: Path, rows: list[int]) -> tuple[Task, dict[int, Prediction]]:
    """Answer the rows that fit the model whole; of others lm-eval cuts the head, and we the input text."""
    task = load_task(name, data)
    by_row = examples_by_row(task)
    examples = [by_row[row] for row in rows]
    encoder, settings = joined(model, task, model.max_length), generation_settings_of(task, DecodingConfig())
    settings = replace(settings, new_tokens=NEW_TOKENS.get(name, settings.new_tokens))
    requests, _ = encode_requests(examples, encoder, new_tokens=settings.new_tokens)
    requests = [request for request in requests if not any(item.cut_tokens for item in request.items)]
    answered = {
        one.id: one for batch in predict_all(model, encoder, requests, settings, batch_tokens=4096) for one in batch
    }
    by_place = zip(rows, examples, strict=True)
    return task, {row: answered[example.id] for row, example in by_place if example.id in answered}


def _compare(name: str, limit: int, models: Any, data: Path, folder: Path) -> None:
    model, theirs = models
    tasks = local_tasks([PAIRS[name]], limit, data=data, folder=folder, shots=0)
    if name in NEW_TOKENS:
        tasks[PAIRS[name]].set_config(key="generation_kwargs", value={"max_gen_toks": NEW_TOKENS[name]}, update=True)
    found = evaluate(lm=theirs, task_dict=dict(tasks), bootstrap_iters=0, log_samples=True)
    samples, results = found["samples"][PAIRS[name]], found["results"][PAIRS[name]]
    filters = list(dict.fromkeys(sample["filter"] for sample in samples))
    first = sorted((one for one in samples if one["filter"] == filters[0]), key=lambda one: one["doc_id"])
    rows = [one["doc"]["row_number"] for one in first]
    task, answered = _ours(name, model, data, rows)
    assert answered
    for sample, row in zip(first, rows, strict=True):
        if row in answered:
            _same_answer(sample, answered[row])
    if len(answered) < len(rows):
        return
    predictions = [answered[row] for row in rows]
    extracted = {filters[0]: extract_answers(predictions, task.extraction)}
    others = zip(filters[1:], task.other_extractions.values(), strict=True)
    extracted |= {other: extract_again(predictions, extraction) for other, extraction in others}
    for way, scored in extracted.items():
        for score in score_predictions(scored, task.metrics, resamples=0):
            _same_number(score.metric, score.value, results, way, task, scored)


def _same_answer(sample: Any, own: Prediction) -> None:
    if not own.choices:
        assert own.text.strip() == sample["resps"][0][0].strip()
        return
    logprobs = np.array([float(response[0][0]) for response in sample["resps"]])
    assert np.abs(logprobs - own.choice_logprobs).max() <= LOGPROB
    margin = np.diff(np.sort(logprobs))[-1]
    assert own.text == own.choices[int(np.argmax(logprobs))] or margin < 2 * LOGPROB


def _same_number(
    metric: str, value: float, results: Any, way: str, task: Task, predictions: tuple[Prediction, ...]
) -> None:
    names = {"accuracy": "acc", "truth_mass": "acc", "accuracy_by_characters": "acc_norm"}
    key = f"{names.get(metric, metric)},{way}"
    if key not in results:
        return
    assert value == pytest.approx(results[key], abs=1e-6 if metric == "truth_mass" else 1e-12)
    error = results[f"{names.get(metric, metric)}_stderr,{way}"]
    if isinstance(error, float) and metric != "mcc" and not task.group_template and task.group_column is None:
        own = standard_error(predictions, metric_of_output(metric), [metric])
        assert own == pytest.approx(error, abs=1e-6 if metric == "truth_mass" else 1e-12)


@pytest.mark.parametrize("name", QUICK)
def test_a_few_scores_are_those_of_lm_eval(name: str, models: Any, shared_data: Path, tmp_path: Path) -> None:
    _compare(name, 6, models, shared_data, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PAIRS if not name.startswith(("bbh", "bbq"))])
def test_scores_are_those_of_lm_eval(name: str, models: Any, shared_data: Path, tmp_path: Path) -> None:
    _compare(name, 20, models, shared_data, tmp_path)


# Scripted models: what a model that knows everything, nothing, or one answer alone must get.

CLOSED = ("mmlu_anatomy", "cola", "sst2", "boolq", "cb", "wic", "wsc", "truthfulqa_mc1", "winogender", "bbq_age")


def _scripted(examples: list[Example], logprobs: Callable[[Example], list[float]]) -> list[Prediction]:
    found = []
    for example in examples:
        own = logprobs(example)
        text = example.choices[int(np.argmax(own))]
        found.append(
            Prediction(
                example.id,
                example.task,
                text,
                example.targets,
                choices=example.choices,
                choice_logprobs=tuple(own),
                choice_tokens=(1,) * len(own),
                finish="choice",
                group=example.group,
            )
        )
    return found


def _primary(task: Task, predictions: list[Prediction]) -> Any:
    scores = score_predictions(predictions, task.metrics, resamples=200)
    return next(score for score in scores if score.metric == task.primary)


@pytest.mark.parametrize("name", CLOSED)
def test_a_perfect_model_gets_everything(name: str, shared_data: Path) -> None:
    task = load_task(name, shared_data)
    examples = load_examples(task, "test", limit=300, evaluation=True)
    perfect = _scripted(examples, lambda one: [0.0 if choice in one.targets else -9.0 for choice in one.choices])
    assert _primary(task, perfect).value == pytest.approx(1.0)


@pytest.mark.parametrize("name", CLOSED)
def test_a_model_that_draws_gets_chance(name: str, shared_data: Path) -> None:
    task, draw = load_task(name, shared_data), np.random.default_rng(0)
    examples = load_examples(task, "test", limit=2000, evaluation=True)
    drawn = _scripted(examples, lambda one: draw.normal(size=len(one.choices)).tolist())
    error = standard_error(drawn, metric_of_output(task.primary), [task.primary])
    assert task.chance is not None
    assert abs(_primary(task, drawn).value - task.chance) < 3 * error


@pytest.mark.parametrize("name", ["cola", "sst2", "boolq", "wic", "wsc"])
def test_a_model_with_one_answer_gets_its_share(name: str, shared_data: Path) -> None:
    task = load_task(name, shared_data)
    examples = load_examples(task, "test", limit=500, evaluation=True)
    label = examples[0].targets[0]
    constant = _scripted(examples, lambda one: [0.0 if choice == label else -9.0 for choice in one.choices])
    share = math.fsum(example.targets[0] == label for example in examples) / len(examples)
    by_name = {score.metric: score.value for score in score_predictions(constant, ["accuracy", "mcc"], resamples=0)}
    assert by_name == {"accuracy": pytest.approx(share), "mcc": 0.0}
