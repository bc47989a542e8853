"""Preference objectives: their formulas by hand, what a step is divided by, and the law of the start."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from luthier.config.training import TrainingConfig
from luthier.data.preferences import Pair
from luthier.errors import LuthierError, TrainingError
from luthier.methods.registry import find_method, read_settings
from luthier.objectives.kto import KTO
from luthier.objectives.objective import MicroBatch
from luthier.objectives.pair_losses import PairLogprobs, log1mexp
from luthier.objectives.pair_objective import PairObjective
from luthier.objectives.registry import OBJECTIVES, find_objective
from luthier.records import Encoded
from luthier.training.log import read_log
from luthier.training.loop import train
from luthier.training.recipe import TrainingRecipe
from luthier.training.reference import reference_logprobs
from luthier.training.stream import shuffled_stream, training_set
from preferences import begin, gradient, judged, moved, pairs, references, worst
from tiny_models import tiny_folder, tiny_model

C, R, C0, R0, NC, NR = -6.0, -9.0, -7.0, -8.5, 4.0, 6.0
"""Log-probabilities of one pair, and its tokens: the log-ratios are 1 and -0.5, by token 0.25 and -1/12."""
ALL = ("dpo", "robust", "ipo", "dpo_norm", "hinge", "apo_zero", "apo_down", "simpo", "orpo", "kto")


class BrokenOff(Exception):
    """Stands for a kill."""


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def one_pair() -> PairLogprobs:
    return PairLogprobs(*(torch.tensor([value], dtype=torch.float64) for value in (C, R, C0, R0, NC, NR)))


def pair_objective(name: str, settings: Mapping[str, Any]) -> PairObjective:
    found: Any = find_objective(name, settings, where="test")
    assert isinstance(found, PairObjective)
    return found


def log_odds() -> float:
    chosen, rejected = math.exp(C / NC), math.exp(R / NR)
    return math.log(chosen / (1 - chosen)) - math.log(rejected / (1 - rejected))


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("dpo", {"beta": 0.2}, -math.log(sigmoid(0.3))),
        (
            "dpo",
            {"beta": 0.2, "label_noise": 0.1},
            -0.9 * math.log(sigmoid(0.3)) - 0.1 * math.log(sigmoid(-0.3)),
        ),
        (
            "robust",
            {"beta": 0.2, "label_noise": 0.1},
            (-0.9 * math.log(sigmoid(0.3)) + 0.1 * math.log(sigmoid(-0.3))) / 0.8,
        ),
        ("ipo", {"beta": 0.2}, (1 / 3 - 2.5) ** 2),
        ("ipo", {"beta": 0.2, "by_token": False}, (1.5 - 2.5) ** 2),
        ("dpo_norm", {"beta": 0.6}, -math.log(sigmoid(0.2))),
        ("hinge", {"beta": 0.2}, 0.7),
        ("hinge", {"beta": 1.0}, 0.0),
        ("apo_zero", {"beta": 0.2}, 1 - sigmoid(0.2) + sigmoid(-0.1)),
        ("apo_down", {"beta": 0.2}, sigmoid(0.2) + 1 - sigmoid(0.3)),
        ("orpo", {"weight": 0.3}, -0.3 * math.log(sigmoid(log_odds()))),
    ],
)
def test_the_loss_of_a_pair_by_hand(name: str, settings: dict[str, Any], expected: float) -> None:
    found = pair_objective(name, settings).losses(one_pair())
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_simpo_by_hand_takes_no_reference() -> None:
    alone = replace(one_pair(), chosen_reference=torch.zeros(1), rejected_reference=torch.zeros(1))
    found = pair_objective("simpo", {"beta": 2.0, "gamma": 0.4}).losses(alone)
    assert found.item() == pytest.approx(-math.log(sigmoid(2 * (-1.5 + 1.5) - 0.4)), rel=1e-12)


def test_log1mexp_keeps_its_digits_and_its_gradient() -> None:
    values = torch.tensor([-1e-4, -0.5, -1.0, -30.0, 0.0], dtype=torch.float64, requires_grad=True)
    found = log1mexp(values)
    expected = [math.log(-math.expm1(x)) for x in (-1e-4, -0.5, -1.0, -30.0)]
    assert found[:4].tolist() == pytest.approx(expected, rel=1e-12)
    assert math.isfinite(found[4].item()), "of what is certain the odds would be infinite"
    found.sum().backward()
    assert values.grad is not None
    assert torch.isfinite(values.grad).all()


def test_known_values_of_a_real_model_at_its_start(stories260k: Path) -> None:
    """One batch of two pairs, β 0.1: sigmoid 0.693147, ipo 25, apo_zero 1."""
    model, _ = begin(stories260k)

    def side(key: str, *ids: int) -> Encoded:
        return Encoded(key, np.array([1, 360, 263], np.int32), np.array(ids, np.int32))

    records = [Pair("a", side("a", 300, 2), side("a", 310, 311, 2)), Pair("b", side("b", 5, 6, 2), side("b", 7, 2))]
    known = {"dpo": 0.693147, "robust": 0.693147, "ipo": 25.0, "hinge": 1.0, "apo_zero": 1.0, "apo_down": 1.0}
    for name, value in known.items():
        objective = find_objective(name, {"beta": 0.1}, where="test")
        reference = references(objective, model, records)
        found = objective.loss(model, MicroBatch(records, records, reference))
        assert float(found.total.detach()) / 2 == pytest.approx(value, rel=1e-5), name
        assert found.quantities["margin"] == pytest.approx(0, abs=1e-5)


def records_of(name: str) -> Sequence[Any]:
    return judged() if name == "kto" else pairs()


@pytest.mark.parametrize("name", ALL)
def test_passes_and_order_change_nothing(name: str) -> None:
    """A step of 8 records is one of 2 or of 8 passes; neither neighbours nor the order of records count."""
    records = list(records_of(name))
    model, attached = begin(tiny_folder("llama"))
    settings: Mapping[str, Any] = {} if name == "kto" else {"nll": 0.3}
    objective = find_objective(name, settings, where="test")
    reference = references(objective, model, records)
    moved(model, attached)
    loss, whole = gradient(objective, model, attached, records, reference)
    for passes, turned in ((2, False), (8, False), (4, True)):
        order = slice(None, None, -1 if turned else 1)
        other, cut = gradient(objective, model, attached, records[order], reference[order], passes=passes)
        assert other == pytest.approx(loss, rel=1e-5)
        assert worst(cut, whole) < 1e-4


def test_nll_is_that_of_the_tokens_of_the_whole_step() -> None:
    records = pairs()
    model, attached = begin(tiny_folder("llama"))
    plain, with_nll = (find_objective("simpo", {"nll": nll}, where="test") for nll in (0.0, 0.5))
    loss, _ = gradient(plain, model, attached, records, [])
    both, _ = gradient(with_nll, model, attached, records, [], passes=4)
    with torch.no_grad():
        nll = -float(model.target_logprobs([pair.chosen for pair in records]).mean())
    assert both - loss == pytest.approx(0.5 * nll, rel=1e-4)


def test_z_of_kto_is_the_mean_over_the_step_and_never_negative() -> None:
    records = judged()
    model, attached = begin(tiny_folder("llama"))
    objective = KTO()
    reference = references(objective, model, records)
    moved(model, attached)
    batches = [MicroBatch([record], records, [own]) for record, own in zip(records, reference, strict=True)]
    with torch.no_grad():
        ratios = [
            float(model.target_logprobs([record.mismatched]).sum() - own[len(record.answer.target_ids) :].sum())
            for record, own in zip(records, reference, strict=True)
        ]
    z = objective.of_step(model, batches).z
    assert z == pytest.approx(max(0.0, sum(ratios) / 8), abs=1e-4)
    lower = [replace(batch, reference=[own + 5]) for batch, own in zip(batches, reference, strict=True)]
    assert objective.of_step(model, lower).z == 0


def run(name: str, folder: Path, *, shift: float = 0.0, dropout: float = 0.0, kind: str = "llama") -> list[Any]:
    records = records_of(name)
    model = tiny_model(kind)
    objective = find_objective(name, {}, where="test")
    config = TrainingConfig(learning_rate=1e-2, steps=3, batch_size=8, validations=0, checkpoint_seconds=0)
    recipe = TrainingRecipe(objective, config, 3)
    data = training_set("preferences", records)
    reference = [own + shift for own in reference_logprobs(model, recipe, records, data.digest, out=folder)]
    lora = find_method("lora")
    attached = lora.attach(model, read_settings(lora, {"rank": 2, "dropout": dropout}, where="test"), seed=3)
    stream = replace(shuffled_stream(data, config, seed=3), reference=reference)
    train(model, attached, stream, recipe, folder=folder / "work")
    return [line["loss"] for line in read_log(folder / "work" / "log.jsonl")]


@pytest.mark.parametrize(("name", "start"), [("dpo", math.log(2)), ("ipo", 25.0), ("apo_zero", 1.0), ("kto", 0.5)])
def test_training_starts_at_the_reference_and_gets_better(name: str, start: float, tmp_path: Path) -> None:
    losses = run(name, tmp_path)
    assert losses[0] == pytest.approx(start, rel=1e-5)
    assert losses[-1] < losses[0]


def test_a_reference_that_is_not_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as fault:
        run("apo_zero", tmp_path, shift=0.1)
    assert "before the first step the loss is " in str(fault.value)
    assert " from that of a model which is its own reference" in str(fault.value)
    assert "luthier store clean --kind references" in str(fault.value)


def test_dropout_is_off_in_the_policy_and_on_again_after(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    without, wanted = run("dpo", tmp_path / "without"), run("dpo", tmp_path / "wanted", dropout=0.5)
    assert without == wanted
    assert "dpo: dropout is off, because the model is compared with its start" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["dpo", "kto", "simpo"])
def test_a_killed_training_goes_on_to_the_same_losses(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(name, tmp_path / "whole")
    kind: Any = OBJECTIVES[name]
    loss, calls = kind.loss, [0]

    def killed(self: Any, model: Any, batch: Any) -> Any:
        calls[0] += 1
        if len(batch.records) == 8 and calls[0] > 1:
            raise BrokenOff
        return loss(self, model, batch)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "loss", killed)
        with pytest.raises(BrokenOff):
            run(name, tmp_path / "killed")
    assert len(read_log(tmp_path / "killed" / "work" / "log.jsonl")) < len(whole)
    assert run(name, tmp_path / "killed") == whole


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("dpo", {"beta": 0}, "key 'beta'"),
        ("dpo", {"beta": float("nan")}, "key 'beta'"),
        ("ipo", {"beta": -1}, "key 'beta'"),
        ("dpo", {"label_noise": 0.5}, "key 'label_noise'"),
        ("robust", {"label_noise": 0.7}, "key 'label_noise'"),
        ("simpo", {"gamma": -0.1}, "key 'gamma'"),
        ("orpo", {"weight": 0}, "key 'weight'"),
        ("kto", {"bad_weight": 0}, "key 'bad_weight'"),
        ("kto", {"nll": 1}, "unknown key 'nll'"),
        ("hinge", {"betta": 1}, "Did you mean 'beta'"),
        ("dqo", {}, "Did you mean 'dpo'"),
    ],
)
def test_wrong_settings_are_said(name: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(LuthierError, match="arm 'a'") as fault:
        find_objective(name, settings, where="arm 'a'")
    assert said in str(fault.value)


def test_every_preference_objective_has_a_rate_below_that_of_supervised_tuning() -> None:
    assert set(ALL) < set(OBJECTIVES)
    assert all(0 < OBJECTIVES[name].rate_factor < 1 for name in ALL)
