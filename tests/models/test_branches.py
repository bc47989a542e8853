"""Answers after one prompt, computed as a tree, are those of rows: log-probabilities, gradients, a tree by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from luthier.kernels.branches import token_tree
from luthier.methods.registry import find_method, read_settings
from luthier.models.decoder import DecoderModel
from luthier.models.language_model import LanguageModel
from luthier.records import Encoded
from tiny_models import encoded, tiny_model


def groups() -> list[list[Encoded]]:
    """Two groups of two, of which the second begins alike, one of three, and one alone."""
    made = encoded(71, [(9, 4), (9, 6), (5, 3), (5, 4), (7, 2), (7, 3), (7, 5), (4, 4)])
    first, second, third, alone = made[0:2], made[2:4], made[4:7], made[7:]
    second[1] = replace(second[1], target_ids=np.concatenate([second[0].target_ids[:2], second[1].target_ids]))
    return [[replace(item, prompt_ids=own[0].prompt_ids) for item in own] for own in (first, second, third, alone)]


def test_a_tree_by_hand() -> None:
    rows = [np.array(row, np.int32) for row in ([1, 2, 3, 4], [1, 2, 5], [7, 8])]
    tree = token_tree([rows[:2], rows[2:]])
    assert tree.tokens.tolist() == [1, 2, 3, 4, 5, 7, 8]
    assert tree.positions.tolist() == [0, 1, 2, 3, 2, 0, 1]
    assert tree.rows.tolist() == [0, 1, 2, 3, 0, 1, 4, 5, 6]
    assert tree.first.tolist() == [0, 1, 2, 3, 6, 7, 8]
    assert np.concatenate(rows)[tree.first].tolist() == tree.tokens.tolist()


def gradients(model: LanguageModel, method: str, *, tree: bool) -> tuple[Tensor, dict[str, Tensor]]:
    found = find_method(method)
    attached = found.attach(model, read_settings(found, {}, where="test"), seed=3)
    model.module.train()
    try:
        flat = [item for group in groups() for item in group]
        logprobs = model.branch_logprobs(groups()) if tree else model.target_logprobs(flat)
        weights = torch.linspace(-1, 1, len(logprobs))
        (logprobs * weights).sum().backward()
        own = {name: weight.grad for name, weight in attached.trainable().items() if weight.grad is not None}
        return logprobs.detach(), own
    finally:
        model.module.eval()
        attached.detach()


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("name", ["llama", "llama-tied", "qwen3", "gpt2", "gemma3", "t5"])
def test_a_tree_gives_the_numbers_of_rows(name: str, method: str) -> None:
    by_rows, rows = gradients(tiny_model(name), method, tree=False)
    by_tree, tree = gradients(tiny_model(name), method, tree=True)
    torch.testing.assert_close(by_tree, by_rows, atol=1e-5, rtol=1e-5)
    assert rows.keys() == tree.keys()
    scale = max(float(gradient.abs().max()) for gradient in rows.values())
    assert max(float((tree[key] - rows[key]).abs().max()) for key in rows) < 1e-5 * scale


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2"])
def test_decoders_compute_what_is_shared_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(name)
    assert isinstance(model, DecoderModel)
    assert model._branches_agree
    seen: list[int] = []
    table = model.module.get_input_embeddings()
    hook = table.register_forward_hook(lambda _, given, __: seen.append(given[0].numel()))
    flat = [item for group in groups() for item in group]
    try:
        model.branch_logprobs(groups())
        model.target_logprobs(flat)
    finally:
        hook.remove()
    shared = 9 + 5 + 2 + 2 * 7
    assert seen == [seen[1] - shared, sum(len(item.prompt_ids) + len(item.target_ids) - 1 for item in flat)]
