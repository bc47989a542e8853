"""States below the first trained block are computed once for each example, and nothing else changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from rows import ROWS, held_out, losses, run, start

from luthier.kernels.activation_checkpointing import recompute_activations
from luthier.methods.base import snapshot
from luthier.models.frozen_activations import reuse_frozen_activations
from luthier.models.language_model import LanguageModel
from luthier.objectives.cross_entropy import cross_entropy
from luthier.records import Encoded
from tiny_models import same_bits

TOKENS = sum(len(item.prompt_ids) + len(item.target_ids) - 1 for item in ROWS)
BYTES = 4 * TOKENS * 32


def possible(model: LanguageModel, max_bytes: int = BYTES) -> bool:
    model.module.train()
    with reuse_frozen_activations(model, ROWS, max_bytes) as done:
        return done


def seen_by_first_block(model: LanguageModel) -> list[int]:
    """Tokens of every pass through the lowest block's attention from now on."""
    found: list[int] = []
    attention: Any = model.module.model.layers[0].self_attn
    before = attention.forward

    def forward(hidden_states: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        found.append(hidden_states.shape[1])
        return before(hidden_states, *arguments, **named)

    attention.forward = forward
    return found


@pytest.mark.parametrize("name", ["llama", "llama-tied", "qwen3"])
def test_losses_and_weights_are_the_same(name: str, tmp_path: Path) -> None:
    """Three epochs, one of two blocks trained; each example goes through the other once, and one to try it."""
    kept = {}
    for mebibytes in (0, 1):
        model, attached = start("selective", name, last=1)
        model.why_padded()
        seen = seen_by_first_block(model)
        folder = tmp_path / str(mebibytes)
        run(model, attached, folder, frozen_cache_mib=mebibytes, rate=1e-3, epsilon=1e-3)
        kept[mebibytes] = (losses(folder), snapshot(attached))
        assert sum(seen) == (TOKENS + 2 * 5 if mebibytes else pytest.approx(3 * TOKENS, rel=0.2))
    assert kept[1][0] == pytest.approx(kept[0][0], rel=1e-5)
    for key, weight in kept[0][1].items():
        torch.testing.assert_close(kept[1][1][key], weight, atol=1e-5, rtol=1e-5)


def test_a_run_that_goes_on_gives_the_same_bits(tmp_path: Path) -> None:
    """Broken off in the second epoch: states are computed again, in other batches, to the same bits."""
    ends = {}
    for at in (None, 5):
        calls = [0]

        def objective(model: LanguageModel, batch: Sequence[Encoded]) -> torch.Tensor:
            calls[0] += 1  # noqa: B023 - called within this pass
            if calls[0] == at:  # noqa: B023
                raise KeyboardInterrupt
            return cross_entropy(model, batch)

        folder = tmp_path / str(at)
        if at is not None:
            model, attached = start("selective", last=1)
            with pytest.raises(KeyboardInterrupt):
                run(model, attached, folder, objective=objective, validate=held_out(model), checkpoint_seconds=0)
        torch.manual_seed(7)
        model, attached = start("selective", last=1)
        run(model, attached, folder, validate=held_out(model), checkpoint_seconds=0)
        ends[at] = (losses(folder), snapshot(attached))
    assert ends[None][0] == ends[5][0]
    assert same_bits(ends[None][1], ends[5][1])


def test_only_where_nothing_below_changes_and_all_fits() -> None:
    assert possible(start("selective", last=1)[0])
    assert not possible(start("selective", last=1)[0], BYTES - 1)
    assert not possible(start("selective", last=2)[0])
    assert not possible(start("selective", parts=("embeddings",))[0])
    assert not possible(start("selective", "llama-tied", parts=("head",))[0])
    assert possible(start("selective", parts=("head",))[0])
    assert not possible(start("selective", "t5", last=1)[0])
    for method in ("full", "lora", "adapter", "prompt_tuning"):
        assert not possible(start(method)[0]), method


def test_not_where_lower_blocks_draw_or_recompute() -> None:
    model, _ = start("selective", last=1)
    model.module.model.layers[0].self_attn.attention_dropout = 0.1
    assert not possible(model)
    model, _ = start("selective", last=1)
    recompute_activations(model.module)
    assert not possible(model)


def test_blocks_that_hand_on_more_than_states_are_computed() -> None:
    """A second block that also reads what the first left behind gives other numbers where that is not computed."""
    model, _ = start("selective", last=1)
    model.why_padded()
    first, second = model.module.model.layers
    left: list[float] = [0.0]
    first.register_buffer("count", torch.zeros(()))
    attention, forward = first.self_attn, second.forward
    before = attention.forward

    def leaving(hidden_states: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        left[0] += 1.0
        return before(hidden_states, *arguments, **named)

    def reading(hidden_states: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        return forward(hidden_states * (1.0 + left[0]), *arguments, **named)

    attention.forward, second.forward = leaving, reading
    assert not possible(model)


def test_other_examples_are_computed() -> None:
    """Examples that training does not know go through all blocks, to the same numbers."""
    model, _ = start("selective", last=1)
    expected = model.target_logprobs(ROWS)
    model.module.train()
    copies = [Encoded(item.id, item.prompt_ids, item.target_ids) for item in ROWS]
    seen = seen_by_first_block(model)
    with reuse_frozen_activations(model, ROWS, BYTES) as done:
        assert done
        seen.clear()
        torch.testing.assert_close(model.target_logprobs(copies), expected)
        assert seen == [TOKENS]
        torch.testing.assert_close(model.target_logprobs(ROWS), expected, atol=1e-5, rtol=1e-5)
        assert seen == [TOKENS, *(len(item.prompt_ids) + len(item.target_ids) - 1 for item in ROWS)]
        model.target_logprobs(ROWS[:3])
        assert len(seen) == 9
