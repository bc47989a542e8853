"""One request alone, with the method beside the weights and folded in: what is timed, and that nothing else changes."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.config.data import DataConfig
from luthier.config.decoding import DecodingConfig
from luthier.errors import ModelError, StoreError
from luthier.evaluation.context import EvaluationContext
from luthier.evaluation.latency import PASSES, Latency, TimingJob, read_latency, time_requests, timing_job
from luthier.evaluation.prepared_task import PreparedTask, make_encoder
from luthier.experiments.compare import compare
from luthier.files.digests import digest
from luthier.methods.base import Attached
from luthier.methods.registry import find_method, read_settings
from luthier.models.language_model import LanguageModel
from luthier.results.records import read_costs
from luthier.tasks.loader import load_examples, load_task
from small_job import Done, write_job
from tiny_models import same_bits, state, tiny_model


def timing_of(model: LanguageModel, folder: Path, task: str = "echo", limit: int | None = None) -> TimingJob:
    job = write_job(folder / "job")
    found = load_task(str(job / f"{task}.yaml"))
    encoder = make_encoder(model, found, DataConfig())
    examples = load_examples(found, "test", limit=limit, seed=0, evaluation=True)
    context = EvaluationContext(folder, "", DecodingConfig(), 8192)
    return timing_job(model, PreparedTask(found, encoder, tuple(examples)), context, label="it")


def attach(model: LanguageModel, name: str, settings: dict[str, Any]) -> Attached:
    method = find_method(name)
    return method.attach(model, read_settings(method, settings, where="test"), seed=0)


class Clock:
    """A clock that each request moves by what it takes: one second, or two while LoRA's layers stand in the model."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, model: LanguageModel, ask: Any) -> None:
        self.now, self.model, self.ask = 0.0, model, ask
        self.asked: list[tuple[int, float]] = []
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def __call__(self, number: int) -> None:
        self.ask(number)
        beside = any("lora" in name for name, _ in self.model.module.named_modules())
        self.asked.append((number, 0.2 if beside else 0.1))
        self.now += self.asked[-1][1]


def timed(timing: TimingJob, ask: Any) -> TimingJob:
    return TimingJob(timing.entry, ask, timing.requests, timing.label)


@pytest.mark.usefixtures("all_passes")
def test_lora_is_timed_beside_the_weights_and_folded_in_by_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("llama")
    attached = attach(model, "lora", {"rank": 2})
    weights = state(model)
    timing = timing_of(model, tmp_path)
    clock = Clock(monkeypatch, model, timing.ask)
    time_requests(timed(timing, clock), attached)
    found = read_latency(timing)
    assert found.unmerged == pytest.approx(0.2)
    assert found.merged == pytest.approx(0.1)
    # Both are warmed up; then the same request twice, and on to the next, until the time is over.
    passes = list(itertools.islice(itertools.cycle(range(3)), 5))
    assert clock.asked == [(0, 0.2), (0, 0.1), *((number, each) for number in passes for each in (0.2, 0.1))]
    assert same_bits(state(model), weights)
    asked = len(clock.asked)
    time_requests(timed(timing, clock), attached)
    assert len(clock.asked) == asked, "the result was found in the store"


@pytest.mark.usefixtures("all_passes")
@pytest.mark.parametrize(("method", "merged"), [("full", True), ("selective", True), ("adapter", False), (None, False)])
def test_what_is_in_the_weights_is_merged_and_what_cannot_be_is_not(
    method: str | None, merged: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("t5")
    attached = attach(model, method, {}) if method else None
    timing = timing_of(model, tmp_path)
    clock = Clock(monkeypatch, model, lambda number: None)
    time_requests(timed(timing, clock), attached)
    found = read_latency(timing)
    assert found.unmerged == pytest.approx(0.1)
    assert found.merged == (found.unmerged if merged else None)
    assert len(clock.asked) == 1 + PASSES


def test_a_merge_that_fails_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    attached: Any = attach(model, "lora", {"rank": 2})

    def no_memory() -> None:
        raise torch.OutOfMemoryError("none left")

    def cannot() -> None:
        raise ModelError("this kind cannot be merged")

    for number, merge in enumerate((no_memory, cannot)):
        monkeypatch.setattr(attached, "merge", merge)
        timing = timing_of(model, tmp_path / str(number))
        time_requests(timing, attached)
        assert read_latency(timing).merged is None
        assert read_latency(timing).unmerged > 0


@pytest.mark.usefixtures("all_passes")
def test_a_slow_model_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    timing = timing_of(model, tmp_path, task="colour", limit=1)
    assert timing.requests == 1
    now = itertools.count(0, 60)
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    time_requests(timed(timing, lambda number: None), None)
    assert read_latency(timing) == Latency(60.0, None)


def test_a_damaged_result_is_named(tmp_path: Path) -> None:
    timing = timing_of(tiny_model("llama"), tmp_path)
    time_requests(timing, None)
    (timing.entry.folder / "latency.json").write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        read_latency(timing)


def test_every_arm_of_a_comparison_is_timed_and_found_again(done: Done) -> None:
    costs = read_costs(done.run).arms
    assert all((cost.request_seconds or 0) > 0 for cost in costs.values())
    assert {name for name, cost in costs.items() if cost.merged_request_seconds} == {"full", "lora"}
    assert costs["full"].merged_request_seconds == costs["full"].request_seconds
    before = digest(json.loads((done.run / "results.json").read_text()))
    assert compare(done.config) == done.run
    assert digest(json.loads((done.run / "results.json").read_text())) == before
    assert read_costs(done.run).arms == costs, "times lie in the store"
