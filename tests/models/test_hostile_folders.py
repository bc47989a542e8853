"""Model folders that a stranger damaged on purpose: one error that names the file and the key, at once."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from luthier.config.data import EncodingConfig
from luthier.data.encoding import Encoder
from luthier.data.model_tokens import ModelTokens
from luthier.errors import DataError, LuthierError
from luthier.evaluation.prepared_task import make_encoder
from luthier.models.load import load_model, load_reader
from luthier.records import Example
from luthier.tasks.loader import load_task
from tiny_models import VOCABULARY, make_tokenizer, tiny_folder, write_folder

Damage = Callable[[Path], object]


def keys(file: str = "config.json", **changes: Any) -> Damage:
    def change(folder: Path) -> object:
        path = folder / file
        return path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def config(text: str) -> Damage:
    return lambda folder: (folder / "config.json").write_text(text)


def poison(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["model.norm.weight"][3] = math.nan
    save_file(tensors, path, metadata={"format": "pt"})


def buckets(folder: Path) -> None:
    shutil.rmtree(folder)
    write_folder(folder, "t5")
    keys(relative_attention_num_buckets=10**9)(folder)


def instead(name: str, make: Damage) -> Damage:
    def change(folder: Path) -> object:
        (folder / name).unlink(missing_ok=True)
        return make(folder / name)

    return change


DANGLING: Damage = lambda path: path.symlink_to("/nowhere/blob")  # noqa: E731
QUANTISED = "and quantised weights are not read"
FAULTS: dict[str, tuple[Damage, str]] = {
    "heads as text": (keys(num_key_value_heads="2"), "num_key_value_heads is '2', which is no whole number"),
    "no heads": (keys(num_attention_heads=0), "num_attention_heads is 0, and must be at least 1"),
    "layers below zero": (keys(num_hidden_layers=-1), "num_hidden_layers is -1, and must be at least 1"),
    "layers as a truth": (keys(num_hidden_layers=True), "num_hidden_layers is True, which is no whole number"),
    "too many layers": (keys(num_hidden_layers=10**7), "num_hidden_layers is 10000000, and the weights have only"),
    "too wide": (keys(hidden_size=10**9), "hidden_size is 1000000000, and no tensor"),
    "too many words": (keys(vocab_size=2**40), "vocab_size is 1099511627776, and no tensor"),
    "positions below zero": (keys(max_position_embeddings=-5), "max_position_embeddings is -5"),
    "positions without end": (keys(max_position_embeddings=10**15), "more positions than any model has"),
    "width as a number with a point": (keys(hidden_size=32.5), "hidden_size is 32.5"),
    "width as nothing": (keys(hidden_size=None), "config.json"),
    "end token as text": (keys(eos_token_id="</s>"), "eos_token_id is '</s>'"),
    "unknown layers": (
        keys(layer_types=["full_attention", "quantum_attention"]),
        "config.json",
    ),
    "heads that do not divide": (keys(num_attention_heads=3, head_dim=None), "config.json|the weights|shape"),
    "rope of nothing": (
        keys(rope_scaling={"rope_type": "none at all", "factor": "x"}),
        "KeyError: .none at all.(.|\n)*config.json",
    ),
    "more buckets than memory": (buckets, "a model of 8,000,0.* numbers, and the weights hold"),
    "unknown activation": (keys(hidden_act="shout"), "the weights cannot be loaded|config.json"),
    "nan in the norm": (keys(rms_norm_eps=math.nan), "not finite|config.json"),
    "text in the norm": (keys(rms_norm_eps="small"), "config.json|cannot be loaded"),
    "deep": (config("[" * 10**5), "not JSON"),
    "deep inside": (config('{"model_type": "llama", "x": ' + '{"x":' * 10**4 + "1" + "}" * 10**4 + "}"), "config.json"),
    "a list": (config("[1, 2]"), "not a JSON object"),
    "kind as a number": (keys(model_type=7), "config.json"),
    "length as text": (
        keys("tokenizer_config.json", model_max_length="x"),
        "model_max_length is 'x'|no usable tokenizer",
    ),
    "length below zero": (keys("tokenizer_config.json", model_max_length=-3), "model_max_length is -3"),
    "length of nan": (keys("tokenizer_config.json", model_max_length=math.nan), "model_max_length is nan"),
    "nan weights": (poison, "tensor 'model.norm.weight' has numbers that are not finite"),
    "dangling weights": (instead("model.safetensors", DANGLING), "a link to /nowhere/blob, which is not there"),
    "dangling configuration": (instead("config.json", DANGLING), "a link to /nowhere/blob|no config.json"),
    "weights that are a folder": (instead("model.safetensors", Path.mkdir), "a folder; a file is needed"),
    "tokenizer that is a folder": (instead("tokenizer.json", Path.mkdir), "a folder; a file is needed"),
    "tokenizer that is a pipe": (instead("tokenizer.json", os.mkfifo), "a pipe or a device; a file is needed"),
    "weights that are a pipe": (instead("more.safetensors", os.mkfifo), "a pipe or a device; a file is needed"),
    "bitsandbytes": (keys(quantization_config={"load_in_4bit": True}), rf"\(bitsandbytes\), {QUANTISED}"),
    "gptq": (keys(quantization_config={"quant_method": "gptq", "bits": 4}), rf"\(gptq\), {QUANTISED}"),
    "awq": (instead("quant_config.json", lambda path: path.write_text("{}")), rf"quant_config.json\), {QUANTISED}"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole tiny model that a test may damage."""
    return Path(shutil.copytree(tiny_folder("llama"), tmp_path / "model"))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_hostile_folder_is_one_error_at_once(fault: str, folder: Path) -> None:
    damage, expected = FAULTS[fault]
    damage(folder)
    started = time.monotonic()
    with pytest.raises(LuthierError, match=expected) as caught:
        load_model(str(folder), device="cpu")
    assert time.monotonic() - started < 5
    text = str(caught.value)
    assert str(folder) in text
    assert "  → " in text
    assert "Fetch the model again" not in text or "quantised" not in text
    assert len(text.splitlines()[0]) < 600


VALUES: tuple[Any, ...] = ("2", 0, -1, None, [], {}, 1e308, True, math.nan, "x" * 1000, [[1]], 10**9)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "bart", "gemma3"])
def test_any_value_under_any_key_is_used_or_refused(name: str, tmp_path: Path) -> None:
    whole = json.loads((tiny_folder(name) / "config.json").read_text())
    place = Path(shutil.copytree(tiny_folder(name), tmp_path / "model"))
    for key in whole:
        for value in VALUES:
            (place / "config.json").write_text(json.dumps({**whole, key: value}))
            started = time.monotonic()
            with contextlib.suppress(LuthierError):
                load_model(str(place), device="cpu")
            assert time.monotonic() - started < 10, (key, value)


# Tokenizers and embeddings of different sizes.


def with_a_token_more(folder: Path) -> Path:
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    assert len(tokenizer) == VOCABULARY + 1
    tokenizer.save_pretrained(folder)
    return folder


def example(text: str) -> Example:
    return Example(id="row 7", task="t", template="plain", prompt="the cat", targets=(text,))


def test_a_tokenizer_one_token_longer_loads_and_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Gemma 3 1B knows an image token of its larger sisters; check and eval read the folder alike."""
    model = load_model(str(with_a_token_more(folder)), device="cpu")
    said = f"the tokenizer has {VOCABULARY + 1} tokens, the model {VOCABULARY} embeddings: '<image>' cannot be used"
    assert said in capsys.readouterr().err
    reader = load_reader(str(folder))
    assert said in capsys.readouterr().err
    checking = Encoder(
        reader.tokenizer,
        encoder_decoder=False,
        max_length=100,
        model_tokens=reader.tokens,
        special_tokens=["<image>"],
    )
    evaluating = make_encoder(model, load_task("review_sentiment"), EncodingConfig())
    assert evaluating.model_tokens == checking.model_tokens == ModelTokens(None, VOCABULARY)
    assert len(checking.encode_all([example("sat")]).encoded) == 1
    with pytest.raises(DataError, match=rf"example row 7: the row becomes '<image>' \(id {VOCABULARY}\)") as caught:
        checking.encode(example("sat <image>"))
    assert f"only {VOCABULARY} embeddings" in str(caught.value)


def test_padded_embeddings_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(tmp_path, "llama", vocab_size=VOCABULARY + 6)
    load_model(str(tmp_path), device="cpu")
    said = f"the model has {VOCABULARY + 6} embeddings, the tokenizer {VOCABULARY} tokens: the rest is padding"
    assert said in capsys.readouterr().err


def test_weights_in_half_precision_are_checked_too(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(path).items()}
    tensors["lm_head.weight"][1, 1] = math.inf
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(LuthierError, match=r"tensor 'lm_head.weight' has numbers that are not finite"):
        load_model(str(folder), device="cpu")
