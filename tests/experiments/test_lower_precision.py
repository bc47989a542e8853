"""Matrix products in bf16: for training and for every answer, and the run says what they change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.config.compare import CompareConfig
from luthier.config.evaluate import EvaluateConfig
from luthier.config.validation import validate
from luthier.errors import ConfigError
from luthier.experiments.compare import compare
from luthier.experiments.evaluate import evaluate
from luthier.models import load
from luthier.models.kernel_choice import Kernels
from luthier.models.load import load_model, products_of
from luthier.report.tables import precision_note, quality_table
from luthier.results.records import RunResults, read_results
from small_job import ECHO, Done, comparison, write_job, write_task
from tiny_models import tiny_folder


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> RunResults:
    folder = tmp_path_factory.mktemp("bf16")
    config = comparison(
        "llama",
        write_job(folder / "job"),
        folder / "runs",
        arms=["zero_shot", {"name": "lora", "method": "lora", "settings": {"rank": 4}}],
        precision="bf16",
        retain=[],
        retention_text=None,
    )
    run = compare(config)
    before = (run / "results.json").read_bytes()
    assert compare(config) == run
    assert (run / "results.json").read_bytes() == before
    return read_results(run)


def test_the_run_says_what_bf16_changes(results: RunResults) -> None:
    """Scores of a small random model are no numbers to know, but its losses differ by rounding to 8 bits, not more."""
    found = results.lower_precision
    assert found is not None
    assert results.precision == found.precision == "bfloat16"
    assert found.examples == results.task.splits["test"]
    assert 0 <= found.same_answers <= found.examples
    assert found.loss_change.n == found.metric_change.n == found.examples
    assert 0 < abs(found.loss_change.value) < 0.05
    assert found.loss_change.low <= found.loss_change.value <= found.loss_change.high
    note = precision_note(results)
    assert (
        f"bfloat16: on {found.examples} test examples the base gave {found.same_answers} answers as in float32" in note
    )
    assert note in quality_table(results).note


def test_a_run_in_float32_says_nothing_of_it(done: Done) -> None:
    assert done.results.lower_precision is None
    assert done.results.precision == "float32"
    assert precision_note(done.results) == ""


def test_auto_is_bf16_on_cuda_alone() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert [products_of("auto", place) for place in (cpu, cuda)] == [None, torch.bfloat16]
    assert [products_of("float32", place) for place in (cpu, cuda)] == [None, None]
    assert [products_of("bf16", place) for place in (cpu, cuda)] == [torch.bfloat16] * 2


def test_a_precision_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="no precision 'fp16'") as raised:
        load_model(tiny_folder("llama"), precision="fp16")  # type: ignore[arg-type]
    assert raised.value.where == "load_model(precision)"


def test_who_asks_for_slow_products_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = Kernels(bf16=8.4)
    monkeypatch.setattr(load, "choose_kernels", lambda module, config: slow)
    load_model(tiny_folder("llama"), device="cpu", precision="bf16")
    assert "products in bf16 take 8.4 times as long as in float32" in capsys.readouterr().err
    monkeypatch.setattr(load, "choose_kernels", lambda module, config: replace(slow, bf16=0.5))
    load_model(tiny_folder("llama"), device="cpu", precision="bf16")
    assert "take" not in capsys.readouterr().err


def test_where_it_stood_before_the_message_says_where_it_stands_now() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'training\.precision'") as raised:
        validate(CompareConfig, {"training": {"precision": "bf16"}}, source="x.yaml")
    assert raised.value.fix == "It stands by itself, in no mapping: write precision."


def test_an_evaluation_says_what_the_precision_changes(tmp_path: Path) -> None:
    folder = write_job(tmp_path / "job", test=6)
    settings: dict[str, Any] = {
        "model": str(tiny_folder("llama")),
        "runs": folder / "runs",
        "device": "cpu",
        "evaluation": {"resamples": 100},
        "tasks": [str(write_task(folder, ECHO))],
    }
    (exact,) = evaluate(EvaluateConfig.model_validate(settings))
    assert (exact.coarser, exact.same) == (None, None)
    (lower,) = evaluate(EvaluateConfig.model_validate(settings | {"precision": "bf16"}))
    assert lower.coarser is not None
    assert lower.coarser.n == 6
    assert lower.coarser.value == pytest.approx(lower.scores[0].value - exact.scores[0].value)
    assert lower.same is not None
    same = [one.text == other.text for one, other in zip(lower.log.predictions, exact.log.predictions, strict=True)]
    assert lower.same == sum(same) / 6
