"""Points between base and arm in a comparison: rows of their own, exact ends, and what is refused before any step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.config.arms import make_arms
from luthier.config.compare import CompareConfig
from luthier.config.training import TrainingConfig
from luthier.config.tune import TuneConfig
from luthier.errors import LuthierError
from luthier.experiments.compare import compare
from luthier.experiments.plan import read_plan
from luthier.experiments.run_unit import target_job, trained_entry
from luthier.experiments.units import Unit, plan_units
from luthier.report.page import write_report
from luthier.report.tables import quality_table
from luthier.results.records import read_results
from small_job import comparison, write_job

POINTS = [0, 0.5, 1, 1.25]
ARMS: list[Any] = [
    "zero_shot",
    {"name": "lora", "method": "lora", "settings": {"rank": 2}, "interpolate": POINTS},
    {"name": "full", "method": "full", "interpolate": [0.5]},
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[CompareConfig, Path]:
    folder = tmp_path_factory.mktemp("points")
    job = write_job(folder / "job")
    training = {"steps": 4, "batch_size": 4, "validations": 1, "learning_rate": 0.05}
    config = comparison("llama", job, folder / "runs", arms=ARMS, extrapolate=True, seeds=[0, 1], training=training)
    return config, compare(config)


def answers(run: Path, name: str) -> list[str]:
    return [json.loads(line)["text"] for line in (run / "predictions" / f"{name}.jsonl").read_text().splitlines()]


def test_every_point_is_answered_and_the_ends_are_base_and_arm(run: tuple[CompareConfig, Path]) -> None:
    _, folder = run
    results = read_results(folder)
    zero, lora, full = results.arms
    assert [point.at for point in lora.points] == [0, 0.5, 1, 1.25]
    assert [point.at for point in full.points] == [0.5]
    base, half, end, beyond = lora.points
    assert base.scores[0].value == zero.scores[0].value
    assert [item.change.value for item in base.retained] == [0.0]
    assert base.token_loss is not None
    assert base.token_loss.change.value == 0
    assert (end.scores[0].value, end.retained, end.token_loss) == (lora.scores[0].value, lora.retained, lora.token_loss)
    assert half.against_first is not None
    assert half.against_first.value == pytest.approx(half.scores[0].value - zero.scores[0].value)
    losses = [point.token_loss.change.value for point in (base, half, end, beyond) if point.token_loss]
    assert len(set(losses)) == 4, "each point is another model"
    for seed in (0, 1):
        assert len(answers(folder, f"lora-seed-{seed}-at-0.5")) == len(answers(folder, "zero_shot"))
    assert answers(folder, "lora-seed-0-at-0") == answers(folder, "zero_shot")


def test_points_train_nothing_and_are_found_again(run: tuple[CompareConfig, Path]) -> None:
    config, folder = run
    before = (folder / "results.json").read_bytes()
    trainings = len(list((config.runs / "store").glob("train*/*")))
    assert compare(config) == folder
    assert (folder / "results.json").read_bytes() == before
    more = config.model_copy(update={"arms": ({**ARMS[1], "interpolate": [0.25, 0.5]},), "name": "more"})
    compare(more)
    assert len(list((config.runs / "store").glob("train*/*"))) == trainings


def test_a_key_holds_the_point(run: tuple[CompareConfig, Path]) -> None:
    config, _ = run
    plan = read_plan(config)
    keys = {at: target_job(plan, Unit("evaluate", "lora", 0, at=at))[0].entry.key for at in (0.0, 0.25, 0.5, 1.0)}
    assert len(set(keys.values())) == 4
    assert keys[0.0] == target_job(plan, Unit("evaluate", "zero_shot"))[0].entry.key
    assert trained_entry(plan, Unit("evaluate", "lora", 0, at=0.0)) is None


def test_points_are_rows_below_their_arm(run: tuple[CompareConfig, Path]) -> None:
    _, folder = run
    table = quality_table(read_results(folder))
    names = [row[0].main for row in table.rows][:7]
    assert names == ["zero_shot", "lora", "lora at 0", "lora at 0.5", "lora at 1.25", "full", "full at 0.5"]
    assert "without training (WiSE-FT)" in table.note
    page = write_report(folder).read_text(encoding="utf-8")
    assert "lora at 0.5" in page


def test_units_of_points_follow_their_training() -> None:
    (arm,) = make_arms(
        [CompareConfig.model_validate({"arms": [ARMS[1]], "extrapolate": True}).arms[0]],
        training=TrainingConfig(),
        few_shots=0,
        seeds=(0, 1),
    )
    names = [unit.name for unit in plan_units([arm], searching=False, retaining=True, choosing=True)]
    assert names[:3] == ["retain base", "retain base, validation", "train lora, seed 0"]
    assert "evaluate lora at 0, seed 0" in names
    assert "evaluate lora at 0, seed 1" not in names, "the base is the same for every seed"
    assert "retain lora at 0, seed 0" not in names, "it was measured before"
    assert "retain lora at 0.5, seed 1, validation" in names
    assert "evaluate lora, seed 1, validation" in names


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"arms": [{"name": "x", "method": "lora", "interpolate": [1.2]}]}, "1.2 is not from 0 (the base) to 1", "--extra"),
    ({"arms": [{"name": "x", "method": "lora", "interpolate": [-0.1]}]}, "-0.1 is not from 0", "arm 'x'"),
    (
        {"arms": [{"name": "x", "method": "lora", "interpolate": [1.6]}], "extrapolate": True},
        "1.6 is not from 0 (the base) to 1.5",
        "arm 'x'",
    ),
    ({"arms": [{"name": "x", "method": "lora", "interpolate": [0.5, 0.5]}]}, "a point is given twice", "arm 'x'"),
    ({"arms": [{"name": "x", "interpolate": [0.5]}]}, "nothing is trained", "arm 'x'"),
    ({"arms": [{"name": "x", "method": "lora", "interpolate": ["half"]}]}, "interpolate", "valid number"),
]


@pytest.mark.parametrize(("changes", "says", "where"), BAD)
def test_points_that_are_none_are_refused(changes: dict[str, Any], says: str, where: str) -> None:
    with pytest.raises(LuthierError) as caught:
        CompareConfig.model_validate(changes)
    assert says in str(caught.value)
    assert where in str(caught.value)


def test_tune_evaluates_no_points() -> None:
    with pytest.raises(LuthierError, match="luthier compare"):
        TuneConfig.model_validate({"arm": {"name": "x", "method": "lora", "interpolate": [0.5]}})


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ({"prompt_tuning": {"virtual_tokens": 3}}, "virtual tokens cannot be interpolated"),
        ({"prefix_tuning": {"virtual_tokens": 3}}, "virtual tokens cannot be interpolated"),
    ],
)
def test_a_method_without_a_way_is_refused_before_the_first_step(
    method: dict[str, Any], says: str, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job")
    arms = [{"name": "soft", "method": method, "interpolate": [0.5]}]
    config = comparison("llama", job, tmp_path / "runs", arms=arms, retain=(), retention_text=None)
    with pytest.raises(LuthierError) as caught:
        compare(config)
    assert says in str(caught.value)
    assert "'soft'" in str(caught.value)
    assert "interpolate" in str(caught.value)
    assert not list((tmp_path / "runs").rglob("train*"))
