"""Padding-free batches: the logits of each example alone, whatever the architecture, or the padded way."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from luthier.kernels import fused_cross_entropy as head_module
from luthier.kernels.activation_checkpointing import recompute_activations
from luthier.kernels.attention import groups
from luthier.kernels.fused_cross_entropy import logprobs_of_targets
from luthier.kernels.variable_length import NAME, attend, bounds, padding_free, recomputation_contexts, trimmed
from luthier.models import encoder_decoder as encoder_decoder_module
from luthier.models.decoder import DecoderModel
from luthier.models.encoder_decoder import EncoderDecoderModel
from luthier.records import Encoded
from tiny_models import DECODERS, ENCODER_DECODERS, FURTHER, encoded, tiny_model

LENGTHS = ((5, 3), (20, 9), (12, 1), (3, 14), (17, 6), (18, 6))
# Their windows are shorter than the examples here, they cap logits, or they do not hand on where examples lie.
PADDED = {"gemma2", "gemma3", "mistral", "bloom", "falcon", "stablelm"}


def decoder(name: str) -> DecoderModel:
    model = tiny_model(name)
    assert isinstance(model, DecoderModel)
    return model


def require_same_gradients(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Within 5e-5 of one, and of the greatest of a tensor where that is more: mT5 is 2e-5 from float64 either way."""
    assert found.keys() == expected.keys()
    for key, gradient in found.items():
        scale, off = float(expected[key].abs().max()), float((gradient - expected[key]).abs().max())
        assert off <= 5e-5 * max(1.0, scale), f"{key}: {off} of {scale}"


@pytest.mark.parametrize("name", [*DECODERS, *FURTHER])
def test_together_end_to_end_is_like_each_alone_and_padded(name: str) -> None:
    model = decoder(name)
    items = encoded(1, LENGTHS)
    with torch.no_grad():
        alone = torch.cat([model._logprobs_padded([item]) for item in items])
        torch.testing.assert_close(model.target_logprobs(items), alone, atol=1e-5, rtol=1e-5)
    assert (model._kernel == model._logprobs_padded) is (name in PADDED)


def test_what_attends_to_chunks_of_itself_is_padded(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Llama 4 does: a layout knows of no chunks."""
    model = decoder("llama")
    short, long = encoded(1, [(5, 3), (20, 9)])
    padded: list[str] = []

    def logprobs_padded(batch: Sequence[Encoded], *, logits: bool = False) -> Tensor:
        padded.extend(item.id for item in batch)
        return DecoderModel._logprobs_padded(model, batch, logits=logits)

    assert not model.why_padded()
    monkeypatch.setattr(model, "_logprobs_padded", logprobs_padded)
    model.module.config.attention_chunk_size = 10
    for item in (short, long):
        model.target_logprobs([item])
    assert padded == [long.id]


@pytest.mark.parametrize("name", [name for name in (*DECODERS, *FURTHER) if name not in PADDED])
def test_gradients_are_those_of_the_padded_way(name: str) -> None:
    found = []
    for kernel in ("_kernel", "_logprobs_padded"):
        model = decoder(name)
        items = encoded(2, LENGTHS)
        weights = torch.linspace(0.5, 2.0, sum(len(item.target_ids) for item in items))
        (getattr(model, kernel)(items) * weights).sum().backward()
        found.append({key: w.grad.clone() for key, w in model.module.named_parameters() if w.grad is not None})
    require_same_gradients(*found)


def reader(name: str) -> EncoderDecoderModel:
    model = tiny_model(name)
    assert isinstance(model, EncoderDecoderModel)
    return model


def scale_of(model: EncoderDecoderModel) -> object:
    way = model._verified.compute
    assert isinstance(way, partial)
    return way.keywords["scale"]


@pytest.mark.parametrize("name", ENCODER_DECODERS)
def test_encoder_decoders_together_are_like_each_alone(name: str) -> None:
    """Lengths on both sides of 48 tokens, where a group of examples ends, and prompts longer and shorter."""
    model = reader(name)
    items = encoded(1, (*LENGTHS, (90, 3), (52, 60), (1, 1), (70, 55)))
    with torch.no_grad():
        alone = torch.cat([model._logprobs_padded([item]) for item in items])
        torch.testing.assert_close(model.target_logprobs(items), alone, atol=1e-5, rtol=1e-5)
    assert model.why_padded() is None
    assert scale_of(model) == (32**-0.5 if name == "t5" else 1.0)  # tied T5 alone scales


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("name", ENCODER_DECODERS)
def test_gradients_of_encoder_decoders_are_those_of_the_padded_way(name: str, recompute: bool) -> None:
    found = []
    for laid_out in (True, False):
        model = reader(name)
        items = encoded(2, (*LENGTHS, (90, 3), (52, 60)))
        weights = torch.linspace(0.5, 2.0, sum(len(item.target_ids) for item in items))
        way = model._verified.compute if laid_out else model._logprobs_padded
        if recompute and laid_out:
            model.module.train()
            context = partial(recomputation_contexts, model.module)
            recompute_activations(model.module, context)
        (way(items) * weights).sum().backward()
        found.append({key: w.grad.clone() for key, w in model.module.named_parameters() if w.grad is not None})
    require_same_gradients(*found)


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_hooks_are_gone_afterwards(name: str) -> None:
    model = reader(name)
    before = [len(part._forward_pre_hooks) + len(part._forward_hooks) for part in model.module.modules()]
    model.target_logprobs(encoded(1, LENGTHS))
    assert before == [len(part._forward_pre_hooks) + len(part._forward_hooks) for part in model.module.modules()]


def test_a_head_with_a_bias_is_the_models_own() -> None:
    model = reader("bart")
    model.module.final_logits_bias.normal_(generator=torch.Generator().manual_seed(1))
    items = encoded(1, LENGTHS)
    with torch.no_grad():
        alone = torch.cat([model._logprobs_padded([item]) for item in items])
        torch.testing.assert_close(model.target_logprobs(items), alone, atol=1e-5, rtol=1e-5)
    assert scale_of(model) is None
    assert model.why_padded() is None


@pytest.mark.parametrize(("name", "reason"), [("llama", None), ("falcon", "end to end"), ("gemma2", "soft-capping")])
def test_a_model_that_is_padded_says_why(name: str, reason: str | None) -> None:
    said = tiny_model(name).why_padded()
    assert said is None if reason is None else reason in (said or "")


def test_an_encoder_decoder_that_fails_is_padded_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    model = reader("bart")
    monkeypatch.setattr(encoder_decoder_module, "positions_restart", lambda *_: contextlib.nullcontext())
    items = encoded(1, LENGTHS)
    with torch.no_grad():
        alone = torch.cat([model._logprobs_padded([item]) for item in items])
        torch.testing.assert_close(model.target_logprobs(items), alone, atol=1e-5, rtol=1e-5)
    assert "off by" in (model.why_padded() or "")
    assert scale_of(model) == 1.0  # padded, but the head still sees targets alone


def test_a_model_that_ignores_the_bounds_would_be_wrong_and_is_found_out() -> None:
    """Falcon warns at best; laid end to end its examples see one another."""
    model = decoder("falcon")
    items = encoded(1, LENGTHS)
    with torch.no_grad():
        right = model.target_logprobs(items)
        try:
            wrong = model._logprobs_end_to_end(items, own_output_layer=True, trim=False)
        except (TypeError, RuntimeError, ValueError):
            return  # a version that refuses is as good
    assert float((wrong - right).abs().max()) > 1e-2


def test_the_other_attention_is_back_afterwards() -> None:
    model = decoder("llama")
    before = model.module.config._attn_implementation
    with padding_free(model.module):
        assert model.module.config._attn_implementation == NAME
    assert model.module.config._attn_implementation == before


@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (4, 1)])
@pytest.mark.parametrize("causal", [True, False])
def test_attention_within_examples_is_attention_behind_a_mask(heads: tuple[int, int], causal: bool) -> None:
    lengths = [90, 80, 80, 30, 30, 1]
    total, size = sum(lengths), 8
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, count, total, size, requires_grad=True) for count in (heads[0], *heads[1:] * 2))
    owner = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    seen = owner[:, None] == owner[None, :]
    seen = seen.tril() if causal else seen
    expected = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=seen, enable_gqa=True, scale=0.3)
    cuts = bounds(lengths, torch.device("cpu"))
    own, _ = attend(
        nn.Module(), query, key, value, None, scaling=0.3, is_causal=causal, cu_seq_lens_q=cuts, cu_seq_lens_k=cuts
    )
    torch.testing.assert_close(own.transpose(1, 2), expected, atol=1e-5, rtol=1e-5)
    change = torch.randn_like(expected)
    ours = torch.autograd.grad(own.transpose(1, 2), (query, key, value), change)
    theirs = torch.autograd.grad(expected, (query, key, value), change)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_examples_of_like_length_make_a_group() -> None:
    assert groups([100, 90, 70, 60, 60, 20]) == [slice(0, 3), slice(3, 5), slice(5, 6)]
    assert groups([4]) == [slice(0, 1)]
    assert groups([10, 9, 2, 2]) == [slice(0, 4)]  # too short for calls of their own
    assert groups([10, 9, 2, 2], [100, 90, 90, 60]) == [slice(0, 3), slice(3, 4)]  # what they look at is not


@pytest.mark.parametrize("held", [1, 7, 1000])
@pytest.mark.parametrize("bias", [True, False])
def test_the_head_in_pieces_is_log_softmax(monkeypatch: pytest.MonkeyPatch, held: int, bias: bool) -> None:
    torch.manual_seed(1)
    hidden = torch.randn(23, 12, requires_grad=True)
    head = nn.Linear(12, 50, bias=bias)
    targets = torch.randint(0, 50, (23,))
    monkeypatch.setattr(head_module, "_BYTES", held * 4 * 50)
    monkeypatch.setattr(head_module, "_PIECE", 16)
    weights = torch.randn(23)

    def loss(logprobs: Tensor) -> Tensor:
        return (logprobs * weights).sum()

    parts: list[Any] = [hidden, *head.parameters()]
    expected = head(hidden).log_softmax(dim=1)[torch.arange(23), targets]
    found = logprobs_of_targets(hidden, head, targets)
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        torch.autograd.grad(loss(found), parts), torch.autograd.grad(loss(expected), parts), strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_a_frozen_head_gets_no_gradient() -> None:
    hidden = torch.randn(5, 4, requires_grad=True)
    head = nn.Linear(4, 9).requires_grad_(False)
    logprobs_of_targets(hidden, head, torch.arange(5)).sum().backward()
    assert hidden.grad is not None
    assert head.weight.grad is None


def test_recomputed_activations_see_what_the_first_ones_saw() -> None:
    found = []
    for recompute in (False, True):
        model = decoder("llama")
        model.module.train()
        if recompute:
            context = partial(recomputation_contexts, model.module)
            recompute_activations(model.module, context)
        model.target_logprobs(encoded(3, LENGTHS)).sum().backward()
        found.append({key: weight.grad.clone() for key, weight in model.module.named_parameters()})
    for key, gradient in found[0].items():
        torch.testing.assert_close(found[1][key], gradient, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("name", "outer"), [("llama", 2), ("opt", 3), ("phi", 1), ("gpt2", 1)])
def test_the_last_block_is_computed_where_tokens_are_predicted(name: str, outer: int) -> None:
    """Its projection out of attention and its feed-forward layers see the targets' rows and no others."""
    model = decoder(name)
    model.target_logprobs(encoded(1, ((4, 2), (3, 3))))  # chooses the way
    way = model._verified.compute
    assert isinstance(way, partial)
    assert way.keywords == {"own_output_layer": False, "trim": True}
    rows: list[int] = []
    module = model.module
    block = max((part for part in module.modules() if isinstance(part, nn.ModuleList)), key=len)[-1]
    places = torch.tensor([3, 4, 7])
    with trimmed(module, places, 9), torch.no_grad():
        for part in block.modules():
            if part._forward_pre_hooks:
                part.register_forward_pre_hook(lambda _, given: rows.append(given[0].shape[-2]))
        read = {"position_ids": torch.arange(9)[None], "use_cache": False}
        whole = torch.arange(4, 13)[None]
        cut = module.base_model(input_ids=whole, **read).last_hidden_state[0]
    assert rows == [3] * outer
    with torch.no_grad():
        full = module.base_model(input_ids=whole, **read).last_hidden_state[0]
    torch.testing.assert_close(cut[places], full[places], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(cut[0], full[0])
