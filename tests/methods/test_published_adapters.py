"""Adapters that plain ``peft`` wrote: each gives peft's own logits, and then the base comes back bit for bit."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_every_method import ITEMS, learn, outputs, plain_logits
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from luthier.errors import LuthierError, ModelError
from luthier.methods.adapter_io import add_adapter, load_adapter
from luthier.methods.merging import merge
from luthier.methods.registry import find_method, read_settings
from luthier.models.language_model import LanguageModel
from tiny_models import VOCABULARY, same_bits, state, tiny_folder, tiny_model

ALL = {"target_modules": "all-linear"}
CHANGING: dict[str, dict[str, Any]] = {
    "pissa": {**ALL, "init_lora_weights": "pissa"},
    "pissa by iteration": {**ALL, "init_lora_weights": "pissa_niter_4"},
    "olora": {**ALL, "init_lora_weights": "olora"},
    "biases": {**ALL, "bias": "all"},
    "whole embedding": {**ALL, "save": True},
    "adapted and whole embedding": {
        "target_modules": ["embed_tokens", "wte", "shared", "q_proj", "c_attn"],
        "save": True,
    },
}
"""What these adapters do to the base's own weights must end with them."""
BESIDE: dict[str, dict[str, Any]] = {
    "eva": {**ALL, "init_lora_weights": "eva"},
    "mica": {**ALL, "init_lora_weights": "mica"},
    "dora": {**ALL, "use_dora": True},
    "ranks": {**ALL, "rank_pattern": {"q_proj": 5, "c_attn": 5}, "alpha_pattern": {"o_proj": 3, "mlp.c_proj": 3}},
    "some blocks": {"target_modules": ["q_proj", "c_attn"], "layers_to_transform": [1]},
    "biases of its own": {**ALL, "lora_bias": True},
    "whole head": {**ALL, "modules_to_save": ["lm_head"]},
    "whole embedding and head": {**ALL, "modules_to_save": ["lm_head", "embed_tokens", "wte"]},
    "new tokens": {**ALL, "trainable_token_indices": [5, 70, 73]},
    "adapted head": {"target_modules": ["lm_head", "q_proj", "c_attn"]},
}


def publish(name: str, settings: dict[str, Any], folder: Path) -> torch.Tensor:
    """Let plain peft put an adapter on, draw its weights and save it; return what it computes on the probes."""
    encoder_decoder = tiny_model(name).encoder_decoder
    auto: Any = AutoModelForSeq2SeqLM if encoder_decoder else AutoModelForCausalLM
    base = auto.from_pretrained(tiny_folder(name))
    whole = settings.get("save", False)
    own = {key: value for key, value in settings.items() if key != "save"}
    draw = torch.Generator().manual_seed(1)
    with warnings.catch_warnings(), torch.no_grad(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        config = peft.LoraConfig(r=3, **own)
        config.task_type = "SEQ_2_SEQ_LM" if encoder_decoder else "CAUSAL_LM"
        config.fan_in_fan_out = name == "gpt2"
        plain = peft.get_peft_model(base, config).eval()
        trained = [weight for weight in plain.parameters() if weight.requires_grad]
        for weight in [*trained, *([base.get_input_embeddings().weight] if whole else [])]:
            weight.add_(torch.randn(weight.shape, generator=draw) * 0.2)
        plain.peft_config["default"].base_model_name_or_path = name
        plain.save_pretrained(str(folder), save_embedding_layers=whole)
        found: torch.Tensor = plain_logits(plain, encoder_decoder)
    return found


@pytest.mark.parametrize("name", ["llama", "llama-tied", "gpt2"])
@pytest.mark.parametrize("kind", [*CHANGING, *BESIDE])
def test_it_gives_peft_s_own_logits_and_leaves_the_base_as_it_was(kind: str, name: str, tmp_path: Path) -> None:
    if (kind, name) == ("olora", "gpt2"):
        pytest.skip("peft itself cannot start OLoRA on transposed matrices")
    expected = publish(name, (CHANGING | BESIDE)[kind], tmp_path)
    model = tiny_model(name)
    base, alone = state(model), outputs(model)
    attached = load_adapter(model, tmp_path, any_base=True)
    tuned = outputs(model)
    torch.testing.assert_close(tuned, expected, rtol=1e-5, atol=1e-4)
    assert float((tuned - alone).abs().max()) > 1e-2, "the adapter does nothing"
    attached.detach()
    assert same_bits(state(model), base)
    assert torch.equal(outputs(model), alone)
    # Beside another adapter of the same base, in any order.
    add_adapter(model, "one", tmp_path, any_base=True)
    add_adapter(model, "two", tmp_path, any_base=True)
    for used in ("one", None, "two", "one", None):
        with model.using(used):
            assert torch.equal(outputs(model), alone if used is None else tuned)
    assert same_bits(state(model), base)
    assert model.module.state_dict().keys() == base.keys()


@pytest.mark.parametrize("name", ["llama", "llama-tied", "gpt2"])
@pytest.mark.parametrize("kind", ["pissa", "biases", "whole embedding", "whole head", "new tokens", "adapted head"])
def test_it_merges_into_a_model_that_needs_no_adapter(kind: str, name: str, tmp_path: Path) -> None:
    """A tied head that the adapter changes alone gets a matrix of its own."""
    publish(name, (CHANGING | BESIDE)[kind], tmp_path)
    model = tiny_model(name)
    base, alone = state(model), outputs(model)
    attached = load_adapter(model, tmp_path, any_base=True)
    tuned = outputs(model)
    merged = merge(model, attached, ITEMS)
    model.module.save_pretrained(tmp_path / "merged")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    torch.testing.assert_close(plain_logits(plain, False), tuned, rtol=1e-4, atol=1e-3)
    merged.undo()
    assert torch.equal(outputs(model), tuned)
    attached.detach()
    assert torch.equal(outputs(model), alone)
    assert same_bits(state(model), base)
    assert model.module.config.tie_word_embeddings == (name != "llama")


def test_biases_that_were_trained_here_end_with_the_adapter(tmp_path: Path) -> None:
    model = tiny_model("gpt2")
    base, alone = state(model), outputs(model)
    method = find_method("peft")
    settings = read_settings(method, {"peft_type": "LORA", "target_modules": ["c_attn"], "bias": "all"}, where="test")
    attached = method.attach(model, settings, seed=0)
    losses = learn(model, attached, tmp_path, steps=4, rate=0.03)
    assert losses[-1] < losses[0]
    tuned = outputs(model)
    attached.detach()
    assert same_bits(state(model), base)
    assert torch.equal(outputs(model), alone)
    attached.reattach()
    assert torch.equal(outputs(model), tuned)


def set_keys(**keys: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))

    return change


def poison(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    tensors[min(tensors)][0] = math.nan
    save_file(tensors, path)


def pickle_it(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    torch.save(load_file(path), folder / "adapter_model.bin")
    path.unlink()


def write_config(contents: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "adapter_config.json").write_bytes(contents)

    return write


def resize(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    rows = torch.zeros(VOCABULARY + 2, 32)
    save_file({**load_file(path), "base_model.model.model.embed_tokens.weight": rows}, path)


HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "nan weights": (poison, r"has numbers that are not finite"),
    "nan alpha": (set_keys(lora_alpha=math.nan), r"lora_alpha is nan"),
    "huge alpha": (set_keys(lora_alpha=1e308), r"lora_alpha is 1e\+308"),
    "alpha of a pattern": (set_keys(alpha_pattern={"q_proj": math.inf}), r"alpha_pattern.q_proj is inf"),
    "huge rank": (set_keys(r=10**7), r"r is 10000000, larger than anything"),
    "rank of a pattern": (set_keys(rank_pattern={"q_proj": 10**6}), r"rank_pattern.q_proj is 1000000"),
    "rank as text": (set_keys(r="3"), r"does not fit the model"),
    "no rank": (set_keys(r=0), r"does not fit the model"),
    "rank of a list": (set_keys(r=[3]), r"does not fit the model"),
    "replicated blocks": (
        set_keys(layer_replication=[[0, 2], [1, 2]]),
        r"layer_replication repeats the model's blocks",
    ),
    "token beyond": (set_keys(trainable_token_indices=[1, 10**6]), r"trainable_token_indices\[1\] is 1000000"),
    "token below": (set_keys(trainable_token_indices={"embed_tokens": [-4]}), r"embed_tokens\[0\] is -4"),
    "invoked": (set_keys(alora_invocation_tokens=[1]), r"alora_invocation_tokens adapts only"),
    "key of tomorrow": (set_keys(use_everything=True), r"LORA has no key 'use_everything' in this version"),
    "kind of tomorrow": (set_keys(peft_type="LORA2"), r"peft_type is 'LORA2'(.|\n)*Did you mean 'LORA'"),
    "kind as a number": (set_keys(peft_type=7), r"peft_type is 7"),
    "corda": (set_keys(init_lora_weights="corda"), r"init_lora_weights is 'corda'"),
    "start of tomorrow": (set_keys(init_lora_weights="later"), r"does not fit the model"),
    "targets as numbers": (set_keys(target_modules=[1, 2]), r"does not fit the model|is missing|belongs to nothing"),
    "resized vocabulary": (resize, r"holds 76 rows of .*embed_tokens.weight', the model has 74(.|\n)*resize_token"),
    "pickle": (pickle_it, r"adapter_model.bin\), which can run code(.|\n)*save_file"),
    "no object": (write_config(b"[1]"), r"not a JSON object"),
    "deep": (write_config(b"[" * 10**5), r"not JSON"),
    "bytes": (write_config(b"\xff\xfe\xff"), r"not JSON"),
}


@pytest.fixture(scope="module")
def tiny() -> LanguageModel:
    return tiny_model("llama")


@pytest.mark.parametrize("fault", HOSTILE)
def test_a_hostile_folder_is_one_error_and_the_base_stays(fault: str, tiny: LanguageModel, tmp_path: Path) -> None:
    publish("llama", ALL, tmp_path)
    damage, expected = HOSTILE[fault]
    damage(tmp_path)
    base = state(tiny)
    started = time.monotonic()
    with pytest.raises(LuthierError, match=expected) as caught:
        load_adapter(tiny, tmp_path, any_base=True)
    assert time.monotonic() - started < 5
    assert str(tmp_path) in str(caught.value)
    assert "  → " in str(caught.value)
    assert same_bits(state(tiny), base)


def test_keys_that_are_not_set_may_be_unknown(tmp_path: Path) -> None:
    publish("llama", ALL, tmp_path)
    set_keys(later=None, also_later=False, lists=[])(tmp_path)
    load_adapter(tiny_model("llama"), tmp_path, any_base=True)


def test_an_encoder_decoder_that_shares_its_matrix_says_why_it_cannot_merge(tmp_path: Path) -> None:
    publish("t5", {"target_modules": ["q", "lm_head"]}, tmp_path)
    model = tiny_model("t5")
    attached = load_adapter(model, tmp_path, any_base=True)
    tuned = outputs(model)
    with pytest.raises(ModelError, match="shares its matrix with the embeddings"):
        merge(model, attached, ITEMS)
    assert torch.equal(outputs(model), tuned)
