"""Several adapters made one: TIES and DARE by hand, the mean of LoRA as an adapter, and what is not alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_every_method import learn, outputs
from torch import Tensor

from luthier.errors import LuthierError, ModelError
from luthier.methods.adapter_io import Card, load_adapter, save_adapter
from luthier.methods.combining import Combination, combine_into, combined_weight, require_alike
from luthier.methods.lora_mean import is_exact, write_mean
from luthier.methods.peft_files import CONFIG, WEIGHTS
from luthier.methods.peft_load import load_peft
from luthier.methods.registry import find_method, read_settings
from luthier.models.language_model import LanguageModel
from tiny_models import same_bits, state, tiny_model


def stored(model: LanguageModel, place: Path, *, seed: int = 0, method: str = "lora", **settings: Any) -> Path:
    """Train an adapter for three steps, and store it; the model is the base again."""
    found = find_method(method)
    settings = settings or ({"rank": 2} if method == "lora" else {})
    attached = found.attach(model, read_settings(found, settings, where="test"), seed=seed)
    learn(model, attached, place / "work", steps=3 + seed, rate=3e-2)
    card = Card("0", method, settings, model.name, model.digest, task="tests")
    save_adapter(model, attached, place / "adapter", card)
    attached.detach()
    return place / "adapter"


def ties_by_numpy(changes: list[np.ndarray], density: float) -> np.ndarray:
    """Yadav et al. 2023, algorithm 1, entry by entry."""
    trimmed = []
    for change in changes:
        keep = int(density * change.size)
        order = np.argsort(-np.abs(change).ravel())[:keep]
        kept = np.zeros(change.size)
        kept[order] = change.ravel()[order]
        trimmed.append(kept)
    merged = np.zeros(changes[0].size)
    for entry in range(len(merged)):
        values = [one[entry] for one in trimmed]
        sign = 1 if sum(values) >= 0 else -1
        agreeing = [value for value in values if value * sign > 0]
        merged[entry] = np.mean(agreeing) if agreeing else 0.0
    return merged.reshape(changes[0].shape)


def combined(how: Any, base: Tensor, trained: list[Tensor], **more: Any) -> Tensor:
    return combined_weight(base, trained, Combination(how, more.pop("weights", (1.0,) * len(trained)), **more))


def test_ties_by_hand() -> None:
    """Of four entries the two largest stay: 4 and -3 of the first, 2 and 5 of the second. 3 : -3 against 5 elects +."""
    base = torch.zeros(4)
    first, second = torch.tensor([4.0, -3.0, 0.5, 0.1]), torch.tensor([2.0, 5.0, -1.0, 0.2])
    found = combined("ties", base, [first, second], density=0.5)
    assert found.tolist() == [3.0, 5.0, 0.0, 0.0]


@pytest.mark.parametrize("density", [0.2, 0.5, 1.0])
def test_ties_is_the_algorithm_of_the_paper(density: float) -> None:
    draw = torch.Generator().manual_seed(1)
    base = torch.randn(7, 5, generator=draw)
    trained = [base + torch.randn(7, 5, generator=draw) for _ in range(3)]
    found = combined("ties", base, trained, density=density) - base
    expected = ties_by_numpy([(one - base).double().numpy() for one in trained], density)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_dare_drops_at_random_and_keeps_the_mean() -> None:
    """Of 40,000 entries of 1, a fifth stays as 5: the mean of many is 1, with an error of 0.01."""
    base, trained = torch.zeros(40_000), torch.ones(40_000)
    torch.manual_seed(3)
    found = combined("dare", base, [trained], density=0.2)
    assert sorted(set(found.tolist())) == [0.0, 5.0]
    assert found.mean().item() == pytest.approx(1.0, abs=0.04)


def test_weights_are_relative_to_one_another() -> None:
    """Weights 3 and 1 of changes 4 and 8: 0.75 · 4 + 0.25 · 8 = 5."""
    base = torch.full((2,), 10.0)
    trained = [base + 4, base + 8]
    assert combined("mean", base, trained, weights=(3.0, 1.0), density=1).tolist() == [15.0, 15.0]
    assert combined("mean", base, trained, weights=(6.0, 2.0), density=1).tolist() == [15.0, 15.0]
    assert combined("dare", base, trained, weights=(3.0, 1.0), density=1).tolist() == [15.0, 15.0]
    # TIES divides by how many agree: weights 1.5 and 0.5 of 4 and 8 give 10 / 2.
    assert combined("ties", base, trained, weights=(3.0, 1.0), density=1).tolist() == [15.0, 15.0]


@pytest.mark.parametrize("settings", [{"rank": 2}, {"rank": 2, "rslora": True, "ranks": {"down_proj": 3}}])
def test_the_mean_of_lora_is_an_adapter_and_equals_the_mean_of_the_weights(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    model = tiny_model("llama")
    folders = [stored(model, tmp_path / str(seed), seed=seed, **settings) for seed in range(3)]
    weights = (2.0, 1.0, 1.0)
    assert is_exact(folders)
    out = tmp_path / "mean"
    out.mkdir()
    write_mean(folders, Combination("mean", weights, 1.0).shares, out)
    attached = load_peft(model, out)
    found = outputs(model)
    attached.detach()
    combine_into(model, folders, Combination("mean", weights, 1.0), any_base=False)
    torch.testing.assert_close(found, outputs(model), rtol=1e-4, atol=1e-4)


def test_the_mean_of_lora_is_that_of_peft(tmp_path: Path) -> None:
    """PEFT's `add_weighted_adapter(combination_type="cat")` puts the weights into A; the product is the same."""
    import peft

    model = tiny_model("llama")
    folders = [stored(model, tmp_path / str(seed), seed=seed) for seed in range(2)]
    out = tmp_path / "mean"
    out.mkdir()
    write_mean(folders, (0.75, 0.25), out)
    attached = load_peft(model, out)
    found = outputs(model)
    attached.detach()
    theirs: Any = peft.PeftModel.from_pretrained(tiny_model("llama").module, str(folders[0]), adapter_name="a")
    theirs.load_adapter(str(folders[1]), adapter_name="b")
    theirs.add_weighted_adapter(["a", "b"], [0.75, 0.25], "mean", combination_type="cat")
    theirs.set_adapter("mean")
    other = tiny_model("llama")
    other.module = theirs.get_base_model()
    torch.testing.assert_close(found, outputs(other), rtol=1e-5, atol=1e-5)


def test_one_adapter_with_weight_one_is_that_adapter(tmp_path: Path) -> None:
    model = tiny_model("llama")
    folder = stored(model, tmp_path / "lora")
    out = tmp_path / "mean"
    out.mkdir()
    write_mean([folder], Combination("mean", (1.0,), 1.0).shares, out)
    assert same_bits(load_file(out / WEIGHTS), load_file(folder / WEIGHTS))
    mine, its = (json.loads((place / CONFIG).read_text()) for place in (out, folder))
    assert mine == its | {"lora_alpha": its["lora_alpha"]}
    for number, method in enumerate(("full", "selective")):
        own = stored(model, tmp_path / str(number), method=method)
        attached = load_adapter(model, own)
        expected = {name: weight.clone() for name, weight in state(model).items()}
        attached.detach()
        combine_into(model, [own], Combination("mean", (7.0,), 1.0), any_base=False)
        assert same_bits(state(model), expected)
        model.restore()


def test_a_scale_of_nothing_is_the_base(tmp_path: Path) -> None:
    model = tiny_model("llama")
    base = {name: weight.clone() for name, weight in state(model).items()}
    folders = [stored(model, tmp_path / str(seed), seed=seed, method="full") for seed in range(2)]
    combine_into(model, folders, Combination("ties", (1.0, 1.0), 0.2, scale=0.0), any_base=False)
    assert same_bits(state(model), base)


def test_dare_is_drawn_from_its_seed(tmp_path: Path) -> None:
    model = tiny_model("llama")
    folders = [stored(model, tmp_path / str(seed), seed=seed, method="selective", last=1) for seed in range(2)]
    found = []
    for seed in (0, 0, 1):
        combine_into(model, folders, Combination("dare", (1.0, 1.0), 0.5, seed=seed), any_base=False)
        found.append({name: weight.clone() for name, weight in state(model).items()})
        model.restore()
    assert same_bits(found[0], found[1])
    assert not same_bits(found[0], found[2])


def test_differences_are_named(tmp_path: Path) -> None:
    model = tiny_model("llama")
    first = stored(model, tmp_path / "a", rank=2)
    second = stored(model, tmp_path / "b", rank=3)
    third = stored(model, tmp_path / "c", method="full")
    other = stored(tiny_model("qwen3"), tmp_path / "d", rank=2)
    require_alike([first, stored(model, tmp_path / "e", seed=1, rank=2)])
    for wrong, says in (
        (second, f"rank is 3, and 2 in {first}"),
        (third, f"method is 'full', and 'lora' in {first}"),
        (other, "base is '"),
    ):
        with pytest.raises(LuthierError) as caught:
            require_alike([first, wrong])
        assert says in str(caught.value)
        assert str(wrong) in str(caught.value)


def test_what_computes_beside_the_weights_is_not_combined(tmp_path: Path) -> None:
    model = tiny_model("llama")
    folders = [stored(model, tmp_path / str(seed), seed=seed, method="adapter") for seed in range(2)]
    assert not is_exact(folders)
    with pytest.raises(ModelError, match="cannot be combined"):
        combine_into(model, folders, Combination("mean", (1.0, 1.0), 1.0), any_base=False)


def test_dora_is_not_linear_and_becomes_a_model(tmp_path: Path) -> None:
    model = tiny_model("llama")
    folders = [stored(model, tmp_path / str(seed), seed=seed, rank=2, dora=True) for seed in range(2)]
    assert not is_exact(folders)
    expected = []
    for folder in folders:
        attached = load_adapter(model, folder)
        undo = attached.merge()  # type: ignore[attr-defined]
        expected.append({name: weight.clone() for name, weight in state(model).items()})
        undo()
        attached.detach()
    combine_into(model, folders, Combination("mean", (1.0, 1.0), 1.0), any_base=False)
    for name, weight in state(model).items():
        torch.testing.assert_close(weight, (expected[0][name] + expected[1][name]) / 2)
