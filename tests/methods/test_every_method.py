"""What every method promises, on a decoder and on an encoder-decoder: one suite for all of them.

A new method gets all of this by being in the registry; it must add its parameter formula to ``FORMULAS``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
from transformers.pytorch_utils import Conv1D

from luthier.config.decoding import DecodingConfig
from luthier.config.training import TrainingConfig
from luthier.errors import ConfigError, LuthierError, ModelError
from luthier.inference.generation import generate
from luthier.inference.stop_conditions import StopConditions
from luthier.methods.adapter_io import CARD, REFERENCE, Card, load_adapter, read_card, save_adapter
from luthier.methods.base import Attached, count, snapshot, virtual_tokens
from luthier.methods.names import NAMES
from luthier.methods.registry import METHODS, find_method, read_settings
from luthier.models.language_model import LanguageModel
from luthier.objectives.cross_entropy import CrossEntropy, cross_entropy
from luthier.training.loop import train
from luthier.training.recipe import TrainingRecipe
from luthier.training.stream import shuffled_stream, training_set
from tiny_models import encoded, same_bits, state, tiny_folder, tiny_model

RANK, BOTTLENECK, VIRTUAL = 2, 4, 24
SETTINGS: dict[str, dict[str, Any]] = {
    "full": {},
    "selective": {"last": 1},
    "lora": {"rank": RANK, "alpha": 8.0},
    "adapter": {"bottleneck": BOTTLENECK},
    "prompt_tuning": {"virtual_tokens": VIRTUAL},
    "prefix_tuning": {"virtual_tokens": VIRTUAL},
    "peft": {"peft_type": "IA3"},
}
# Few weights must go far: soft prompts and IA3 have a few hundred here.
RATES = {
    "selective": 0.02,
    "lora": 0.015,
    "adapter": 0.03,
    "prompt_tuning": 0.3,
    "prefix_tuning": 0.2,
    "peft": 0.03,
}
# Share of the loss on four rows that is left after 20 steps.
LEFT = {"full": 0.15, "selective": 0.15, "lora": 0.15, "adapter": 0.25, "peft": 0.45}
LEFT_BY_SOFT_PROMPTS = {"decoder": 0.25, "encoder-decoder": 0.5}
ITEMS = encoded(21, [(6, 4), (9, 2), (3, 7), (12, 5)])
PROBES = encoded(22, [(7, 5), (11, 3)])


def linear_layers(module: Any) -> list[tuple[int, int]]:
    """Inputs and outputs of every linear layer but the head."""
    head = module.get_output_embeddings()
    sizes = []
    for layer in module.modules():
        if isinstance(layer, nn.Linear) and layer is not head:
            sizes.append((layer.in_features, layer.out_features))
        elif isinstance(layer, Conv1D):
            sizes.append((layer.weight.shape[0], layer.weight.shape[1]))
    return sizes


WIDTH, HIDDEN, BLOCKS = 32, 48, 2  # of every tiny model; GPT-2's MLP is 4 * 32 wide


def in_the_last_block(name: str) -> bool:
    return re.search(r"(layers|h|block)\.1\.", name) is not None and ".encoder." not in f".{name}"


def sublayers(module: Any) -> int:
    """Attentions and MLPs: two in a block, three in a decoder's block of an encoder-decoder."""
    return BLOCKS * (2 + 3) if module.config.is_encoder_decoder else BLOCKS * 2


def key_width(module: Any) -> int:
    """Llama has four heads of 8, of which two have keys and values."""
    return 16 if module.config.model_type == "llama" else WIDTH


def ia3(module: Any) -> int:
    """Keys, values and the MLP's inside are scaled (Liu et al. 2022, arXiv:2205.05638); GPT-2's queries too."""
    if module.config.model_type == "gpt2":
        return BLOCKS * (3 * WIDTH + 4 * WIDTH)
    attentions = BLOCKS * (1 + 2) if module.config.is_encoder_decoder else BLOCKS
    mlps = BLOCKS * 2 if module.config.is_encoder_decoder else BLOCKS
    return attentions * 2 * key_width(module) + mlps * HIDDEN


FORMULAS: dict[str, Callable[[Any], int]] = {
    "full": lambda module: sum(parameter.numel() for parameter in module.parameters()),
    "selective": lambda module: sum(
        weight.numel() for name, weight in module.named_parameters() if in_the_last_block(name)
    ),
    "lora": lambda module: sum(RANK * (ins + outs) for ins, outs in linear_layers(module)),
    # Houlsby et al. 2019, section 2.1: 2 m d + d + m for each.
    "adapter": lambda module: sublayers(module) * (2 * BOTTLENECK * WIDTH + WIDTH + BOTTLENECK),
    "prompt_tuning": lambda module: VIRTUAL * WIDTH,
    "prefix_tuning": lambda module: VIRTUAL * BLOCKS * 2 * key_width(module),
    "peft": ia3,
}


def slow(name: str) -> Any:
    return pytest.param(name, marks=pytest.mark.slow)


every_method = pytest.mark.parametrize("method", METHODS)
every_model = pytest.mark.parametrize("name", ["llama", "t5", slow("gpt2"), slow("bart")])
in_the_ecosystem = pytest.mark.parametrize("method", [name for name in METHODS if name not in ("selective", "adapter")])


def attach(model: LanguageModel, method: str, *, seed: int = 0) -> Attached:
    found = find_method(method)
    return found.attach(model, read_settings(found, SETTINGS[method], where="test"), seed=seed)


def is_soft(method: str) -> bool:
    """Whether a method declares virtual tokens, and so does not begin as the base."""
    return virtual_tokens(read_settings(find_method(method), SETTINGS[method], where="test")) > 0


@torch.no_grad()
def outputs(model: LanguageModel) -> torch.Tensor:
    return model.target_logprobs(PROBES)


def learn(model: LanguageModel, attached: Attached, folder: Path, *, steps: int, rate: float = 1e-2) -> list[float]:
    """Train on the four rows; return the loss of each step."""
    config = TrainingConfig(
        learning_rate=rate, steps=steps, batch_size=4, validations=0, warmup=0.0, schedule="constant"
    )
    stream = shuffled_stream(training_set("test", ITEMS), config, seed=0)
    train(model, attached, stream, TrainingRecipe(CrossEntropy(), config, 0), folder=folder)
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def card(model: LanguageModel, attached: Attached, method: str) -> Card:
    return Card(
        luthier="0",
        method=method,
        settings=SETTINGS[method],
        base_name=model.name,
        base_digest=model.digest,
        task="tests",
        stop=("\n",),
        trainable_parameters=count(attached.trainable()),
    )


def trained(model: LanguageModel, method: str, tmp_path: Path) -> tuple[Attached, Path]:
    """Attach, take a few steps, save."""
    attached = attach(model, method)
    learn(model, attached, tmp_path / "work", steps=3, rate=RATES.get(method, 1e-2))
    save_adapter(model, attached, tmp_path / "adapter", card(model, attached, method))
    return attached, tmp_path / "adapter"


def weights_file(folder: Path) -> Path:
    (path,) = (path for path in folder.glob("*.safetensors") if path.name != REFERENCE)
    return path


def nothing_is_left(model: LanguageModel, base: dict[str, torch.Tensor], expected: torch.Tensor) -> None:
    assert same_bits(state(model), base)
    assert torch.equal(outputs(model), expected)
    assert not [name for name, weight in model.module.named_parameters() if weight.requires_grad]


def test_every_method_has_settings_and_a_formula() -> None:
    assert METHODS.keys() == SETTINGS.keys() == FORMULAS.keys()
    assert tuple(METHODS) == NAMES


@every_method
@every_model
def test_attaching_changes_no_output_but_a_soft_prompt_s(method: str, name: str) -> None:
    model = tiny_model(name)
    base = outputs(model)
    attach(model, method)
    assert torch.equal(outputs(model), base) is not is_soft(method)
    assert bool(model.virtual_tokens) is is_soft(method)


@every_method
@every_model
def test_only_declared_parameters_get_gradients(method: str, name: str) -> None:
    model = tiny_model(name)
    attached = attach(model, method)
    declared = {id(parameter) for parameter in attached.trainable().values()}
    cross_entropy(model, ITEMS).backward()
    touched = {id(parameter) for parameter in model.module.parameters() if parameter.grad is not None}
    assert touched == declared
    assert {id(parameter) for parameter in model.module.parameters() if parameter.requires_grad} == declared


@every_method
@every_model
def test_the_number_of_trainable_weights_follows_the_formula(method: str, name: str) -> None:
    model = tiny_model(name)
    expected = FORMULAS[method](model.module)
    assert count(attach(model, method).trainable()) == expected > 0


@every_method
@every_model
def test_frozen_weights_keep_their_bits_and_declared_ones_move(method: str, name: str, tmp_path: Path) -> None:
    model = tiny_model(name)
    attached = attach(model, method)
    declared = {weight.data_ptr() for weight in attached.trainable().values()}
    frozen = {
        key: tensor.clone() for key, tensor in model.module.state_dict().items() if tensor.data_ptr() not in declared
    }
    before = snapshot(attached)
    learn(model, attached, tmp_path, steps=3, rate=RATES.get(method, 1e-2))
    after = model.module.state_dict()
    assert all(torch.equal(after[key], tensor) for key, tensor in frozen.items())
    moved = [key for key, tensor in snapshot(attached).items() if not torch.equal(tensor, before[key])]
    assert len(moved) == len(before)


@every_method
@every_model
def test_detaching_gives_the_base_back(method: str, name: str, tmp_path: Path) -> None:
    model = tiny_model(name)
    base, expected = state(model), outputs(model)
    for _ in range(2):
        attached = attach(model, method)
        learn(model, attached, tmp_path / "work", steps=2, rate=RATES.get(method, 1e-2))
        assert not torch.equal(outputs(model), expected)
        attached.detach()
        nothing_is_left(model, base, expected)
        (tmp_path / "work" / "log.jsonl").unlink()


@every_method
@every_model
def test_saved_and_loaded_gives_the_same_logits(method: str, name: str, tmp_path: Path) -> None:
    model = tiny_model(name)
    base, untrained = state(model), outputs(model)
    attached, folder = trained(model, method, tmp_path)
    expected, weights = outputs(model), snapshot(attached)
    attached.detach()
    loaded = load_adapter(model, folder)
    assert torch.equal(outputs(model), expected)
    if not is_soft(method):  # trained in units, loaded as they are
        assert same_bits(snapshot(loaded), weights)
    save_adapter(model, loaded, tmp_path / "again", read_card(folder))
    assert weights_file(folder).read_bytes() == weights_file(tmp_path / "again").read_bytes()
    loaded.detach()
    nothing_is_left(model, base, untrained)
    # In a fresh process the model is read again: the same.
    other = tiny_model(name)
    load_adapter(other, folder)
    assert torch.equal(outputs(other), expected)


@every_method
@every_model
def test_the_same_seed_draws_the_same_weights_and_leaves_the_stream_alone(method: str, name: str) -> None:
    drawn = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        drawn.append(snapshot(attach(tiny_model(name), method, seed=5)))
        assert torch.equal(torch.get_rng_state(), before)
    assert same_bits(*drawn)
    if method in ("lora", "adapter", "prompt_tuning", "prefix_tuning"):
        assert not same_bits(snapshot(attach(tiny_model(name), method, seed=6)), drawn[0])


@every_method
@every_model
def test_four_rows_can_be_learned_by_heart(method: str, name: str, tmp_path: Path) -> None:
    model = tiny_model(name)
    steps = (300 if name == "llama" else 600) if method == "peft" else 160 if is_soft(method) else 80
    losses = learn(model, attach(model, method), tmp_path, steps=steps, rate=RATES.get(method, 1e-2))
    kind = "encoder-decoder" if model.encoder_decoder else "decoder"
    left = LEFT_BY_SOFT_PROMPTS[kind] if is_soft(method) else LEFT[method]
    assert losses[19] < left * losses[0]
    if is_soft(method) and model.encoder_decoder:
        # Virtual tokens on one side of a model that was never pretrained cannot hold four answers whole.
        assert losses[-1] < 0.2 * losses[0]
        return
    assert losses[-1] < 0.1 < 4 < losses[0]
    answers = generate(model, ITEMS, DecodingConfig(), StopConditions(str, 8, model.end_ids))
    assert [answer.text for answer in answers] == [str(item.target_ids[:-1].tolist()) for item in ITEMS]
    assert {answer.finish for answer in answers} == {"stop"}


@every_method
@every_model
def test_how_a_step_is_cut_does_not_matter(method: str, name: str) -> None:
    model = tiny_model(name)
    attached = attach(model, method)
    gradients = []
    for batches in ([ITEMS], [[item] for item in ITEMS]):
        for weight in attached.trainable().values():
            weight.grad = None
        for batch in batches:
            (cross_entropy(model, batch) / 18).backward()
        gradients.append({key: weight.grad for key, weight in attached.trainable().items()})
    for key, whole in gradients[0].items():
        assert whole is not None
        torch.testing.assert_close(gradients[1][key], whole, rtol=1e-4, atol=1e-5 * float(whole.abs().max()) + 1e-6)


@every_method
@every_model
def test_taken_off_and_put_on_again_gives_the_same_bits(method: str, name: str, tmp_path: Path) -> None:
    model = tiny_model(name)
    base, untrained = state(model), outputs(model)
    attached, folder = trained(model, method, tmp_path)
    expected = outputs(model)
    attached.detach()
    attached = load_adapter(model, folder)
    for _ in range(2):
        attached.detach()
        nothing_is_left(model, base, untrained)
        attached.reattach()
        assert torch.equal(outputs(model), expected)


@every_method
@every_model
def test_what_is_generated_is_what_is_scored(method: str, name: str, tmp_path: Path) -> None:
    """The log-probability of each token, read all at once and one after another: caches, positions, virtual tokens."""
    model = tiny_model(name)
    attach(model, method)
    with torch.no_grad():
        at_once = model.target_logprobs(PROBES)
        continuation = model.begin([item.prompt_ids for item in PROBES])
        stepwise: list[list[torch.Tensor]] = [[] for _ in PROBES]
        for place in range(max(len(item.target_ids) for item in PROBES)):
            tokens = torch.tensor([int(item.target_ids[min(place, len(item.target_ids) - 1)]) for item in PROBES])
            logprobs = continuation.logits.log_softmax(dim=-1)
            for row, item in enumerate(PROBES):
                if place < len(item.target_ids):
                    stepwise[row].append(logprobs[row, tokens[row]])
            continuation.advance(tokens)
    torch.testing.assert_close(torch.stack([value for row in stepwise for value in row]), at_once, rtol=1e-4, atol=1e-4)


@every_method
@every_model
def test_an_example_does_not_feel_its_neighbours(method: str, name: str) -> None:
    model = tiny_model(name)
    attach(model, method)
    with torch.no_grad():
        alone = torch.cat([model.target_logprobs([item]) for item in ITEMS])
        together = model.target_logprobs(ITEMS)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


# The folder.


def plain_logits(module: Any, encoder_decoder: bool) -> torch.Tensor:
    """Logits at the targets of the probes, one example at a time, by the module's own forward pass."""
    found = []
    for item in PROBES:
        prompt, target = torch.tensor(item.prompt_ids[None].astype("int64")), item.target_ids.astype("int64")
        if encoder_decoder:
            start = module.config.decoder_start_token_id
            read = torch.tensor([[start, *target[:-1]]])
            logits = module(input_ids=prompt, attention_mask=torch.ones_like(prompt), decoder_input_ids=read).logits
        else:
            ids = torch.cat([prompt, torch.tensor(target[None, :-1])], dim=1)
            logits = module(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        logprobs = logits[0, -len(target) :].log_softmax(dim=-1)
        found.append(logprobs[torch.arange(len(target)), torch.tensor(target)])
    return torch.cat(found)


@in_the_ecosystem
@every_model
def test_the_folder_loads_in_the_plain_ecosystem(method: str, name: str, tmp_path: Path) -> None:
    model = tiny_model(name)
    _, folder = trained(model, method, tmp_path)
    expected = outputs(model)
    auto: Any = AutoModelForSeq2SeqLM if model.encoder_decoder else AutoModelForCausalLM
    if method == "full":
        plain = auto.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert tokenizer("the cat").input_ids == model.tokenizer("the cat").input_ids
    else:
        plain = peft.PeftModel.from_pretrained(auto.from_pretrained(tiny_folder(name)), folder)
    with torch.no_grad():
        found = plain_logits(plain.eval(), model.encoder_decoder)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


@every_method
def test_the_card_says_what_the_folder_is(method: str, tmp_path: Path) -> None:
    model = tiny_model("llama")
    attached, folder = trained(model, method, tmp_path)
    found = read_card(folder)
    assert replace(found, tensors={}) == card(model, attached, method)
    stored = {path.name for path in folder.glob("*.safetensors")} - {"reference.safetensors"}
    assert set(found.tensors) == stored


@every_method
def test_a_weight_that_the_reference_logits_do_not_feel_is_still_missed(method: str, tmp_path: Path) -> None:
    """The digest of the tensors is checked too: here a weight changes too little for the logits to show it."""
    model = tiny_model("llama")
    base, expected = state(model), outputs(model)
    attached, folder = trained(model, method, tmp_path)
    attached.detach()
    path = next(path for path in sorted(folder.glob("*.safetensors")) if path.name != "reference.safetensors")
    tensors = load_file(path)
    tensors[sorted(tensors)[0]].view(torch.int32).view(-1)[0] ^= 1
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="not the one that was stored") as caught:
        load_adapter(model, folder)
    assert str(path) in str(caught.value)
    nothing_is_left(model, base, expected)


@every_method
def test_another_base_is_refused_unless_allowed(method: str, tmp_path: Path) -> None:
    model = tiny_model("llama")
    _, folder = trained(model, method, tmp_path)
    other = tiny_model("llama")
    with torch.no_grad():
        other.module.get_input_embeddings().weight.add_(0.5)
    other.digest = "f" * 32
    base, expected = state(other), outputs(other)
    with pytest.raises(ModelError, match="trained on") as caught:
        load_adapter(other, folder)
    assert model.digest[:12] in str(caught.value)
    assert "ffffffffffff" in str(caught.value)
    assert "Load the base that it belongs to" in str(caught.value)
    assert same_bits(state(other), base)
    assert torch.equal(outputs(other), expected)
    load_adapter(other, folder, any_base=True)
    assert not torch.equal(outputs(other), expected)


@every_method
@every_model
def test_missing_foreign_and_misshapen_tensors_are_all_listed(method: str, name: str, tmp_path: Path) -> None:
    model = tiny_model(name)
    base, expected = state(model), outputs(model)
    attached, folder = trained(model, method, tmp_path)
    attached.detach()
    path = weights_file(folder)
    tensors = load_file(path)
    # A soft prompt is a single tensor.
    *_, missing, misshapen = [None, *(key for key, tensor in tensors.items() if tensor.ndim == 2)][:4]
    assert misshapen is not None
    if missing is not None:
        del tensors[missing]
    tensors[misshapen] = torch.zeros(3, 5)
    tensors["model.nobody.weight"] = torch.zeros(2)
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(LuthierError) as caught:
        load_adapter(model, folder)
    text = str(caught.value)
    assert missing is None or (f"'{missing}'" in text and "is missing" in text)
    assert f"'{misshapen}' has shape (3, 5), the model has " in text
    assert "'model.nobody.weight' belongs to nothing in this model" in text
    nothing_is_left(model, base, expected)


@pytest.mark.parametrize("method", ["prompt_tuning", "prefix_tuning"])
@every_model
def test_the_one_tensor_of_a_soft_prompt_is_missed_by_its_name(method: str, name: str, tmp_path: Path) -> None:
    model = tiny_model(name)
    base, expected = state(model), outputs(model)
    attached, folder = trained(model, method, tmp_path)
    attached.detach()
    ((own, tensor),) = load_file(weights_file(folder)).items()
    save_file({"model.nobody.weight": tensor}, weights_file(folder), metadata={"format": "pt"})
    with pytest.raises(LuthierError) as caught:
        load_adapter(model, folder)
    text = str(caught.value)
    assert f"'{own}' {tuple(tensor.shape)} is missing" in text
    assert "'model.nobody.weight' belongs to nothing in this model" in text
    nothing_is_left(model, base, expected)


def flip(path: Path) -> None:
    """Flip the exponent's highest but one bit of the greatest number of the last matrix."""
    tensors = load_file(path)
    tensor = tensors[[key for key, tensor in tensors.items() if tensor.ndim == 2][-1]]
    place = tensor.abs().flatten().argmax()
    tensor.view(torch.int32).view(-1)[place] ^= 1 << 27
    save_file(tensors, path, metadata={"format": "pt"})


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped bit": (
        lambda folder: flip(weights_file(folder)),
        "other logits than when it was stored|not the one that was stored",
    ),
    "cut weights": (lambda folder: cut(weights_file(folder)), "safetensors|damaged|cannot be loaded"),
    "no weights": (lambda folder: weights_file(folder).unlink(), "safetensors"),
    "no reference": (lambda folder: (folder / REFERENCE).unlink(), f"no {REFERENCE}"),
    "cut reference": (lambda folder: cut(folder / REFERENCE), "damaged"),
    "other reference": (lambda folder: save_file({"x": torch.zeros(1)}, folder / REFERENCE), "'logits' .* is missing"),
    "no card": (lambda folder: (folder / CARD).unlink(), f"no {CARD}: not an adapter made by Luthier"),
    "broken card": (lambda folder: (folder / CARD).write_text("{"), "damaged"),
    "half a card": (lambda folder: (folder / CARD).write_text('{"luthier": "0"}'), "damaged"),
}


@every_method
@pytest.mark.parametrize("fault", DAMAGE)
def test_a_damaged_folder_is_refused_and_the_model_left_alone(method: str, fault: str, tmp_path: Path) -> None:
    model = tiny_model("llama")
    base, expected = state(model), outputs(model)
    attached, folder = trained(model, method, tmp_path)
    attached.detach()
    damage, message = DAMAGE[fault]
    damage(folder)
    with pytest.raises(LuthierError, match=message) as caught:
        load_adapter(model, folder)
    assert str(folder) in str(caught.value)
    assert "→" in str(caught.value)
    nothing_is_left(model, base, expected)


@every_method
def test_a_folder_without_anything_of_ours_is_refused_unless_it_is_in_peft_s_layout(
    method: str, tmp_path: Path
) -> None:
    model = tiny_model("llama")
    _, folder = trained(model, method, tmp_path)
    expected = outputs(model)
    (folder / CARD).unlink()
    (folder / REFERENCE).unlink()
    other = tiny_model("llama")
    if (folder / "adapter_config.json").exists():
        load_adapter(other, folder)
        assert torch.equal(outputs(other), expected)
    else:
        with pytest.raises(ModelError, match=f"no {CARD}: not an adapter made by Luthier"):
            load_adapter(other, folder)


@every_method
def test_saving_twice_writes_the_same_bytes(method: str, tmp_path: Path) -> None:
    model = tiny_model("llama")
    attached, folder = trained(model, method, tmp_path)
    save_adapter(model, attached, tmp_path / "again", card(model, attached, method))
    names = {path.name for path in folder.iterdir()}
    assert names == {path.name for path in (tmp_path / "again").iterdir()}
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


# LoRA's own.


def test_targets_by_name(tmp_path: Path) -> None:
    model = tiny_model("llama")
    method = find_method("lora")
    settings = read_settings(method, {"rank": 4, "targets": ["q_proj", "v_proj"]}, where="test")
    # Two layers; q: 32 → 32, v: 32 → 16 (two of four heads have keys and values).
    assert count(method.attach(model, settings, seed=0).trainable()) == 2 * (4 * (32 + 32) + 4 * (32 + 16))
    gpt = tiny_model("gpt2")
    settings = read_settings(method, {"rank": 4, "targets": ["c_attn"]}, where="test")
    assert count(method.attach(gpt, settings, seed=0).trainable()) == 2 * 4 * (32 + 96)


def lora_layers(name: str, **settings: Any) -> dict[str, torch.Size]:
    """Attach, and return the shape of A of every layer that has an update."""
    model, method = tiny_model(name), find_method("lora")
    attached = method.attach(model, read_settings(method, settings, where="test"), seed=0)
    prefix, suffix = "base_model.model.", ".lora_A.default.weight"
    return {
        key.removeprefix(prefix).removesuffix(suffix): weight.shape
        for key, weight in attached.trainable().items()
        if key.endswith(suffix)
    }


def test_targets_by_role() -> None:
    assert {key.split(".")[-1] for key in lora_layers("llama", targets=["attention"])} == {
        f"{part}_proj" for part in "qkvo"
    }
    # GPT-2 calls the last layer of both attention and MLP c_proj; roles tell them apart.
    assert {key.split(".", 3)[-1] for key in lora_layers("gpt2", targets=["mlp"])} == {"mlp.c_fc", "mlp.c_proj"}
    assert {key.split(".", 3)[-1] for key in lora_layers("bart", targets=["mlp"])} == {
        "0.fc1",
        "0.fc2",
        "1.fc1",
        "1.fc2",
    }
    assert len(lora_layers("t5", targets=["attention"])) == (2 + 2 + 2) * 4


def test_ranks_alphas_and_layers_of_their_own() -> None:
    shapes = lora_layers("llama", rank=2, ranks={"down_proj": 5}, layers=[1])
    assert {key.split(".")[2] for key in shapes} == {"1"}
    assert {key.split(".")[-1]: shape[0] for key, shape in shapes.items()} == {
        **{f"{part}_proj": 2 for part in ("q", "k", "v", "o", "gate", "up")},
        "down_proj": 5,
    }
    assert set(lora_layers("llama", targets=["q_proj"], layers=[0])) == {"model.layers.0.self_attn.q_proj"}
    with pytest.raises(ConfigError, match="no block 2"):
        lora_layers("llama", layers=[2])
    model, method = tiny_model("llama"), find_method("lora")
    settings = read_settings(method, {"rank": 4, "ranks": {"q_proj": 8}, "alphas": {"v_proj": 2.0}}, where="test")
    method.attach(model, settings, seed=0)
    block = model.module.model.layers[0].self_attn
    # alpha / rank is 2 unless an alpha is given.
    assert (block.k_proj.scaling, block.q_proj.scaling) == ({"default": 2.0}, {"default": 2.0})
    assert block.v_proj.scaling == {"default": 0.5}


def test_unknown_targets_are_all_named() -> None:
    method = find_method("lora")
    settings = read_settings(method, {"targets": ["q_prj", "v_proj", "w_proj"]}, where="test")
    with pytest.raises(LuthierError) as caught:
        method.attach(tiny_model("llama"), settings, seed=0)
    assert "no linear layer 'q_prj'" in str(caught.value)
    assert "Did you mean 'q_proj'?" in str(caught.value)
    assert "no linear layer 'w_proj'" in str(caught.value)
    assert "'v_proj'" not in str(caught.value).split("Did you mean")[0]


@pytest.mark.parametrize("settings", [{"dora": True}, {"rslora": True}, {"dropout": 0.1}])
@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
def test_variants_of_lora_save_and_load(settings: dict[str, Any], name: str, tmp_path: Path) -> None:
    model = tiny_model(name)
    base = outputs(model)
    method = find_method("lora")
    attached = method.attach(model, read_settings(method, settings, where="test"), seed=0)
    torch.testing.assert_close(outputs(model), base, atol=1e-5, rtol=1e-5)
    learn(model, attached, tmp_path / "work", steps=2)
    save_adapter(model, attached, tmp_path / "adapter", card(model, attached, "lora"))
    expected = outputs(model)
    attached.detach()
    assert torch.equal(outputs(model), base)
    load_adapter(model, tmp_path / "adapter")
    assert torch.equal(outputs(model), expected)


def test_pickled_adapters_are_not_read(tmp_path: Path) -> None:
    model = tiny_model("llama")
    attached, folder = trained(model, "lora", tmp_path)
    attached.detach()
    path = weights_file(folder)
    torch.save(load_file(path), folder / "adapter_model.bin")
    path.unlink()
    with pytest.raises(ModelError, match=r"pickled \(adapter_model\.bin\), which can run code"):
        load_adapter(model, folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("{", "not JSON"),
        (None, r"no adapter_config\.json"),
        ({"target_modules": ["nobody"]}, "does not fit the model"),
        ({"r": 3}, "has shape"),
        ({"peft_type": "NOTHING"}, "peft_type is .NOTHING., which this version of peft does not have"),
    ],
)
def test_a_damaged_peft_configuration_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    model = tiny_model("llama")
    base, expected = state(model), outputs(model)
    attached, folder = trained(model, "lora", tmp_path)
    attached.detach()
    path = folder / "adapter_config.json"
    if change is None:
        path.unlink()
    else:
        path.write_text(change if isinstance(change, str) else json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(LuthierError, match=message):
        load_adapter(model, folder)
    nothing_is_left(model, base, expected)


def test_method_names_and_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="unknown method 'lara'") as caught:
        find_method("lara")
    assert "Did you mean 'lora'?" in str(caught.value)
    with pytest.raises(LuthierError) as faults:
        read_settings(find_method("lora"), {"rnk": 4, "alpha": -1, "dropout": 1.0}, where="arm 'x', settings")
    for part in ("arm 'x', settings", "unknown key 'rnk'", "Did you mean 'rank'?", "'alpha'", "'dropout'"):
        assert part in str(faults.value)
    with pytest.raises(ConfigError, match="unknown key 'rank'"):
        read_settings(find_method("full"), {"rank": 4}, where="test")


def test_a_lora_folder_names_its_base_as_the_user_did_and_no_place_on_this_machine(tmp_path: Path) -> None:
    model = tiny_model("llama")
    model.name = "owner/tiny"
    _, folder = trained(model, "lora", tmp_path)
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "owner/tiny"
    assert {path.name for path in folder.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        CARD,
        REFERENCE,
    }
    for path in folder.iterdir():
        assert str(tiny_folder("llama")).encode() not in path.read_bytes(), path.name
