"""Tasks of lm-eval in this process give what `lm_eval.simple_evaluate` gives with its ``hf`` model.

On a real pretrained model and on real files: the same tokens of every request, |Δlogprob| ≤ 2e-4, the same answers and
generations. Numbers are judged from *their* responses, so that they must agree to 1e-12.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lm_eval")

import lm_eval
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from lm_eval_local import write_tasks
from luthier.config.evaluate import EvaluateConfig
from luthier.evaluation.harness.documents import HarnessSettings
from luthier.evaluation.harness.judge import harness_metrics
from luthier.evaluation.harness.loading import load_tasks, quiet
from luthier.evaluation.harness.task import HarnessTask, prepare_task
from luthier.evaluation.harness.tokens import RequestEncoder
from luthier.experiments.evaluate import Evaluated, evaluate
from luthier.metrics.metric import Metric
from luthier.models.load import load_model
from luthier.records import Prediction

NEW_TOKENS = 24
CHOICES = [
    *("mmlu_anatomy", "mmlu_astronomy", "cola", "sst2", "boolq", "cb", "sglue_rte", "wic", "wsc"),
    *(
        "truthfulqa_mc1",
        "truthfulqa_mc2",
        "bbq",
        "crows_pairs_english",
        "winogender_all",
        "bigbench_navigate_multiple_choice",
    ),
]
WRITTEN = ["gsm8k", "bbh_fewshot_boolean_expressions", "bbh_cot_zeroshot_navigate", "bbh_cot_fewshot_ruin_names"]
MORE = [
    *("mmlu_abstract_algebra", "mmlu_high_school_world_history", "mmlu_moral_scenarios", "rte", "wnli"),
    *("bbq_ambig", "bbq_disambig", "bbq_generate", "winogender_gotcha", "winogender_female", "truthfulqa_gen"),
    *(
        "gsm8k_cot",
        "bbh_zeroshot_word_sorting",
        "bbh_fewshot_sports_understanding",
        "bbh_cot_fewshot_date_understanding",
    ),
    "bigbench_ruin_names_multiple_choice",
]


class RecordingHF(HFLM):  # type: ignore[misc]  # lm-eval has no types
    """Their model, which notes the tokens that it reads."""

    def __init__(self, folder: Path) -> None:
        super().__init__(pretrained=str(folder), device="cpu", dtype="float32", batch_size=8)
        self.scored: dict[tuple[str, str], tuple[list[int], list[int]]] = {}
        self.read: list[list[int]] = []

    def _loglikelihood_tokens(self, requests: Any, **options: Any) -> Any:
        for asked, context, answer in requests:
            whole = (context + answer)[-(self.max_length + 1) :]  # as they cut it
            self.scored[asked] = (whole[: len(whole) - len(answer)], answer)
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
    tasks: dict[str, HarnessTask] = field(default_factory=dict)


def run_both(names: Sequence[str], limit: int, model: Path, data: Path, folder: Path) -> Both:
    write_tasks(names, limit, data=data, folder=folder / "tasks")
    hf = RecordingHF(model)
    with quiet():
        theirs = lm_eval.simple_evaluate(
            model=hf,
            tasks=list(names),
            task_manager=TaskManager(include_path=str(folder / "tasks"), include_defaults=False),
            gen_kwargs={"max_gen_toks": NEW_TOKENS},
            bootstrap_iters=0,
        )
    config = EvaluateConfig(
        model=str(model),
        tasks=tuple(f"lm_eval:{folder}/tasks/{name}.yaml" for name in names),
        runs=folder / "runs",
        device="cpu",
        decoding={"max_new_tokens": NEW_TOKENS},
        evaluation={"resamples": 100},
    )
    found = {own.task.name.removeprefix("lm_eval:"): own for own in evaluate(config)}
    tasks = {name: own.task for name, own in found.items() if isinstance(own.task, HarnessTask)}
    return Both(theirs, hf, found, tasks)


@pytest.fixture(scope="module")
def both(stories260k: Path, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Both:
    return run_both([*CHOICES, *WRITTEN], 6, stories260k, shared_data, tmp_path_factory.mktemp("both"))


def check_tokens(both: Both, name: str) -> None:
    task = both.tasks[name]
    assert not task.dropped
    for own in task.requests:
        if own.writing is not None:
            assert own.request.items[0].prompt_ids.tolist() in both.hf.read
            continue
        for instance, item in zip(own.document.instances, own.request.items, strict=True):
            assert (item.prompt_ids.tolist(), item.target_ids.tolist()) == both.hf.scored[instance.args]


def check_answers(both: Both, name: str) -> None:
    samples = {sample["doc_id"]: sample for sample in both.theirs["samples"][name]}
    log = both.ours[name].log.predictions
    assert len(samples) == len(log) == both.ours[name].scores[0].n
    for number, own in enumerate(log):
        responses = [resps[0] for resps in samples[number]["resps"]]
        if not own.choices:
            assert own.text == responses[0]
            continue
        expected = [logprob for logprob, _ in responses]
        assert own.choice_logprobs == pytest.approx(expected, abs=2e-4)
        assert list(own.choice_greedy) == [greedy for _, greedy in responses]
        best, second = sorted(expected, reverse=True)[:2] if len(expected) > 1 else (0.0, -math.inf)
        assert best - second < 4e-4 or int(np.argmax(own.choice_logprobs)) == int(np.argmax(expected))


def check_numbers(both: Both, name: str) -> None:
    """Every number of every filter, from their responses: their means, and what each document gives."""
    task, results = both.tasks[name], both.theirs["results"][name]
    samples = [sample for sample in both.theirs["samples"][name]]
    log = [as_prediction(own, samples) for own in task.requests]
    metrics = [own for own in harness_metrics(task.name, task.judge, log, None).metrics if isinstance(own, Metric)]
    found = {}
    for metric in metrics:
        of_filter = metric.options.removeprefix("filter:").partition("|")[0]
        found[f"{metric.name},{of_filter}"] = float(metric.evaluate(metric.statistics(log))[0])
    expected = {key: value for key, value in results.items() if "," in key and "_stderr" not in key}
    assert found == {key: pytest.approx(value, abs=1e-12, nan_ok=True) for key, value in expected.items()}


def as_prediction(own: Any, samples: Sequence[dict[str, Any]]) -> Prediction:
    place = int(own.document.id.rpartition("#")[2])
    resps = [one[0] for one in next(one for one in samples if one["doc_id"] == place)["resps"]]
    if own.writing is not None:
        return Prediction(own.blank.id, own.blank.task, resps[0], own.blank.targets)
    logprobs, greedy = zip(*resps, strict=True)
    choices = own.request.example.choices
    return Prediction(
        own.blank.id, own.blank.task, choices[0], own.blank.targets, choices, logprobs, choice_greedy=greedy
    )


@pytest.mark.parametrize("name", [*CHOICES, *WRITTEN])
def test_as_their_own_evaluation(both: Both, name: str) -> None:
    check_tokens(both, name)
    check_answers(both, name)
    check_numbers(both, name)


@pytest.mark.parametrize("name", ["sst2", "cola", "bbq", "gsm8k"])
def test_the_scores_are_theirs_where_the_answers_are(both: Both, name: str) -> None:
    """On these, right and wrong alone count, so that the scores themselves are equal."""
    theirs = both.theirs["results"][name]
    for score in both.ours[name].scores:
        key = score.metric if "," in score.metric else f"{score.metric},none"
        assert score.value == pytest.approx(theirs[key], abs=1e-12, nan_ok=True)


@pytest.mark.slow
def test_more_tasks_and_documents(stories260k: Path, shared_data: Path, tmp_path: Path) -> None:
    names = [*CHOICES, *WRITTEN, *MORE]
    found = run_both(names, 40, stories260k, shared_data, tmp_path)
    for name in names:
        check_tokens(found, name)
        check_answers(found, name)
        check_numbers(found, name)
