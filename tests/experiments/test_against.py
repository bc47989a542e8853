"""`luthier eval --compare OTHER`: two models on the same examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.config.evaluate import EvaluateConfig
from luthier.experiments.against import evaluate_against
from luthier.experiments.evaluate import evaluate
from luthier.report.displays import as_text
from luthier.report.evaluation import evaluation_json, row_of
from small_job import COLOUR, QUICK_EVAL, luthier, write_job, write_task
from tiny_models import tiny_folder


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    folder = write_job(tmp_path / "job", test=12)
    return {
        "model": str(tiny_folder("llama")),
        "runs": folder / "runs",
        "device": "cpu",
        "evaluation": {"resamples": 100},
        "tasks": [str(write_task(folder, COLOUR))],
    }


def test_the_difference_is_paired(settings: dict[str, Any]) -> None:
    other = str(tiny_folder("qwen3"))
    (found,) = evaluate_against(EvaluateConfig.model_validate(settings | {"compare": other}))
    (second,) = evaluate(EvaluateConfig.model_validate(settings | {"model": other}))
    assert found.compared is not None
    assert found.compared.score.value == second.scores[0].value
    assert found.compared.change.value == pytest.approx(found.scores[0].value - second.scores[0].value)
    assert found.compared.change.n == 12
    shown = evaluation_json([row_of(found)])["colour"]
    assert isinstance(shown, dict)
    assert shown["compared"]["model"] == other


def test_a_model_beside_itself_differs_in_nothing(settings: dict[str, Any]) -> None:
    config = EvaluateConfig.model_validate(settings | {"compare": settings["model"]})
    found = evaluate_against(config)
    assert found[0].compared is not None
    assert (found[0].compared.change.value, found[0].compared.change.significant) == (0.0, False)
    assert "difference" in as_text(found)


def test_without_a_second_model_nothing_is_compared(settings: dict[str, Any]) -> None:
    (found,) = evaluate_against(EvaluateConfig.model_validate(settings))
    assert found.compared is None


def test_the_command_line(settings: dict[str, Any], tmp_path: Path) -> None:
    task, runs = settings["tasks"][0], str(settings["runs"])
    models = ("--model", settings["model"], "--compare", str(tiny_folder("qwen3")))
    done = luthier("eval", *models, "--tasks", task, "--runs", runs, "--json", *QUICK_EVAL)
    assert done.code == 0
    assert json.loads(done.out)["colour"]["compared"]["difference"]["n"] == 12
    wrong = luthier("eval", "--model", settings["model"], "--compare", "no/such/folder/", "--tasks", task)
    assert wrong.code == 2
    assert "no/such/folder" in wrong.err
