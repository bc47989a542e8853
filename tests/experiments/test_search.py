"""Hyper-parameters are chosen on validation, within a budget, and a search is found again in the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from luthier.config.compare import CompareConfig
from luthier.config.training import TrainingConfig
from luthier.errors import ConfigError, DivergenceError
from luthier.experiments.compare import compare
from luthier.methods.registry import METHODS
from luthier.methods.search_space import LogRange, defaults_of, space_of
from luthier.results.records import ArmResult, read_costs, read_results
from luthier.training import train_arm as training_job
from luthier.training.loop import train
from small_job import comparison, write_job

QUICK: dict[str, Any] = {"steps": 6, "batch_size": 4, "validations": 3}


def searching(folder: Path, *, trials: int, **changes: Any) -> CompareConfig:
    job = folder / "job"
    settings = {
        "arms": ["zero_shot", "lora"],
        "retain": [],
        "retention_text": None,
        "training": QUICK,
        "search": {"trials": trials},
    }
    return comparison("llama", job if job.exists() else write_job(job), folder / "runs", **{**settings, **changes})


def lora(config: CompareConfig) -> ArmResult:
    return read_results(compare(config)).arms[1]


def test_the_space_of_every_method_holds_its_defaults() -> None:
    for method in METHODS.values():
        training = TrainingConfig(epochs=4)
        space, defaults = space_of(method, {}, training), defaults_of(method, {}, training)
        assert list(space)[:2] == ["learning_rate", "epochs"]
        assert space["epochs"] == (2.0, 4.0, 8.0)
        assert space.keys() == defaults.keys()
        for name, values in space.items():
            if isinstance(values, LogRange):
                assert values.low < defaults[name] < values.high
            else:
                assert defaults[name] in values
        if method.space:
            own = method.settings_class()
            assert all(getattr(own, name) in (searched.default, None) for name, searched in method.space.items())


def test_what_the_user_spells_out_is_not_searched() -> None:
    assert list(space_of(METHODS["lora"], {"rank": 2}, TrainingConfig(steps=5))) == ["learning_rate"]
    assert "last" not in space_of(METHODS["selective"], {"parts": ("biases",)}, TrainingConfig())
    around = space_of(METHODS["full"], {}, TrainingConfig(learning_rate=1.0))["learning_rate"]
    assert around == LogRange(0.2, 5.0)


def test_the_best_trial_is_used_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = searching(tmp_path, trials=4)
    arm = lora(config)
    found = arm.search
    assert found is not None
    assert (found.trials, found.failed) == (4, 0)
    assert found.space == {"learning_rate": "0.0002 to 0.005", "rank": "4, 8, 16, 32"}
    assert found.default_score is not None
    assert found.score >= found.default_score
    assert arm.training is not None
    assert arm.training.learning_rate == found.chosen["learning_rate"]
    assert arm.settings["rank"] == found.chosen["rank"]
    assert any(note.startswith("chosen on validation by 4 trials") for note in arm.notes)
    said = capsys.readouterr().err
    assert "lora: trial 1 of 4, learning_rate 0.001, rank 8" in said, "the defaults come first"
    costs = read_costs(tmp_path / "runs" / next(p.name for p in (tmp_path / "runs").glob("compare-*")))
    assert costs.arms["zero_shot"].search_seconds is None
    assert (costs.arms["lora"].search_seconds or 0) > 0


def test_a_search_is_found_again_and_a_longer_one_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = lora(searching(tmp_path, trials=3))
    trained: list[str] = []
    plain = train

    def counted(*given: Any, **named: Any) -> Any:
        trained.append(named["label"])
        return plain(*given, **named)

    monkeypatch.setattr(training_job, "train", counted)
    again = lora(searching(tmp_path, trials=3))
    assert trained == []
    assert again == first
    longer = lora(searching(tmp_path, trials=4))
    assert len(trained) == 1, "only the fourth trial is new"
    assert longer.search is not None
    assert first.search is not None
    assert longer.search.score >= first.search.score


def test_a_trial_that_falls_behind_is_stopped_and_stays_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # With the rule "always behind after the first two", the third and fourth trial end at their first look.
    monkeypatch.setattr(optuna.trial.Trial, "should_prune", lambda trial: trial.number >= 2)
    arm = lora(searching(tmp_path, trials=4))
    assert arm.search is not None
    assert (arm.search.trials, arm.search.pruned) == (4, 2)
    assert any("2 stopped early" in note for note in arm.notes)
    monkeypatch.undo()
    assert lora(searching(tmp_path, trials=4)) == arm, "read from the store, the pruned trials too"


def test_a_loss_that_explodes_fails_one_trial_and_not_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    plain = train

    def exploded(*given: Any, **named: Any) -> Any:
        begun.append(named["label"])
        if len(begun) in exploding:
            raise DivergenceError("the loss (nan) is not finite", where="step 3")
        return plain(*given, **named)

    monkeypatch.setattr(training_job, "train", exploded)
    exploding = {2}
    found = lora(searching(tmp_path / "one", trials=3)).search
    assert found is not None
    assert (found.trials, found.failed) == (3, 1)
    begun.clear()
    exploding = {1, 2}
    failed = lora(searching(tmp_path / "all", trials=2)).failed
    assert failed.startswith(
        "search: no trial came to an end: of 2, 2 failed, the first at learning_rate 0.001, rank 8: "
    )
    assert failed.endswith("step 3: the loss (nan) is not finite")


def test_a_search_without_validation_is_refused(tmp_path: Path) -> None:
    config = searching(tmp_path, trials=2, training={**QUICK, "validations": 0})
    with pytest.raises(ConfigError, match="a search needs validation to choose on"):
        compare(config)


def test_a_soft_prompt_keeps_room_for_the_longest_that_is_tried(tmp_path: Path) -> None:
    config = searching(tmp_path, trials=2, arms=["zero_shot", "prompt_tuning"])
    found = lora(config).search
    assert found is not None
    assert found.space["virtual_tokens"] == "10, 20, 40"
