"""What holds a training near to the base: divergence, elastic weights, and weights of examples."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rows import ROWS, losses, run, start
from torch import nn

from luthier.methods.base import snapshot, writes_to_base
from luthier.models.language_model import LanguageModel, logprobs_from
from luthier.objectives import base_distribution
from luthier.objectives.base_distribution import kl_from_logits, kl_from_top, top_tokens
from luthier.objectives.divergence import Divergence, DivergenceSettings
from luthier.objectives.easy_examples import EasyExamples
from luthier.objectives.elastic_weights import ElasticWeights, ElasticWeightsSettings
from luthier.objectives.fisher import diagonal_fisher
from luthier.objectives.objective import MicroBatch
from luthier.objectives.penalty import L2StartingPoint, L2StartingPointSettings, Penalty, PenaltyTerm, Start
from luthier.records import Encoded
from luthier.training.log import read_log
from tiny_models import same_bits, tiny_model

REPLAYED = tuple(replace(row, origin="replayed") for row in ROWS[:3])


def divergence(weight: float = 1.0, on: Any = "target") -> Divergence:
    return Divergence(DivergenceSettings(weight=weight, on=on))


def begun(penalty: Penalty, model: LanguageModel, attached: Any, out: Path | None, rows: Any = ROWS) -> PenaltyTerm:
    return penalty.start(Start(model, attached, writes_to_base(attached), rows, {"threads": 1}, out))


def moved(attached: Any, by: float = 0.02) -> None:
    """Change the trained weights as a training would."""
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in attached.trainable().values():
            weight.add_(by * torch.randn(weight.shape, generator=draw))


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3", "t5", "bart"])
def test_logits_are_those_of_the_log_probabilities(name: str) -> None:
    model = tiny_model(name)
    logits = model.target_logits(ROWS)
    targets = torch.from_numpy(np.concatenate([row.target_ids for row in ROWS]).astype("int64"))
    assert logits.shape == (len(targets), model.vocabulary)
    torch.testing.assert_close(logprobs_from(logits, targets), model.target_logprobs(ROWS), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("method", ["lora", "prefix_tuning", "adapter"])
def test_divergence_with_the_method_off_is_that_of_two_copies(method: str, tmp_path: Path) -> None:
    """Value and gradient are autograd's on a copy that never had the method."""
    model, attached = start(method)
    base = tiny_model("llama")
    term = begun(divergence(0.5), model, attached, tmp_path)
    moved(attached)
    model.module.eval()
    batch = MicroBatch(ROWS, ROWS)
    value = term.on_batch(model, batch)
    assert value is not None
    found = torch.autograd.grad(value, list(attached.trainable().values()), allow_unused=True)
    with torch.no_grad():
        reference = base.target_logits(ROWS).log_softmax(dim=1)
    ours = model.target_logits(ROWS).log_softmax(dim=1)
    expected = 0.5 * (reference.exp() * (reference - ours)).sum(dim=1).mean()
    assert value.item() == pytest.approx(expected.item(), rel=1e-4)
    wanted = torch.autograd.grad(expected, list(attached.trainable().values()), allow_unused=True)
    for one, other in zip(found, wanted, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", ["lora", "full", "selective"])
def test_divergence_is_nothing_at_the_first_step(method: str, tmp_path: Path) -> None:
    model, attached = start(method)
    run(model, attached, tmp_path, penalties=(divergence(),))
    lines = read_log(tmp_path / "log.jsonl")
    assert lines[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert float(lines[-1]["kl"] or 0) > 1e-4


def test_divergence_of_a_whole_model_uses_stored_distributions(tmp_path: Path, monkeypatch: Any) -> None:
    model, attached = start("full")
    base = copy.deepcopy(model.module)
    term = begun(divergence(), model, attached, tmp_path)
    assert len(list((tmp_path / "store" / "distributions").iterdir())) == 1
    moved(attached)
    value = term.on_batch(model, MicroBatch(ROWS, ROWS))
    assert value is not None
    ours = model.target_logits(ROWS)
    model.module = base
    whole = kl_from_logits(model.target_logits(ROWS), ours).mean()
    assert 0.5 * whole.item() < value.item() <= whole.item() + 1e-6, "a lower bound, from 64 tokens and the rest"

    def computed(*_: object) -> None:
        raise AssertionError("found in the store")

    monkeypatch.setattr(base_distribution, "_computed", computed)
    model, attached = start("full")
    begun(divergence(), model, attached, tmp_path)


def test_divergence_by_hand() -> None:
    base, ours = torch.tensor([[0.5, 0.25, 0.25]]).log(), torch.tensor([[0.25, 0.5, 0.25]]).log()
    assert kl_from_logits(base, ours).item() == pytest.approx(0.5 * math.log(2) - 0.25 * math.log(2))
    # One token and the rest: 0.5 against 0.25, and 0.5 against 0.75.
    cut = kl_from_top(top_tokens(base, 1), ours)
    assert cut.item() == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(0.5 / 0.75), rel=1e-5)
    assert kl_from_top(top_tokens(base, 3), ours).item() == pytest.approx(0.25 * math.log(2), rel=1e-5)


def test_divergence_is_measured_on_what_was_chosen_and_averaged_over_its_tokens(tmp_path: Path) -> None:
    model, attached = start("lora")
    model.module.eval()
    step = (*ROWS[3:5], *REPLAYED)
    terms = {on: begun(divergence(on=on), model, attached, tmp_path) for on in ("target", "replay")}
    moved(attached)
    whole = {on: term.on_batch(model, MicroBatch(step, step)) for on, term in terms.items()}
    assert terms["target"].on_batch(model, MicroBatch(REPLAYED, step)) is None
    # However a step is cut, its parts add up.
    parts = [terms["replay"].on_batch(model, MicroBatch([row], step)) for row in step]
    total = sum(part.item() for part in parts if part is not None)
    assert whole["replay"] is not None
    assert whole["replay"].item() == pytest.approx(total, rel=1e-4)
    assert whole["target"] is not None
    assert whole["target"].item() != pytest.approx(total, rel=1e-2)


def test_divergence_keeps_a_model_near(tmp_path: Path) -> None:
    ends = {}
    for weight in (0.0, 5.0):
        model, attached = start("lora")
        run(model, attached, tmp_path / str(weight), penalties=(divergence(weight),), steps=30)
        model.module.eval()
        ours = model.target_logits(ROWS).detach()
        attached.detach()
        ends[weight] = kl_from_logits(model.target_logits(ROWS).detach(), ours).mean().item()
    assert ends[5.0] < 0.5 * ends[0.0]


def softmax(p: float) -> tuple[Any, dict[str, nn.Parameter], list[Encoded]]:
    """A model of two logits, which it says at every token."""
    module = nn.Module()
    module.register_parameter("logits", nn.Parameter(torch.tensor([math.log(p), math.log(1 - p)])))
    weight = dict(module.named_parameters())["logits"]
    empty = np.array([], dtype=np.int32)
    rows = [Encoded(str(k), empty, np.array([k % 2], dtype=np.int32)) for k in range(4096)]

    def target_logits(batch: list[Encoded]) -> torch.Tensor:
        return weight[None].expand(sum(len(row.target_ids) for row in batch), 2)

    return SimpleNamespace(module=module, target_logits=target_logits), {"logits": weight}, rows


def test_fisher_information_of_a_softmax_is_known() -> None:
    """The gradient of log p_0 by its logit is 1 - p_0 or -p_0: the mean of its square is p (1 - p)."""
    model, weights, rows = softmax(0.4)
    found = diagonal_fisher(model, weights, rows, seed=0)["logits"]
    assert found.tolist() == pytest.approx([0.24, 0.24], rel=0.02)
    # With the labels of the examples, half of which are 0: 0.5 * 0.36 + 0.5 * 0.16.
    empirical = diagonal_fisher(model, weights, rows, seed=0, empirical=True)["logits"]
    assert empirical.tolist() == pytest.approx([0.26, 0.26], rel=1e-4)
    assert weights["logits"].requires_grad


def test_fisher_information_is_that_of_single_examples() -> None:
    """Sixteen examples at once give the mean of each alone, not the square of their common gradient."""
    model = tiny_model("llama")
    weights = dict(model.module.named_parameters())
    for weight in weights.values():
        weight.requires_grad_(False)
    rows = [*ROWS, *ROWS]
    at_once = diagonal_fisher(model, weights, rows, seed=1, empirical=True)
    alone = [diagonal_fisher(model, weights, [row], seed=1, empirical=True) for row in rows]
    tokens = [len(row.target_ids) for row in rows]
    for name, found in at_once.items():
        mean = sum(one[name] * count for one, count in zip(alone, tokens, strict=True)) / sum(tokens)
        torch.testing.assert_close(found, mean, atol=1e-6, rtol=1e-4)
    assert not any(weight.requires_grad for weight in weights.values()), "as they were"


def test_elastic_weights_by_hand(tmp_path: Path) -> None:
    model, attached = start("selective", parts=["mlp"])
    penalty = ElasticWeights(ElasticWeightsSettings(weight=3.0), ROWS, "rows")
    term = begun(penalty, model, attached, tmp_path)
    own = attached.trainable()
    fisher = diagonal_fisher(model, own, ROWS, seed=0)
    moved(attached, 0.1)
    before = dict(tiny_model("llama").module.named_parameters())
    expected = 1.5 * sum(float((fisher[name] * (own[name] - before[name]).square()).sum().detach()) for name in own)
    value = term.on_weights()
    assert value is not None
    assert value.item() == pytest.approx(expected, rel=1e-5)
    assert term.on_batch(model, MicroBatch(ROWS, ROWS)) is None


def test_elastic_weights_hold_what_others_rest_on(tmp_path: Path) -> None:
    distances = {}
    for weight in (0.0, 1e5):
        model, attached = start("full")
        before = snapshot(attached)
        fisher = diagonal_fisher(model, attached.trainable(), ROWS, seed=0)
        penalty = ElasticWeights(ElasticWeightsSettings(weight=weight), ROWS, "rows")
        run(model, attached, tmp_path / str(weight), penalties=(penalty,), rate=1e-3, steps=20)
        after = snapshot(attached)
        distances[weight] = sum(float((fisher[name] * (after[name] - before[name]).square()).sum()) for name in before)
    assert distances[1e5] < 0.5 * distances[0.0]


def test_an_infinite_weight_leaves_the_base_unchanged(tmp_path: Path) -> None:
    model, attached = start("full")
    before = snapshot(attached)
    penalty = L2StartingPoint(L2StartingPointSettings(weight=1e12))
    run(model, attached, tmp_path, penalties=(penalty,), rate=1e-6, steps=20)
    after = snapshot(attached)
    assert max(float((after[name] - before[name]).abs().max()) for name in before) < 1e-5


@pytest.mark.parametrize("penalty", [divergence(0.0), ElasticWeights(ElasticWeightsSettings(weight=0.0), ROWS, "r")])
def test_an_anchor_of_weight_zero_changes_no_bit(penalty: Penalty, tmp_path: Path) -> None:
    ends = []
    for penalties in ((), (penalty,)):
        model, attached = start("full")
        run(model, attached, tmp_path / str(len(penalties)), penalties=penalties)
        ends.append((losses(tmp_path / str(len(penalties))), snapshot(attached)))
    assert ends[0][0] == ends[1][0]
    assert same_bits(ends[0][1], ends[1][1])


def test_easy_examples_weigh_more_and_one_on_average() -> None:
    """Losses 1, 2 and 3 nats a token: tau is 2, and the weights are e^-0.5, e^-1 and e^-1.5, divided by their mean."""
    reference = [torch.full((length,), -loss) for length, loss in ((4, 1.0), (2, 2.0), (7, 3.0))]
    objective = EasyExamples().fitted(ROWS[:3], reference)
    weights = [objective.weight(own) for own in reference]
    raw = [math.exp(-0.5), math.exp(-1), math.exp(-1.5)]
    assert weights == pytest.approx([one / (sum(raw) / 3) for one in raw])
    assert sum(weights) / 3 == pytest.approx(1)

    model = tiny_model("llama")
    plain = EasyExamples().loss(model, MicroBatch(ROWS[:3], ROWS[:3]))
    found = objective.loss(model, MicroBatch(ROWS[:3], ROWS[:3], reference))
    each = -model.target_logprobs(ROWS[:3])
    parts = torch.split(each, [4, 2, 7])
    assert plain.total.item() == pytest.approx(each.sum().item(), rel=1e-6)
    expected = sum(weight * part.sum().item() for weight, part in zip(weights, parts, strict=True))
    assert found.total.item() == pytest.approx(expected, rel=1e-5)
    assert found.quantities["unweighted_loss"] == pytest.approx(each.sum().item(), rel=1e-6)
    assert objective.normaliser(ROWS[:3]) == 13
