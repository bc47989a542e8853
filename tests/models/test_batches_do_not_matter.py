"""Law 5: an example does not feel its neighbours. Law 3: padding is known by length, never by token id."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from luthier.config.decoding import DecodingConfig
from luthier.inference.generation import generate
from luthier.inference.stop_conditions import Generation, StopConditions
from luthier.models.language_model import LanguageModel, pad
from luthier.records import Encoded
from tiny_models import CONFIGURATIONS, DECODERS, ENCODER_DECODERS, PAD, encoded, same_bits, state, tiny_model

LENGTHS = ((5, 3), (20, 9), (12, 1), (3, 14), (17, 6))
ORDERS = ((0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (2, 0, 4, 1, 3))


def logprobs(model: LanguageModel, items: list[Encoded]) -> list[torch.Tensor]:
    with torch.no_grad():
        flat = model.target_logprobs(items)
    return list(torch.split(flat, [len(item.target_ids) for item in items]))


def greedy(model: LanguageModel, items: list[Encoded]) -> list[Generation]:
    return generate(model, items, DecodingConfig(), StopConditions(str, 12, model.end_ids))


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_target_logprobs_are_the_same_alone_and_in_every_batch(name: str) -> None:
    model = tiny_model(name)
    items = encoded(1, LENGTHS)
    alone = [logprobs(model, [item])[0] for item in items]
    assert float(torch.cat(alone).std()) > 0.1  # the tiny model does tell tokens apart
    for order in ORDERS:
        batched = logprobs(model, [items[index] for index in order])
        for index, found in zip(order, batched, strict=True):
            torch.testing.assert_close(found, alone[index], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_greedy_generation_is_the_same_alone_and_in_every_batch(name: str) -> None:
    model = tiny_model(name)
    items = encoded(2, LENGTHS)
    alone = [greedy(model, [item])[0] for item in items]
    assert len({generation.text for generation in alone}) > 1  # it depends on the prompt
    for order in ORDERS:
        assert greedy(model, [items[index] for index in order]) == [alone[index] for index in order]


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_logits_do_not_change_when_ended_neighbours_leave_the_batch(name: str) -> None:
    """Longer than the sliding windows, so that their caches have rolled over when the rows are taken out."""
    model = tiny_model(name)
    prompts = [item.prompt_ids for item in encoded(3, LENGTHS)]
    steps = torch.randint(4, 60, (14, len(prompts)), generator=torch.Generator().manual_seed(3))
    leaving = {4: [0, 2, 3, 4], 9: [0, 3]}
    with torch.no_grad():
        alone = []
        for row, prompt in enumerate(prompts):
            single = model.begin([prompt])
            logits = [single.logits[0]]
            for step in steps:
                single.advance(step[row : row + 1])
                logits.append(single.logits[0])
            alone.append(torch.stack(logits))
        rows = list(range(len(prompts)))
        together = model.begin(prompts)
        for number, step in enumerate(steps):
            if number in leaving:
                kept = leaving[number]
                together.keep(torch.tensor(kept))
                rows = [rows[index] for index in kept]
            for place, row in enumerate(rows):
                torch.testing.assert_close(together.logits[place], alone[row][number], atol=2e-5, rtol=1e-4)
            together.advance(step[rows])


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt", "bloom", "t5", "bart"])
def test_the_padding_token_may_occur_in_the_text(name: str) -> None:
    model = tiny_model(name)
    items = encoded(4, LENGTHS)
    for item in items[1:]:
        item.prompt_ids[1:3] = PAD
        item.target_ids[:-1:2] = PAD
    alone = [logprobs(model, [item])[0] for item in items]
    for found, expected in zip(logprobs(model, items), alone, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert greedy(model, items) == [greedy(model, [item])[0] for item in items]
    # It is read like any other token: in its place another one changes what follows.
    other = replace(items[1], prompt_ids=np.where(items[1].prompt_ids == PAD, 9, items[1].prompt_ids))
    assert not torch.allclose(logprobs(model, [other])[0], alone[1], atol=1e-3)


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_padding_with_the_end_token_changes_nothing(name: str) -> None:
    """Many models pad with their end token; it must still be learned."""
    model = tiny_model(name)
    items = encoded(5, LENGTHS)
    before = torch.cat(logprobs(model, items))
    model.tokenizer.pad_token = model.tokenizer.eos_token
    model.module.config.pad_token_id = model.tokenizer.eos_token_id
    assert torch.equal(torch.cat(logprobs(model, items)), before)


def test_pad_knows_padding_by_length() -> None:
    rows = [np.array([0, 7], dtype=np.int32), np.array([5, 0, 0], dtype=np.int32)]
    left, left_mask = pad(rows, side="left", value=0, device=torch.device("cpu"))
    right, right_mask = pad(rows, side="right", value=0, device=torch.device("cpu"))
    assert left.tolist() == [[0, 0, 7], [5, 0, 0]]
    assert left_mask.tolist() == [[0, 1, 1], [1, 1, 1]]
    assert right.tolist() == [[0, 7, 0], [5, 0, 0]]
    assert right_mask.tolist() == [[1, 1, 0], [1, 1, 1]]


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_restore_gives_the_base_back_bit_for_bit(name: str) -> None:
    model = tiny_model(name)
    base = state(model)
    identities = {key: id(parameter) for key, parameter in model.module.named_parameters()}
    with torch.no_grad():
        for tensor in model.module.state_dict().values():
            tensor.add_(1)
    assert not same_bits(state(model), base)
    model.restore()
    assert same_bits(state(model), base)
    assert {key: id(parameter) for key, parameter in model.module.named_parameters()} == identities


@pytest.mark.parametrize(("names", "kind"), [(DECODERS, False), (ENCODER_DECODERS, True)])
def test_models_say_what_they_are(names: tuple[str, ...], kind: bool) -> None:
    for name in names:
        model = tiny_model(name)
        assert model.encoder_decoder is kind
        assert model.max_length == 128 or name in ("bloom",)  # BLOOM has no positions: the tokenizer's limit holds
        assert not model.module.training
        assert model.vocabulary == model.module.get_input_embeddings().num_embeddings
