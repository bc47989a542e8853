"""ORPO and SimPO give the losses, gradients and weights of ``trl``'s experimental trainers.

ORPO is compared by its parts: ``trl`` takes the likelihood over the prompt as well, which is no answer.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from luthier.objectives.registry import find_objective
from preferences import begin, gradient, ids, moved, pairs, trained, worst
from tiny_models import tiny_folder

pytest.importorskip("trl")
orpo = pytest.importorskip("trl.experimental.orpo")
cpo = pytest.importorskip("trl.experimental.cpo")
pytestmark = pytest.mark.slow
CPU = SimpleNamespace(device=torch.device("cpu"))


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Return the ids, the mask and the labels of our pairs, the chosen answers first, padded on the right."""
    sides = [pair.chosen for pair in pairs()] + [pair.rejected for pair in pairs()]
    rows = [ids(side) for side in sides]
    longest = max(len(prompt) + len(answer) for prompt, answer in rows)
    whole = torch.zeros((len(rows), longest), dtype=torch.int64)
    labels, mask = torch.full_like(whole, -100), torch.zeros_like(whole)
    for place, (prompt, answer) in enumerate(rows):
        end = len(prompt) + len(answer)
        whole[place, :end] = torch.tensor(prompt + answer)
        labels[place, len(prompt) : end] = torch.tensor(answer)
        mask[place, :end] = 1
    return whole, mask, labels


def means(module: Any) -> tuple[Tensor, Tensor]:
    """Return the mean log-probability of each chosen and rejected answer, as the trainers compute it."""
    whole, mask, labels = batch()
    logits = module(input_ids=whole, attention_mask=mask).logits
    found: Tensor = orpo.ORPOTrainer.get_batch_logps(logits, labels, average_log_prob=True)
    return found[: len(found) // 2], found[len(found) // 2 :]


def of_orpo(module: Any) -> Tensor:
    chosen, rejected = means(module)
    losses: Tensor = orpo.ORPOTrainer.odds_ratio_loss(SimpleNamespace(beta=0.25, accelerator=CPU), chosen, rejected)[0]
    return -losses.mean()


def of_simpo(module: Any) -> Tensor:
    chosen, rejected = means(module)
    settings = SimpleNamespace(
        alpha=0.0, beta=2.5, simpo_gamma=0.8, label_smoothing=0.0, loss_type="simpo", accelerator=CPU
    )
    losses: Tensor = cpo.CPOTrainer.cpo_loss(settings, chosen, rejected)[0]
    return losses.mean()


@pytest.mark.parametrize(
    ("name", "own", "other"),
    [
        ("orpo", {"weight": 0.25, "nll": 0.0}, of_orpo),
        ("simpo", {"beta": 2.5, "gamma": 0.8}, of_simpo),
    ],
)
def test_loss_gradient_and_ten_steps_are_those_of_trl(
    name: str, own: dict[str, Any], other: Callable[[Any], Tensor], tmp_path: Path
) -> None:
    folder, records = tiny_folder("llama"), pairs()
    model, attached = begin(folder)
    theirs, held = begin(folder)
    for one, weights in ((model, attached), (theirs, held)):
        moved(one, weights)
    objective = find_objective(name, own, where="test")
    loss, found = gradient(objective, model, attached, records, [], passes=1)
    expected = other(theirs.module)
    expected.backward()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-6)
    grads = {key: weight.grad for key, weight in held.trainable().items() if weight.grad is not None}
    assert worst(found, grads) < 1e-5

    theirs, held = begin(folder)
    start = {key: weight.detach().clone() for key, weight in held.trainable().items()}
    optimizer = torch.optim.AdamW(held.trainable().values(), lr=2e-3, eps=1e-2, weight_decay=0.0)
    for _ in range(10):
        optimizer.zero_grad()
        other(theirs.module).backward()
        optimizer.step()
    ours = trained(name, own, folder, records, tmp_path, rate=2e-3, steps=10)
    assert worst(ours, start) > 1e-3, "they did move"
    assert worst(ours, {key: weight.detach() for key, weight in held.trainable().items()}) < 1e-5
