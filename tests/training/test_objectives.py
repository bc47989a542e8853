"""The seam between the loop and its objectives: records of another kind, a reference, named quantities, penalties."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from rows import ROWS, losses, run, start

from luthier.config.base import Settings
from luthier.config.training import TrainingConfig
from luthier.data.encoding import Encoder
from luthier.errors import ConfigError
from luthier.methods.base import snapshot
from luthier.models.language_model import LanguageModel
from luthier.objectives.cross_entropy import CrossEntropy, CrossEntropySettings, cross_entropy
from luthier.objectives.objective import LossSum, MicroBatch, Objective, cut_into_micro_batches, supervised_tokens
from luthier.objectives.penalty import L2StartingPoint, L2StartingPointSettings, Start
from luthier.objectives.registry import find_objective, find_penalty
from luthier.records import Dropped, Encoded, Example
from luthier.training import reference as reference_module
from luthier.training.log import read_log
from luthier.training.loop import train
from luthier.training.recipe import TrainingRecipe
from luthier.training.reference import reference_logprobs
from luthier.training.stream import TrainingSet, shuffled_stream, training_set
from tiny_models import same_bits


class BrokenOff(Exception):
    """Stands for a kill, or for work that must not be done."""


@dataclass(frozen=True)
class Pair:
    """Two answers, of which the first is the better one."""

    id: str
    better: Encoded
    worse: Encoded


@dataclass(frozen=True)
class Margin:
    """Minus the log-ratio of the better answer to the worse one, each against the reference, per pair."""

    name: ClassVar[str] = "margin"
    settings_class: ClassVar[type[Settings]] = CrossEntropySettings
    settings: Settings = field(default_factory=CrossEntropySettings)
    needs_reference: bool = True
    learns_from: ClassVar[str] = "pairs"
    rate_factor: ClassVar[float] = 1.0

    def prepare(self, examples: Iterable[Example], encoder: Encoder) -> Iterator[Pair | Dropped]:
        raise NotImplementedError

    def fitted(self, records: Sequence[Pair], reference: Sequence[torch.Tensor]) -> Margin:
        return self

    def of_step(self, model: LanguageModel, batches: Sequence[MicroBatch[Pair]]) -> Margin:
        return self

    def sequences(self, record: Pair) -> Sequence[Encoded]:
        return (record.better, record.worse)

    def tokens(self, record: Pair) -> int:
        return sum(len(item.prompt_ids) + len(item.target_ids) for item in self.sequences(record))

    def normaliser(self, step: Sequence[Pair]) -> float:
        return len(step)

    def loss(self, model: LanguageModel, batch: MicroBatch[Pair]) -> LossSum:
        sequences = [item for record in batch.records for item in self.sequences(record)]
        ratio = model.target_logprobs(sequences) - torch.cat(list(batch.reference))
        signs = torch.cat([torch.full((len(item.target_ids),), 1 - 2 * (k % 2)) for k, item in enumerate(sequences)])
        margin = (ratio * signs).sum()
        return LossSum(-margin, {"margin": float(margin.detach()), "pairs": float(len(batch.records))})


PAIRS: TrainingSet[Pair] = training_set(
    "pairs", [Pair(f"pair-{k}", ROWS[2 * k], ROWS[2 * k + 1]) for k in range(len(ROWS) // 2)]
)


def recipe(**training: Any) -> TrainingRecipe[Pair]:
    given = {"learning_rate": 1e-2, "steps": 4, "batch_size": 4, "validations": 0, "epsilon": 1e-2, **training}
    return TrainingRecipe(Margin(), TrainingConfig(**given), 3)


def train_on_pairs(folder: Path, **training: Any) -> list[dict[str, Any]]:
    model, attached = start(dropout=0.0)
    how = recipe(**training)
    attached.detach()
    reference = reference_logprobs(model, how, PAIRS.records, PAIRS.digest, out=folder)
    attached.reattach()
    stream = shuffled_stream(PAIRS, how.config, seed=3)
    train(model, attached, replace(stream, reference=reference), how, folder=folder / "work")
    return [dict(line) for line in read_log(folder / "work" / "log.jsonl")]


def test_a_margin_against_the_reference_starts_at_zero_and_grows(tmp_path: Path) -> None:
    lines = train_on_pairs(tmp_path)
    assert lines[0]["loss"] == pytest.approx(0, abs=1e-5)
    assert lines[-1]["margin"] > 0.01
    assert all(line["margin"] == pytest.approx(-line["loss"], abs=1e-6) for line in lines)
    assert all(line["pairs"] == 1 for line in lines), "quantities are divided by the normaliser of the step, too"


def test_pairs_are_never_split_and_the_cut_changes_nothing(tmp_path: Path) -> None:
    batches = cut_into_micro_batches(Margin(), PAIRS.records, 1)
    assert [len(batch.records) for batch in batches] == [1, 1, 1, 1]
    assert all(batch.step == PAIRS.records for batch in batches)
    whole = train_on_pairs(tmp_path / "whole")
    cut = train_on_pairs(tmp_path / "cut", micro_tokens=1)
    assert [line["loss"] for line in cut] == pytest.approx([line["loss"] for line in whole], abs=1e-5)
    assert cut[-1]["gradient_norm"] == pytest.approx(whole[-1]["gradient_norm"], rel=1e-4)


def test_the_reference_is_computed_once_and_keyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, attached = start()
    attached.detach()
    found = reference_logprobs(model, recipe(), PAIRS.records, PAIRS.digest, out=tmp_path)
    with torch.no_grad():
        for record, logprobs in zip(PAIRS.records, found, strict=True):
            alone = [model.target_logprobs([item]) for item in (record.better, record.worse)]
            torch.testing.assert_close(logprobs, torch.cat(alone), atol=1e-5, rtol=1e-5)

    def forbidden(*_: Any) -> Any:
        raise BrokenOff

    monkeypatch.setattr(reference_module, "compute_logprobs", forbidden)
    again = reference_logprobs(model, recipe(), PAIRS.records, PAIRS.digest, out=tmp_path)
    assert all(torch.equal(one, other) for one, other in zip(found, again, strict=True))
    for digest, products in (("other records", None), (PAIRS.digest, torch.bfloat16)):
        with pytest.raises(BrokenOff), model.in_precision(products):
            reference_logprobs(model, recipe(), PAIRS.records, digest, out=tmp_path)


def test_cross_entropy_needs_no_reference_and_logs_what_it_always_did(tmp_path: Path) -> None:
    model, attached = start()
    plain = TrainingRecipe(CrossEntropy(), TrainingConfig(learning_rate=1e-2), 3)
    assert reference_logprobs(model, plain, ROWS, "rows", out=tmp_path / "store") == []
    assert not (tmp_path / "store").exists()
    run(model, attached, tmp_path / "work", steps=1)
    (line,) = read_log(tmp_path / "work" / "log.jsonl")
    names = ("step", "loss", "learning_rate", "gradient_norm", "tokens_per_second", "memory_bytes", "micro_tokens")
    assert tuple(line) == names
    assert supervised_tokens(CrossEntropy(), ROWS) == 32


def test_objectives_and_penalties_are_found_by_name() -> None:
    objective: Objective[Encoded] = find_objective("cross_entropy", {}, where="arm 'a'")
    assert objective == CrossEntropy()
    assert find_penalty("l2_sp", {"weight": 0.5}, where="arm 'a'").settings == L2StartingPointSettings(weight=0.5)
    with pytest.raises(ConfigError, match="unknown objective 'cross_entropi'"):
        find_objective("cross_entropi", {}, where="arm 'a'")
    with pytest.raises(ConfigError, match="unknown penalty 'l3'"):
        find_penalty("l3", {}, where="arm 'a'")
    with pytest.raises(ConfigError, match="unknown key 'wait'"):
        find_penalty("l2_sp", {"wait": 1}, where="arm 'a'")


def l2(weight: float) -> tuple[L2StartingPoint]:
    return (L2StartingPoint(L2StartingPointSettings(weight=weight)),)


def test_l2_sp_by_hand() -> None:
    """Half of alpha times the squared distance; its gradient is alpha times the distance."""
    model, attached = start("full")
    weights = attached.trainable()
    term = l2(0.3)[0].start(Start(model, attached, True, ROWS, {}, None))
    moved = {name: 0.01 * (k + 1) for k, name in enumerate(weights)}
    with torch.no_grad():
        for name, weight in weights.items():
            weight.add_(moved[name])
    value = term.on_weights()
    assert value is not None
    expected = 0.15 * sum(moved[name] ** 2 * weight.numel() for name, weight in weights.items())
    assert value.item() == pytest.approx(expected, rel=1e-4)
    value.backward()
    for name, weight in weights.items():
        assert weight.grad is not None
        torch.testing.assert_close(weight.grad, torch.full_like(weight, 0.3 * moved[name]), atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_l2_sp_joins_the_gradient_and_keeps_the_weights_near(method: str, tmp_path: Path) -> None:
    distances = {}
    for weight in (0.0, 10.0):
        model, attached = start(method)
        before = snapshot(attached)
        run(model, attached, tmp_path / str(weight), penalties=l2(weight), rate=1e-3, steps=40)
        after = snapshot(attached)
        distances[weight] = sum(float((after[name] - before[name]).square().sum()) for name in before)
    assert distances[10.0] < 0.5 * distances[0.0]
    lines = read_log(tmp_path / "10.0" / "log.jsonl")
    assert lines[0]["l2_sp"] == 0, "at the start nothing has moved"
    assert lines[-1]["l2_sp"] == pytest.approx(5 * distances[10.0], rel=0.5), "the last line is of the step before"
    assert lines[0]["loss"] == losses(tmp_path / "0.0")[0], "the penalty is logged apart from the loss"


def test_a_penalty_of_weight_zero_changes_no_bit(tmp_path: Path) -> None:
    ends = []
    for penalties in ((), l2(0.0)):
        model, attached = start()
        run(model, attached, tmp_path / str(len(penalties)), penalties=penalties)
        ends.append((losses(tmp_path / str(len(penalties))), snapshot(attached)))
    assert ends[0][0] == ends[1][0]
    assert same_bits(ends[0][1], ends[1][1])
    assert "l2_sp" not in read_log(tmp_path / "1" / "log.jsonl")[0]


def test_a_training_with_a_penalty_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    """Its starting point is that of the first process, not the checkpoint's."""
    ends = {}
    for at in (None, 5):
        calls = [0]

        def objective(model: LanguageModel, batch: Sequence[Encoded]) -> torch.Tensor:
            calls[0] += 1  # noqa: B023 - called within this pass
            if calls[0] == at:  # noqa: B023
                raise BrokenOff
            return cross_entropy(model, batch)

        folder = tmp_path / str(at)
        if at is not None:
            model, attached = start()
            with pytest.raises(BrokenOff):
                run(model, attached, folder, objective=objective, penalties=l2(1.0), checkpoint_seconds=0)
        torch.manual_seed(99)
        model, attached = start()
        run(model, attached, folder, validate=None, penalties=l2(1.0), checkpoint_seconds=0)
        ends[at] = (losses(folder), snapshot(attached))
    assert ends[None][0] == ends[5][0]
    assert same_bits(ends[None][1], ends[5][1])
