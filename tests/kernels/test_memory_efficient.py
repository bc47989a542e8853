"""Parts that remember less: the same numbers and gradients, for those that are what they seem, and no others."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import Tensor

from luthier.kernels import variable_length as varlen_module
from luthier.kernels.memory_efficient import _forward_of, memory_efficient_layers
from luthier.models.decoder import DecoderModel
from luthier.models.language_model import LanguageModel
from tiny_models import encoded, tiny_model

ITEMS = ((5, 3), (20, 9), (12, 1), (3, 14))


def gradients(model: LanguageModel, dtype: torch.dtype | None = None) -> tuple[Tensor, dict[str, Tensor]]:
    model.module.zero_grad()
    with model.in_precision(dtype):
        found = model.target_logprobs(encoded(2, ITEMS))
    (found * torch.linspace(0.5, 2.0, len(found))).sum().backward()
    return found.detach(), {
        name: weight.grad.clone() for name, weight in model.module.named_parameters() if weight.grad is not None
    }


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("llama", 2 * 2 + 1 + 2),  # two norms a block and one at the end, two feed-forward layers
        ("llama-tied", 7),
        ("qwen3", 7 + 2 * 2),  # queries and keys are normalised too
        ("gpt2", 0),
        ("t5", 2 * 2 + 2 * 3 + 2),  # its feed-forward layers have no gate
    ],
)
def test_the_same_numbers_and_gradients(name: str, taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(name)
    assert sum(_forward_of(part) is not None for part in model.module.modules()) == taken
    model.why_padded()
    found, changes = gradients(model)
    monkeypatch.setattr(varlen_module, "memory_efficient_layers", lambda _: contextlib.nullcontext())
    expected, expected_changes = gradients(model)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert changes.keys() == expected_changes.keys()
    for key, change in changes.items():
        assert change.layout == torch.strided
        assert (change - expected_changes[key]).abs().max() <= 2e-5 * max(1.0, float(expected_changes[key].abs().max()))


def test_in_bf16_only_rounding_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    model.why_padded()
    found, changes = gradients(model, torch.bfloat16)
    monkeypatch.setattr(varlen_module, "memory_efficient_layers", lambda _: contextlib.nullcontext())
    expected, expected_changes = gradients(model, torch.bfloat16)
    torch.testing.assert_close(found, expected, atol=0.2, rtol=0.02)
    for key, change in changes.items():
        cosine = torch.nn.functional.cosine_similarity(change.flatten(), expected_changes[key].flatten(), dim=0)
        assert cosine > 0.99, key


@pytest.mark.parametrize("name", ["gemma", "gemma2", "gemma3"])
def test_a_norm_that_adds_one_to_its_weight_is_left_alone(name: str) -> None:
    try:
        model = tiny_model(name)
    except KeyError:
        pytest.skip("there is no such tiny model")
    norms = [part for part in model.module.modules() if type(part).__name__.endswith("RMSNorm")]
    assert norms
    assert all(_forward_of(part) is None for part in norms)


def test_everything_is_as_before_afterwards() -> None:
    model = tiny_model("llama-tied")
    assert isinstance(model, DecoderModel)
    with memory_efficient_layers(model.module):
        assert model.module.get_input_embeddings().sparse
        assert sum("forward" in part.__dict__ for part in model.module.modules()) == 7
    assert not model.module.get_input_embeddings().sparse
    assert not any("forward" in part.__dict__ for part in model.module.modules())


def test_it_remembers_less() -> None:
    """Of what a block keeps per token: two norms one tensor less each, the feed-forward layer two less and wider."""
    model = tiny_model("llama")
    model.why_padded()
    kept: dict[bool, int] = {}
    for switch in (True, False):
        seen: dict[int, Tensor] = {}

        def remember(tensor: Tensor) -> Tensor:
            seen[tensor.untyped_storage().data_ptr()] = tensor  # noqa: B023 - called within this pass
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
            if switch:
                model.target_logprobs(encoded(2, ITEMS))
            else:
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(varlen_module, "memory_efficient_layers", lambda _: contextlib.nullcontext())
                    model.target_logprobs(encoded(2, ITEMS))
        kept[switch] = sum(tensor.untyped_storage().nbytes() for tensor in seen.values())
    tokens = sum(asked + answered - 1 for asked, answered in ITEMS)
    # The last block computes its feed-forward layer at the targets alone.
    assert kept[False] - kept[True] >= 4 * tokens * (3 * 32 + 2 * 48)
