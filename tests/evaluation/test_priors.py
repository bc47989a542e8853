"""`accuracy:by=prior`: each choice is compared with its own probability without the prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from luthier.config.evaluate import EvaluateConfig
from luthier.errors import DataError, TaskError
from luthier.experiments.evaluate import evaluate
from luthier.experiments.evaluated import Evaluated
from luthier.metrics.scoring import score_predictions
from luthier.models.load import load_model
from luthier.records import Prediction
from luthier.tasks.loader import load_task
from small_job import write_rows
from tiny_models import tiny_folder

SPEC: dict[str, Any] = {
    "name": "sitting",
    "source": {"test": "rows.jsonl"},
    "id": "id",
    "joint": " ",
    "target": "{{ answer }}",
    "choices": ["cat", "red dog", "no"],
    "metrics": ["accuracy:by=prior", "accuracy"],
    "templates": [{"name": "plain", "prompt": "{{ place }} the who sat?"}],
}


@pytest.fixture
def task(tmp_path: Path) -> Path:
    rows = [{"id": str(n), "place": f"at {n}", "answer": ["cat", "red dog", "no"][n % 3]} for n in range(6)]
    write_rows(tmp_path / "rows.jsonl", rows)
    path = tmp_path / "task.yaml"
    path.write_text(yaml.safe_dump(SPEC))
    return path


def run(task: Path, **more: Any) -> Evaluated:
    settings = {"model": str(tiny_folder("llama")), "runs": task.parent / "runs", "device": "cpu", "tasks": [str(task)]}
    (found,) = evaluate(EvaluateConfig.model_validate(settings | {"evaluation": {"resamples": 100}} | more))
    return found


def test_priors_are_those_of_an_empty_prompt(task: Path) -> None:
    pytest.importorskip("lm_eval")
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    model = load_model(str(tiny_folder("llama")), device="cpu")
    lm = HFLM(pretrained=model.module, tokenizer=model.tokenizer)
    found = run(task)
    asked = [Instance("loglikelihood", {}, ("", f" {choice}"), n) for n, choice in enumerate(SPEC["choices"])]
    priors = [float(logprob) for logprob, _ in lm.loglikelihood(asked)]
    for own in found.log.predictions:
        assert own.choice_priors == pytest.approx(priors, abs=2e-4)
        gains = [given - prior for given, prior in zip(own.choice_logprobs, own.choice_priors, strict=True)]
        assert (own.choices[gains.index(max(gains))] == own.targets[0]) is (own.id in right(found))
    assert found.scores[0].metric == "accuracy_by_prior"
    assert found.scores[0].value == pytest.approx(len(right(found)) / 6)


def right(found: Evaluated) -> set[str]:
    """Ids of the examples that are right when priors are taken off."""
    return {
        own.id
        for own in found.log.predictions
        if score_predictions([own], ["accuracy:by=prior"], resamples=0)[0].value == 1.0
    }


def test_they_are_stored_and_cached(task: Path) -> None:
    first = run(task)
    again = run(task)
    assert again.log.predictions == first.log.predictions
    cached = run(task, evaluation={"resamples": 100, "batch_tokens": 64})
    assert cached.log.cached == 6
    assert [one.choice_priors for one in cached.log.predictions] == [one.choice_priors for one in first.log.predictions]


def test_without_the_metric_nothing_more_is_asked(task: Path) -> None:
    task.write_text(yaml.safe_dump(SPEC | {"metrics": ["accuracy"]}))
    assert {own.choice_priors for own in run(task).log.predictions} == {()}


def test_by_hand() -> None:
    """−1 − (−0.5) = −0.5 against −2 − (−4) = 2: the second choice gained by the prompt."""
    one = Prediction(
        "1", "t", "a", ("b",), choices=("a", "b"), choice_logprobs=(-1.0, -2.0), choice_priors=(-0.5, -4.0)
    )
    plain, prior = (score_predictions([one], [name], resamples=0)[0] for name in ("accuracy", "accuracy:by=prior"))
    assert (plain.value, prior.value) == (0.0, 1.0)
    assert "by:prior" in prior.signature


def test_what_is_missing_is_said(task: Path) -> None:
    bare = Prediction("1", "t", "a", ("a",), choices=("a", "b"), choice_logprobs=(-1.0, -2.0))
    with pytest.raises(DataError, match="2 choices and 0 of them without a prompt"):
        score_predictions([bare], ["accuracy:by=prior"], resamples=0)
    task.write_text(yaml.safe_dump({key: value for key, value in SPEC.items() if key != "joint"}))
    with pytest.raises(TaskError, match="needs each choice without its prompt, which only a task with `joint`"):
        load_task(str(task))
