"""Linear layers with weights laid out for oneDNN compute what they did, and are themselves again afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from luthier.kernels import packed_linear
from luthier.kernels.packed_linear import packed_linear_layers

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")


def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(160, 200), nn.ReLU(), nn.Linear(200, 160, bias=False), nn.Linear(160, 8))


@pytest.mark.parametrize("shape", [(1, 160), (7, 160), (1, 300, 160), (0, 160)])
@torch.no_grad()
def test_products_are_the_same_but_for_rounding(shape: tuple[int, ...]) -> None:
    model, states = layers(), torch.randn(shape)
    expected = model(states)
    with packed_linear_layers(model):
        assert [("forward" in vars(part)) for part in model] == [True, False, True, False]  # the last one is small
        torch.testing.assert_close(model(states), expected, rtol=1e-5, atol=1e-5)
    assert not any("forward" in vars(part) for part in model)
    assert torch.equal(model(states), expected)


def test_a_layer_computes_by_itself_where_a_gradient_is_asked_for() -> None:
    model, states = layers(), torch.randn(3, 160)
    with packed_linear_layers(model):
        model(states).sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())


def test_copies_that_would_take_the_memory_are_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    model = layers()
    copies = 4 * (160 * 200 + 200 * 160)  # bytes
    monkeypatch.setattr(packed_linear, "free_bytes", lambda device: 4 * copies - 1)
    with packed_linear_layers(model):
        assert not any("forward" in vars(part) for part in model)
    monkeypatch.setattr(packed_linear, "free_bytes", lambda device: 4 * copies)
    with packed_linear_layers(model):
        assert "forward" in vars(model[0])


@torch.no_grad()
def test_what_another_has_changed_stays() -> None:
    model = layers()
    model[0].forward = lambda states: states.new_zeros(len(states), 200)
    with packed_linear_layers(model):
        assert not model[0](torch.ones(2, 160)).any()
    assert "forward" in vars(model[0])
