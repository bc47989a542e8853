"""What a comparison will take: arithmetic that can be checked by hand, counts of the run itself, and no trace left."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.config.arms import Arm
from luthier.config.compare import CompareConfig
from luthier.console import printed
from luthier.errors import ConfigError
from luthier.evaluation.latency import PASSES, SECONDS
from luthier.evaluation.timed_answers import WritingRates, Written, step_and_sequence
from luthier.experiments.compare import compare
from luthier.experiments.dry_run import dry_run
from luthier.experiments.estimate import (
    Batch,
    Lengths,
    between,
    lengths_of,
    reference_lengths,
    timing_seconds,
    wall_seconds,
    writing_seconds,
)
from luthier.experiments.tune import tune
from luthier.experiments.units import Unit, plan_units
from luthier.experiments.workload import in_words
from luthier.metrics.prediction_log import read_predictions
from luthier.report.forecast_table import forecast_table
from luthier.results.forecast import AnswerCounts, ArmCounts, ArmForecast, Forecast, TrainingCounts
from small_job import Done, comparison, digests, luthier, tuning, write_job

ARMS = (Arm("zero_shot", None, 0), Arm("lora", "lora", 0, seeds=(0, 7)))


def test_writing_is_prompts_steps_and_answers() -> None:
    rates = WritingRates(work=0.001, step=0.1, sequence=0.01)
    # 500 x 0.001, 8 steps until the longest has ended, and 4 answers of 5 tokens each.
    assert writing_seconds(rates, [Batch(4, 4, 500)], Lengths(5, 8)) == pytest.approx(0.5 + 0.8 + 0.2)
    # 12 answers in 4 places: 12 x 5 / 4 = 15 steps in full batches, and 3 more until the longest has ended.
    assert writing_seconds(rates, [Batch(12, 4, 500)], Lengths(5, 8)) == pytest.approx(0.5 + 1.8 + 0.6)
    assert writing_seconds(rates, [], Lengths(5, 8)) == 0


def test_a_step_and_what_each_answer_adds_follow_from_two_widths() -> None:
    step, sequence = step_and_sequence((1, 0.11), (5, 0.15))
    assert step == pytest.approx(0.10)
    assert sequence == pytest.approx(0.01)
    assert step_and_sequence((1, 0.11), (5, 0.09)) == (0.09, 0.0), "more answers are never faster"
    assert step_and_sequence((1, 0.11), (1, 0.11)) == (0.11, 0.0), "a single request"


def test_lengths_are_those_that_were_seen() -> None:
    assert lengths_of([Written(0, 4, True, 10), Written(1, 10, False, 10)]) == Lengths(7, 10)


def test_where_answers_were_cut_off_each_token_may_be_the_last() -> None:
    # One end in 10 tokens: 1 + 0.9 + 0.81 tokens before a limit of 3.
    cut = lengths_of([Written(0, 2, True, 3), Written(1, 2, False, 3), *[Written(2, 2, False, 3)] * 3])
    assert cut.mean == pytest.approx(2.71)
    assert cut.longest == 3
    assert lengths_of([Written(0, 2, False, 8)]) == Lengths(8, 8), "none has ended"


def test_answers_like_references_have_an_end_token_and_keep_the_limit() -> None:
    assert reference_lengths([3, 5, 20], 10) == Lengths(20 / 3, 10)


def test_answers_during_a_training_are_half_way() -> None:
    assert between(Lengths(4, 48), Lengths(20, 30)) == Lengths(12, 48)


@pytest.mark.usefixtures("all_passes")
def test_timing_ends_by_the_clock_or_after_all_passes() -> None:
    quick, slow = 0.01, 10 * SECONDS
    assert timing_seconds(quick, merges=False) == pytest.approx(quick * (1 + PASSES))
    assert timing_seconds(quick, merges=True) == pytest.approx(2 * quick * (1 + PASSES))
    assert timing_seconds(slow, merges=False) == pytest.approx(2 * slow), "the first one, and one pass"


def test_workers_share_the_time() -> None:
    units = plan_units(ARMS, searching=False, retaining=False)
    seconds = {
        "evaluate zero_shot": 3.0,
        "time zero_shot": 1.0,
        "train lora, seed 0": 10.0,
        "evaluate lora, seed 0": 2.0,
        "time lora, seed 0": 1.0,
        "train lora, seed 7": 10.0,
        "evaluate lora, seed 7": 2.0,
    }
    assert wall_seconds(units, seconds, workers=1) == sum(seconds.values())
    # Both trainings 10, then evaluations 3 and 2 + 2, then both timings at once.
    assert wall_seconds(units, seconds, workers=2) == 10 + 4 + 1
    assert wall_seconds(units, {**seconds, "train lora, seed 0": 0, "train lora, seed 7": 0}, workers=2) == 4 + 1
    assert wall_seconds(units, dict.fromkeys(seconds, 0.0), workers=2) == 0


def test_a_worker_that_waits_takes_what_comes_free() -> None:
    units = (Unit("train", "a", 0), Unit("evaluate", "a", 0, ("train a, seed 0",)), Unit("train", "b", 0))
    seconds = {"train a, seed 0": 5.0, "evaluate a, seed 0": 1.0, "train b, seed 0": 2.0}
    assert wall_seconds(units, seconds, workers=3) == 6


# A run, and what was said of it.


def elsewhere(done: Done, folder: Path, **changes: Any) -> CompareConfig:
    return done.config.model_copy(update={"runs": folder / "runs", **changes})


def test_counts_are_those_of_the_run_and_nothing_is_written(done: Done, tmp_path: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    found = dry_run(elsewhere(done, tmp_path))
    assert torch.equal(torch.get_rng_state(), before)
    assert not (tmp_path / "runs").exists()
    arms = {arm.counts.label: arm for arm in found.arms}
    assert list(arms) == ["base", "zero_shot", "2_shot", "full", "lora"]
    assert all(arm.seconds > 0 for arm in arms.values())
    assert found.seconds == pytest.approx(sum(arm.seconds for arm in arms.values()))
    # Retained and its distributions; evaluated and timed; trained, evaluated, retained, timed, and how far it went.
    assert [(arm.counts.units, arm.counts.found) for arm in arms.values()] == [(2, 0), (2, 0), (2, 0), (5, 0), (5, 0)]
    for arm in done.results.arms:
        counts = arms[arm.name].counts
        predictions = list(read_predictions(done.run / "predictions" / f"{arm.name}.jsonl"))
        assert counts.test == AnswerCounts(len(predictions), sum(own.prompt_tokens for own in predictions))
        assert (counts.training is not None) == (counts.retained is not None) == (arm.training is not None)
        if counts.training is not None:
            # Twelve examples, in eight steps of four; each is read 8 x 4 / 12 times, or once more.
            assert (counts.training.examples, counts.training.steps, counts.training.validations) == (12, 8, 2)
            assert counts.training.tokens > 2 * 12 * 10
    assert arms["zero_shot"].peak_memory_bytes is None


def test_what_is_in_the_store_costs_nothing(done: Done) -> None:
    before = digests(done.config.runs)
    found = dry_run(done.config)
    assert all(arm.counts.found == arm.counts.units and arm.seconds == 0 for arm in found.arms)
    assert found.seconds == 0
    more = dry_run(done.config.model_copy(update={"seeds": 2}))
    spent = {arm.counts.label: arm.counts.units - arm.counts.found for arm in more.arms if arm.seconds}
    assert spent == {"full": 4, "lora": 4}, "trained, evaluated, retained and its divergence with one more seed"
    assert digests(done.config.runs) == before


@pytest.mark.slow
def test_a_run_gives_the_same_bytes_after_a_dry_run(done: Done, tmp_path: Path) -> None:
    config = elsewhere(done, tmp_path)
    dry_run(config)
    run = compare(config)
    own, other = digests(config.runs), digests(done.config.runs)
    weights = [name for name in own if name.startswith("store/models/") and name.endswith(".safetensors")]
    assert len(weights) >= 2
    assert {name: own[name] for name in weights} == {name: other.get(name) for name in weights}
    assert (run / "results.json").read_bytes() == (done.run / "results.json").read_bytes()


def test_a_run_says_its_work_first(done: Done, capsys: pytest.CaptureFixture[str]) -> None:
    compare(done.config)
    lines = capsys.readouterr().err.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("computing with"))
    names = ("base", "zero_shot", "2_shot", "full", "lora")
    assert lines[first + 1 : first + 6] == [f"{name}: found in the store" for name in names]


def test_a_training_says_its_work_and_then_what_it_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"steps": 5, "batch_size": 4, "validations": 1}
    config = comparison("llama", write_job(tmp_path / "job"), tmp_path / "runs", arms=["lora"], training=settings)
    tune(tuning(config))
    lines = capsys.readouterr().err.splitlines()
    first = next(line for line in lines if line.startswith("lora: 12 examples, 5 steps, "))
    assert first.endswith(" tokens to train on, 1 validation")
    timed = next(line for line in lines if line.startswith("lora: training: 12 examples, 5 steps, "))
    assert "tokens: about " in timed
    assert timed.endswith(" for the steps that are left, 1 validation besides") or "peak about " in timed


def test_a_short_training_says_nothing_of_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = comparison("llama", write_job(tmp_path / "job"), tmp_path / "runs", arms=["lora"], training={"steps": 2})
    tune(tuning(config))
    assert "the steps that are left" not in capsys.readouterr().err


def test_the_work_of_an_arm_in_words() -> None:
    training = TrainingCounts(examples=320, steps=60, tokens=61_000, validations=4)
    test, other = AnswerCounts(150, 23_550), AnswerCounts(1_900, 120_000)
    assert in_words(ArmCounts("few_shot", 0, 0, None, test, None, 2, 0)) == "few_shot: 150 test requests, 23,550 tokens"
    assert in_words(ArmCounts("lora", 2, 3, training, test, other, 7, 1)) == (
        "lora: 5 × 320 examples, 60 steps, 61,000 tokens to train on; 2 × 150 test requests, 23,550 tokens; "
        "2 × 1,900 requests to measure forgetting, 120,000 tokens; 1 of 7 units of work found in the store"
    )
    assert in_words(ArmCounts("", 0, 0, None, None, other, 1, 1)) == "base: found in the store"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("--set", "training.epochs=-1"), "training.epochs"),
        (("--task", "nowhere.yaml"), "nowhere.yaml"),
        (("--arms", "zero_sot"), "zero_shot"),
    ],
)
def test_what_is_wrong_is_said_as_by_a_run(given: tuple[str, ...], says: str, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job")
    model = comparison("llama", job, tmp_path).model
    ran = luthier(
        *("compare", "--dry-run", "--model", model, "--task", job / "echo.yaml", "--runs", tmp_path / "runs"), *given
    )
    assert ran.code == 2, ran.err
    assert says in ran.err
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_is_no_run_in_python(tmp_path: Path) -> None:
    config = comparison("llama", write_job(tmp_path / "job"), tmp_path / "runs", dry_run=True)
    with pytest.raises(ConfigError, match="a dry run makes no run"):
        compare(config)


def test_a_search_counts_all_its_trials(tmp_path: Path) -> None:
    config = comparison("llama", write_job(tmp_path / "job"), tmp_path / "runs", search={"trials": 3}, arms=["lora"])
    arm = dry_run(config).arms[1]
    assert arm.counts.trials == 3
    assert 0 < arm.training_seconds <= arm.seconds


# The table.


def _forecast(**changes: Any) -> Forecast:
    training = TrainingCounts(examples=320, steps=60, tokens=61_000, validations=4)
    test, other = AnswerCounts(150, 23_550), AnswerCounts(1_900, 120_000)
    arms = (
        ArmForecast(ArmCounts("", 0, 0, None, None, other, 1, 1), 0.0, 0.0, None),
        ArmForecast(ArmCounts("lora", 2, 0, training, test, other, 7, 0), 900.0, 720.0, 2_100_000_000),
    )
    settings: dict[str, Any] = {"workers": 1, "seconds": 900.0}
    return Forecast("summaries", arms, measuring_seconds=4.0, **(settings | changes))


def test_the_table_says_counts_time_and_memory() -> None:
    shown = printed([forecast_table(_forecast())], width=200)
    base, lora = (
        next(line for line in shown.splitlines() if line.strip().startswith(name)) for name in ("base", "lora")
    )
    assert lora.split() == [
        *("lora", "2", "320", "60", "61,000", "150", "23,550", "1,900", "120,000", "15", "min", "12", "min"),
        *("2.10", "GB"),
    ]
    assert "found in the store" in base
    text = " ".join(shown.split())
    assert "About 15 min in all." in text
    assert "1 of 8 units of work are found in the store and cost nothing." in text


def test_several_workers_are_named() -> None:
    shown = " ".join(printed([forecast_table(_forecast(workers=2, seconds=480.0))], width=200).split())
    assert "About 480 s in all with 2 workers." in shown


def test_a_forecast_is_plain_values() -> None:
    assert json.loads(json.dumps(dataclasses.asdict(_forecast())))["arms"][1]["counts"]["training"]["steps"] == 60
