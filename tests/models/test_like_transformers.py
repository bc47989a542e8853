"""The same numbers as transformers' own loss and its own ``generate``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from luthier.config.decoding import DecodingConfig
from luthier.inference.generation import generate
from luthier.inference.stop_conditions import StopConditions
from luthier.models.language_model import LanguageModel
from luthier.objectives.cross_entropy import CrossEntropy, cross_entropy, target_tokens
from luthier.objectives.objective import MicroBatch, mean_loss
from luthier.records import Encoded
from tiny_models import CONFIGURATIONS, DECODERS, ENCODER_DECODERS, encoded, tiny_model

LENGTHS = ((5, 3), (20, 9), (12, 1), (3, 14))


def right_padded(rows: list[np.ndarray[Any, Any]], value: int) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row.tolist(), *[value] * (longest - len(row))] for row in rows])


def transformers_loss(model: LanguageModel, items: list[Encoded]) -> float:
    """Mean over the supervised tokens, from ``labels`` with -100 where nothing is learned."""
    if model.encoder_decoder:
        prompts = [item.prompt_ids for item in items]
        mask = right_padded([np.ones(len(row), int) for row in prompts], 0)
        labels = right_padded([item.target_ids for item in items], -100)
        output = model.module(input_ids=right_padded(prompts, 0), attention_mask=mask, labels=labels)
    else:
        rows = [np.concatenate([item.prompt_ids, item.target_ids]) for item in items]
        mask = right_padded([np.ones(len(row), int) for row in rows], 0)
        hidden = [np.concatenate([np.full(len(item.prompt_ids), -100), item.target_ids]) for item in items]
        labels = right_padded(hidden, -100)
        output = model.module(input_ids=right_padded(rows, 0), attention_mask=mask, labels=labels)
    return float(output.loss)


@pytest.mark.parametrize("name", CONFIGURATIONS)
@torch.no_grad()
def test_loss_is_that_of_transformers(name: str) -> None:
    model = tiny_model(name)
    items = encoded(11, LENGTHS)
    ours = float(cross_entropy(model, items)) / target_tokens(items)
    assert target_tokens(items) == 27
    assert ours == pytest.approx(transformers_loss(model, items), rel=1e-5)
    assert mean_loss(
        CrossEntropy(), model, [MicroBatch(part, items) for part in (items[:1], items[1:])]
    ) == pytest.approx(ours, rel=1e-5)


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "bart"])
def test_gradient_is_that_of_transformers(name: str) -> None:
    model = tiny_model(name)
    items = encoded(12, LENGTHS)
    (cross_entropy(model, items) / target_tokens(items)).backward()
    ours = {key: weight.grad.clone() for key, weight in model.module.named_parameters() if weight.grad is not None}
    model.module.zero_grad()
    if model.encoder_decoder:
        prompts = [item.prompt_ids for item in items]
        arguments = {
            "input_ids": right_padded(prompts, 0),
            "attention_mask": right_padded([np.ones(len(row), int) for row in prompts], 0),
            "labels": right_padded([item.target_ids for item in items], -100),
        }
    else:
        rows = [np.concatenate([item.prompt_ids, item.target_ids]) for item in items]
        hidden = [np.concatenate([np.full(len(item.prompt_ids), -100), item.target_ids]) for item in items]
        arguments = {
            "input_ids": right_padded(rows, 0),
            "attention_mask": right_padded([np.ones(len(row), int) for row in rows], 0),
            "labels": right_padded(hidden, -100),
        }
    model.module(**arguments).loss.backward()
    theirs = {key: weight.grad for key, weight in model.module.named_parameters() if weight.grad is not None}
    assert ours.keys() == theirs.keys()
    for key, gradient in theirs.items():
        torch.testing.assert_close(ours[key], gradient, atol=1e-5, rtol=1e-4, msg=key)


@pytest.mark.parametrize("name", [*DECODERS, *ENCODER_DECODERS])
@torch.no_grad()
def test_greedy_text_is_that_of_generate(name: str) -> None:
    model = tiny_model(name)
    items = encoded(13, LENGTHS)
    ending = StopConditions(lambda ids: " ".join(map(str, ids)), 12, model.end_ids)
    ours = generate(model, items, DecodingConfig(), ending)
    for item, generation in zip(items, ours, strict=True):
        ids = torch.from_numpy(item.prompt_ids.astype("int64"))[None]
        theirs = model.module.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12
        )[0].tolist()
        new = theirs[1:] if model.encoder_decoder else theirs[len(item.prompt_ids) :]
        assert len(new) == generation.tokens
        ended = new[-1] in model.end_ids
        assert generation.finish == ("stop" if ended else "length")
        assert generation.text == " ".join(map(str, new[:-1] if ended else new))
