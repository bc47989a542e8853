"""Any PEFT configuration, and folders that plain PEFT wrote."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from test_every_method import ITEMS, learn, nothing_is_left, outputs, plain_logits
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from luthier.config.arms import make_arms
from luthier.config.compare import CompareConfig
from luthier.config.training import TrainingConfig
from luthier.config.validation import validate
from luthier.errors import LuthierError, ModelError
from luthier.methods.adapter_io import add_adapter, load_adapter
from luthier.methods.base import Attached, count
from luthier.methods.registry import find_method, read_settings
from luthier.models.language_model import LanguageModel
from tiny_models import same_bits, state, tiny_folder, tiny_model

LINEAR = {"target_modules": "all-linear"}
# Each with the least that it asks for; peft's own defaults otherwise.
KINDS: dict[str, dict[str, Any]] = {
    "LORA": LINEAR,
    "ADALORA": {**LINEAR, "total_step": 10},
    "IA3": {},
    "LOHA": LINEAR,
    "LOKR": LINEAR,
    "OFT": {**LINEAR, "oft_block_size": 4, "r": 0},
    "BOFT": {**LINEAR, "boft_block_size": 4},
    "VERA": {"target_modules": ["q_proj", "o_proj"]},
    "LN_TUNING": {"target_modules": ["input_layernorm"]},
    "HRA": LINEAR,
    "P_TUNING": {"num_virtual_tokens": 4, "encoder_hidden_size": 8},
    "PROMPT_TUNING": {"num_virtual_tokens": 4},
    "PREFIX_TUNING": {"num_virtual_tokens": 4},
}


def put(model: LanguageModel, kind: str, **settings: Any) -> Attached:
    method = find_method("peft")
    return method.attach(model, read_settings(method, {"peft_type": kind, **settings}, where="test"), seed=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_configuration_is_all_that_is_needed(kind: str, tmp_path: Path) -> None:
    model = tiny_model("llama")
    base, expected = state(model), outputs(model)
    attached = put(model, kind, **KINDS[kind])
    losses = learn(model, attached, tmp_path / "work", steps=5, rate=0.03)
    assert losses[-1] < losses[0]
    tuned = outputs(model)
    (tmp_path / "adapter").mkdir()
    attached.save(tmp_path / "adapter")
    attached.detach()
    nothing_is_left(model, base, expected)
    attached.reattach()
    assert torch.equal(outputs(model), tuned)
    attached.detach()
    load_adapter(model, tmp_path / "adapter")
    torch.testing.assert_close(outputs(model), tuned, rtol=0, atol=1e-5)


def test_layers_that_peft_does_not_know_are_found_by_role(tmp_path: Path) -> None:
    """PEFT has no list of mBART's layers for IA3."""
    model = tiny_model("mbart")
    base = outputs(model)
    attached = put(model, "IA3")
    # Attentions of 4 outputs of 32, MLPs of one output of 48 and one input of 48: two encoder and two decoder blocks.
    assert count(attached.trainable()) == (2 + 4) * 4 * 32 + 4 * (48 + 48)
    assert torch.equal(outputs(model), base)
    losses = learn(model, attached, tmp_path, steps=5, rate=0.03)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", ["opt", "bloom", "gemma3", "mistral", "qwen3"])
@pytest.mark.parametrize("method", ["prompt_tuning", "prefix_tuning"])
def test_virtual_tokens_in_every_architecture(method: str, name: str) -> None:
    """Scaled embeddings, position tables, ALiBi, sliding windows: alone as in a batch, scored as generated."""
    model, found = tiny_model(name), find_method(method)
    base = outputs(model)
    attached = found.attach(model, read_settings(found, {"virtual_tokens": 3}, where="test"), seed=0)
    items = [replace(item, prompt_ids=item.prompt_ids[-4:], target_ids=item.target_ids[:1]) for item in ITEMS]
    items += [replace(items[0], prompt_ids=items[0].prompt_ids[-2:])]  # within the windows of 8 tokens
    with torch.no_grad():
        alone = torch.cat([model.target_logprobs([item]) for item in items])
        torch.testing.assert_close(model.target_logprobs(items), alone, rtol=1e-4, atol=1e-4)
        logits = model.begin([item.prompt_ids for item in items]).logits.log_softmax(dim=-1)
    generated = torch.stack([logits[row, int(item.target_ids[0])] for row, item in enumerate(items)])
    torch.testing.assert_close(generated, alone, rtol=1e-4, atol=1e-4)
    attached.detach()
    assert torch.equal(outputs(model), base)


def test_settings_are_checked_by_peft_s_own_names() -> None:
    method = find_method("peft")
    with pytest.raises(LuthierError, match=r"unknown peft_type 'IA4'") as caught:
        read_settings(method, {"peft_type": "IA4"}, where="test")
    assert "Did you mean 'IA3'?" in str(caught.value)
    with pytest.raises(LuthierError, match="IA3 has no key 'target_module'") as caught:
        read_settings(method, {"peft_type": "IA3", "target_module": ["q"]}, where="test")
    assert "Did you mean 'target_modules'?" in str(caught.value)
    with pytest.raises(LuthierError, match="key 'peft_type' is missing"):
        read_settings(method, {"target_modules": ["q"]}, where="test")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"peft_type": "LORA", "target_modules": ["nobody"]}, "peft cannot put LORA on this model"),
        ({"peft_type": "LORA", "target_modules": "all-linear", "init_lora_weights": "pissa"}, "writes to the base"),
        ({"peft_type": "LORA", "r": -1, "target_modules": "all-linear"}, "peft cannot put LORA|refuses"),
        ({"peft_type": "POLY", "target_modules": "all-linear"}, "needs more than a prompt and a target"),
        ({"peft_type": "CPT", "cpt_token_ids": [1, 2]}, "needs more than a prompt and a target|refuses"),
    ],
)
def test_what_cannot_be_is_refused_and_the_base_left_alone(settings: dict[str, Any], message: str) -> None:
    model = tiny_model("llama")
    base, expected = state(model), outputs(model)
    with pytest.raises(LuthierError, match=message):
        put(model, settings.pop("peft_type"), **settings)
    assert same_bits(state(model), base)
    assert torch.equal(outputs(model), expected)


def test_an_arm_spells_a_method_with_its_settings() -> None:
    data = {"arms": ["ia3", {"name": "x", "method": {"peft": {"peft_type": "LOHA", "r": 4}}, "shots": 1}]}
    config = validate(CompareConfig, data, source="test")
    ia3, loha = make_arms(config.arms, training=TrainingConfig(epochs=1), few_shots=3, seeds=(0,))
    assert (ia3.method, ia3.settings, ia3.training.learning_rate) == ("peft", {"peft_type": "IA3"}, 3e-2)
    assert (loha.method, loha.settings, loha.shots) == ("peft", {"peft_type": "LOHA", "r": 4}, 1)
    # What the run says wins over a preset, and an arm that is spelled out over the run.
    (ia3,) = make_arms(["ia3"], training=TrainingConfig(learning_rate=0.5), few_shots=3, seeds=(0,))
    assert ia3.training.learning_rate == 0.5
    with pytest.raises(LuthierError, match="one name with its settings"):
        validate(CompareConfig, {"arms": [{"name": "x", "method": {"lora": {}, "full": {}}}]}, source="test")


# Folders that plain peft wrote.


def published(name: str, config: Any, folder: Path, base: str) -> torch.Tensor:
    """Let plain peft train nothing, but draw weights, and save; return what it computes on the probes."""
    model = tiny_model(name)
    auto: Any = AutoModelForSeq2SeqLM if model.encoder_decoder else AutoModelForCausalLM
    config.task_type = "SEQ_2_SEQ_LM" if model.encoder_decoder else "CAUSAL_LM"
    if hasattr(config, "fan_in_fan_out"):
        config.fan_in_fan_out = name == "gpt2"  # peft sets it by itself, and warns
    plain = peft.get_peft_model(auto.from_pretrained(tiny_folder(name)), config).eval()
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for key, weight in plain.named_parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=draw) * (0.3 if "prompt" in key else 0.2))
        found = plain_logits(plain, model.encoder_decoder)
    plain.peft_config["default"].base_model_name_or_path = base
    plain.save_pretrained(folder, save_embedding_layers=False)
    return found


def configs() -> dict[str, Any]:
    return {
        "lora": peft.LoraConfig(r=3, target_modules="all-linear"),
        "ia3": peft.IA3Config(),
        "prompt": peft.PromptTuningConfig(num_virtual_tokens=5),
        "prefix": peft.PrefixTuningConfig(num_virtual_tokens=5),
        "projected": peft.PrefixTuningConfig(num_virtual_tokens=5, prefix_projection=True, encoder_hidden_size=8),
    }


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "bart"])
@pytest.mark.parametrize("kind", ["lora", "ia3", "prompt", "prefix", "projected"])
def test_a_published_folder_gives_peft_s_own_logits(kind: str, name: str, tmp_path: Path) -> None:
    expected = published(name, configs()[kind], tmp_path, base="owner/tiny")
    model = tiny_model(name)
    model.name = "owner/tiny"
    base = outputs(model)
    attached = load_adapter(model, tmp_path)
    torch.testing.assert_close(outputs(model), expected, rtol=3e-6, atol=2e-5)
    attached.detach()
    assert torch.equal(outputs(model), base)
    add_adapter(model, "published", tmp_path)
    with model.using("published"):
        torch.testing.assert_close(outputs(model), expected, rtol=3e-6, atol=2e-5)


def test_a_published_prompt_that_began_as_text_needs_no_tokenizer(tmp_path: Path) -> None:
    expected = published("llama", configs()["prompt"], tmp_path, base="tiny")
    path = tmp_path / "adapter_config.json"
    begun = {"prompt_tuning_init": "TEXT", "prompt_tuning_init_text": "Say", "tokenizer_name_or_path": "nobody/none"}
    path.write_text(json.dumps({**json.loads(path.read_text()), **begun}))
    model = tiny_model("llama")
    load_adapter(model, tmp_path, any_base=True)
    torch.testing.assert_close(outputs(model), expected, rtol=3e-6, atol=2e-5)


def test_a_published_folder_for_another_base_is_refused_unless_allowed(tmp_path: Path) -> None:
    expected = published("llama", configs()["lora"], tmp_path, base="meta/other-7b")
    model = tiny_model("llama")
    model.name = "owner/tiny"
    base = outputs(model)
    with pytest.raises(ModelError, match="trained for 'meta/other-7b', not for 'owner/tiny'") as caught:
        load_adapter(model, tmp_path)
    assert "adapter_config.json" in str(caught.value)
    assert torch.equal(outputs(model), base)
    load_adapter(model, tmp_path, any_base=True)
    torch.testing.assert_close(outputs(model), expected, rtol=3e-6, atol=2e-5)


@pytest.mark.parametrize("kind", ["lora", "prompt", "prefix"])
def test_a_published_folder_of_other_shapes_is_refused(kind: str, tmp_path: Path) -> None:
    published("gpt2", configs()[kind], tmp_path, base="tiny")
    model = tiny_model("llama")
    base, expected = state(model), outputs(model)
    path = tmp_path / "adapter_config.json"
    written = json.loads(path.read_text())
    if kind == "prompt":
        path.write_text(json.dumps({**written, "token_dim": 64}))
    with pytest.raises(LuthierError, match=r"does not fit the model|the model has|belongs to nothing"):
        load_adapter(model, tmp_path, any_base=True)
    assert same_bits(state(model), base)
    assert torch.equal(outputs(model), expected)


def test_one_row_of_a_batch_does_not_hear_of_the_others_behind_a_published_prompt(tmp_path: Path) -> None:
    published("gpt2", configs()["prompt"], tmp_path, base="tiny")
    model = tiny_model("gpt2")
    load_adapter(model, tmp_path, any_base=True)
    with torch.no_grad():
        alone = torch.cat([model.target_logprobs([item]) for item in ITEMS])
        torch.testing.assert_close(model.target_logprobs(ITEMS), alone, rtol=1e-4, atol=1e-4)
