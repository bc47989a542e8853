"""Attention end to end against softmax written out, example by example, in float64: results and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from luthier.kernels import cpu_attention
from luthier.kernels.attention import attend_end_to_end
from luthier.kernels.cpu_attention import ExampleLengths

HEADS, SIZE = 4, 8


def written_out(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, asked: list[int], known: list[int], causal: bool
) -> Tensor:
    """``softmax(q k' / sqrt(8) + bias) v`` of each example alone."""
    found = []
    shared = q.shape[1] // k.shape[1]
    for one_q, one_k, one_v in zip(q.split(asked), k.split(known), v.split(known), strict=True):
        keys, values = (whole.repeat_interleave(shared, dim=1) for whole in (one_k, one_v))
        logits = torch.einsum("qhd,khd->hqk", one_q, keys) / SIZE**0.5
        if bias is not None:
            logits = logits + bias[0, :, : len(one_q), : len(one_k)]
        if causal:
            later = torch.ones(len(one_q), len(one_k), dtype=torch.bool).triu(1)
            logits = logits.masked_fill(later, -torch.inf)
        found.append(torch.einsum("hqk,khd->qhd", logits.softmax(dim=-1), values))
    return torch.cat(found)


@pytest.mark.parametrize("key_heads", [4, 2])
@pytest.mark.parametrize("biased", [None, "frozen", "trained"])
@pytest.mark.parametrize("causal", [True, False])
def test_results_and_gradients_are_those_of_softmax(key_heads: int, biased: str | None, causal: bool) -> None:
    """Groups of one length, of several, and of one example; keys of other lengths than queries where not causal."""
    if biased == "trained" and key_heads != HEADS:
        pytest.skip("no model trains a bias and shares keys")
    asked = [70, 60, 20, 9, 9, 1]
    known = asked if causal else [12, 66, 3, 30, 30, 60]
    draw = torch.Generator().manual_seed(3)
    tensors = [
        torch.randn(sum(asked), HEADS, SIZE, generator=draw),
        torch.randn(sum(known), key_heads, SIZE, generator=draw),
        torch.randn(sum(known), key_heads, SIZE, generator=draw),
    ]
    bias = None if biased is None else torch.randn(1, HEADS, 70, 70, generator=draw)
    weights = torch.randn(sum(asked), HEADS, SIZE, generator=draw)
    found: list[Tensor] = []
    expected: list[Tensor] = []
    for kept, dtype in ((found, torch.float32), (expected, torch.float64)):
        q, k, v = (tensor.detach().to(dtype).requires_grad_() for tensor in tensors)
        own = None if bias is None else bias.detach().to(dtype).requires_grad_(biased == "trained")
        if dtype == torch.float64:
            out = written_out(q, k, v, own, asked, known, causal)
        else:
            lengths = ExampleLengths(np.array(asked), np.array(known))
            out = attend_end_to_end(q, k, v, own, lengths=lengths, causal=causal, scaling=None, dropout=0.0)
        (out * weights.to(dtype)).sum().backward()
        trained = [leaf for leaf in (q, k, v, own) if leaf is not None and leaf.requires_grad]
        kept += [out.detach(), *(leaf.grad for leaf in trained if leaf.grad is not None)]
    assert len(found) == (5 if biased == "trained" else 4)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("logits", [1, 3 * 32 * 64, 2**18])
def test_pieces_do_not_matter(monkeypatch: pytest.MonkeyPatch, logits: int) -> None:
    """One key head of one example at a time, some of them, or all that there are."""
    asked = [100, 33, 32, 5]
    draw = torch.Generator().manual_seed(5)
    q, k, v = (torch.randn(sum(asked), heads, SIZE, generator=draw, requires_grad=True) for heads in (HEADS, 2, 2))
    lengths = np.array(asked)
    monkeypatch.setattr(cpu_attention, "_LOGITS", logits)
    for causal in (True, False):
        found = attend_end_to_end(
            q, k, v, None, lengths=ExampleLengths(lengths, lengths), causal=causal, scaling=None, dropout=0.0
        )
        expected = written_out(q, k, v, None, asked, asked, causal)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        gradients = [torch.autograd.grad(out.square().sum(), (q, k, v)) for out in (found, expected)]
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_bf16_attends_in_float32() -> None:
    """Of what bf16 holds exactly, softmax written out in float32 and rounded once; autocast changes nothing."""
    lengths = np.array([70, 9])
    draw = torch.Generator().manual_seed(7)
    q, k, v = (torch.randn(79, HEADS, SIZE, generator=draw).bfloat16().requires_grad_() for _ in range(3))
    with torch.autocast("cpu", torch.bfloat16):
        found = attend_end_to_end(
            q, k, v, None, lengths=ExampleLengths(lengths, lengths), causal=True, scaling=None, dropout=0.0
        )
    expected = written_out(q.float(), k.float(), v.float(), None, [70, 9], [70, 9], True)
    assert found.dtype is torch.bfloat16
    assert (found == expected.bfloat16()).float().mean() > 0.99
    found.float().sum().backward()
    assert v.grad is not None
    assert v.grad.dtype is torch.bfloat16


def test_one_number_is_a_bias_of_every_place() -> None:
    lengths = np.array([40, 3])
    q, k, v = (torch.randn(43, HEADS, SIZE) for _ in range(3))
    found = [
        attend_end_to_end(
            q, k, v, bias, lengths=ExampleLengths(lengths, lengths), causal=False, scaling=None, dropout=0.0
        )
        for bias in (torch.zeros(1, 1, 1, 1), None)
    ]
    torch.testing.assert_close(*found)


def test_dropout_drops() -> None:
    """With three of four weights dropped, one token that sees itself alone gives zero, or four times its value."""
    q, k, v = torch.ones(200, 1, 2), torch.ones(200, 1, 2), torch.ones(200, 1, 2)
    ones = np.ones(200, dtype=np.int64)
    torch.manual_seed(0)
    found = attend_end_to_end(
        q, k, v, None, lengths=ExampleLengths(ones, ones), causal=True, scaling=None, dropout=0.75
    )
    assert {round(value) for value in found.flatten().tolist()} == {0, 4}
