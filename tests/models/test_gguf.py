"""A GGUF file is dequantised into a model folder, once for its bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers import AutoModelForCausalLM

from luthier.errors import ModelError
from luthier.experiments.summaries import model_summary
from luthier.methods.registry import find_method, read_settings
from luthier.models.gguf import gguf_folder, read_record
from luthier.models.load import load_model, load_reader

gguf: Any = pytest.importorskip("gguf")

WIDTH, INNER, LAYERS, HEADS, KV_HEADS = 64, 96, 2, 4, 2
WORDS = ["<|endoftext|>", "<s>", "</s>", *"abcdefghij", "Ġ", "ab", "cd"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))


def _write(path: Path, seed: int = 0) -> dict[str, npt.NDArray[np.float32]]:
    """Write a Llama with Q8_0 matrices and tied embeddings; return its weights as they are after dequantisation."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(len(WORDS))
    writer.add_license("apache-2.0")
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(WORDS)
    writer.add_token_types([3, 3, 3] + [1] * (len(WORDS) - 3))
    writer.add_token_merges(["a b", "c d"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template("{% for m in messages %}{{ m['content'] }}</s>{% endfor %}")
    draw = np.random.default_rng(seed)
    shapes = {"token_embd": (len(WORDS), WIDTH), "output_norm": (WIDTH,)}
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        shapes |= {f"{block}.{name}": (WIDTH,) for name in ("attn_norm", "ffn_norm")}
        shapes |= {f"{block}.{name}": (WIDTH, WIDTH) for name in ("attn_q", "attn_output")}
        shapes |= {f"{block}.{name}": (WIDTH * KV_HEADS // HEADS, WIDTH) for name in ("attn_k", "attn_v")}
        shapes |= {f"{block}.ffn_gate": (INNER, WIDTH), f"{block}.ffn_up": (INNER, WIDTH)}
        shapes |= {f"{block}.ffn_down": (WIDTH, INNER)}
    weights = {}
    for name, shape in shapes.items():
        values = draw.normal(0, 0.2, shape).astype(np.float32) + float(len(shape) == 1)
        if len(shape) == 2:
            kind = gguf.GGMLQuantizationType.Q8_0
            packed = gguf.quants.quantize(values, kind)
            writer.add_tensor(f"{name}.weight", packed, raw_dtype=kind)
            values = gguf.quants.dequantize(packed, kind)
        else:
            writer.add_tensor(f"{name}.weight", values)
        weights[name] = values
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weights


def test_the_weights_are_those_of_the_file(tmp_path: Path) -> None:
    weights = _write(tmp_path / "tiny.gguf")
    model = load_model(str(tmp_path / "tiny.gguf"), device="cpu")
    own = dict(model.module.named_parameters())
    assert torch.equal(own["model.embed_tokens.weight"].data, torch.from_numpy(weights["token_embd"]))
    assert torch.equal(own["model.layers.1.mlp.down_proj.weight"].data, torch.from_numpy(weights["blk.1.ffn_down"]))
    assert torch.equal(own["model.norm.weight"].data, torch.from_numpy(weights["output_norm"]))
    assert "lm_head.weight" not in own, "the head is tied to the embeddings, as in the file"
    assert model.tokenizer.chat_template.startswith("{% for m in messages %}")
    assert (model.tokenizer.bos_token_id, model.tokenizer.eos_token_id, model.max_length) == (1, 2, 128)
    assert model.tokenizer("abcd").input_ids == [WORDS.index("ab"), WORDS.index("cd")]


def test_the_record_says_what_was_quantised(tmp_path: Path) -> None:
    _write(tmp_path / "tiny.gguf")
    record = read_record(gguf_folder(tmp_path / "tiny.gguf"))
    assert record is not None
    assert (record.file, record.quantisation, record.licence) == ("tiny.gguf", "Q8_0", "apache-2.0")
    assert record.tensors == {"F32": 1 + 2 * LAYERS, "Q8_0": 1 + 7 * LAYERS}
    assert read_record(tmp_path) is None


def test_loading_and_the_summary_of_a_run_say_what_the_weights_were(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _write(tmp_path / "tiny.gguf")
    summary = model_summary(load_model(str(tmp_path / "tiny.gguf")))
    assert (summary.file, summary.quantisation, summary.licence) == ("tiny.gguf", "Q8_0", "apache-2.0")
    assert "tiny.gguf: the weights are dequantised from Q8_0\n" in capsys.readouterr().err
    plain = model_summary(load_model("mini"))
    assert (plain.file, plain.quantisation, plain.licence) == ("", "", "")


def test_a_folder_belongs_to_the_bytes_of_a_file(tmp_path: Path) -> None:
    _write(tmp_path / "tiny.gguf")
    first = gguf_folder(tmp_path / "tiny.gguf")
    made = (first / "model.safetensors").stat().st_mtime_ns
    (tmp_path / "tiny.gguf").rename(tmp_path / "other.gguf")
    assert gguf_folder(tmp_path / "other.gguf") == first
    assert (first / "model.safetensors").stat().st_mtime_ns == made, "it is not made a second time"
    _write(tmp_path / "other.gguf", seed=1)
    assert gguf_folder(tmp_path / "other.gguf") != first
    assert load_reader(str(tmp_path / "other.gguf")).max_length == 128


def test_what_is_trained_can_be_saved_and_restored(tmp_path: Path) -> None:
    _write(tmp_path / "tiny.gguf")
    model = load_model(str(tmp_path / "tiny.gguf"), device="cpu")
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    method = find_method("full")
    attached = method.attach(model, read_settings(method, {}, where="test"), seed=0)
    with torch.no_grad():
        for value in attached.trainable().values():
            value.mul_(2)
    attached.save(tmp_path / "saved")
    stored = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    doubled = before["model.layers.0.self_attn.q_proj.weight"] * 2
    assert torch.equal(stored.state_dict()["model.layers.0.self_attn.q_proj.weight"], doubled)
    attached.detach()
    assert all(torch.equal(value, before[name]) for name, value in model.module.state_dict().items())


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.gguf", b"GGML....", ("does not begin with GGUF", "Fetch")),
        ("a.gguf", b"GGUF" + b"\x03\0\0\0" + b"\xff" * 40, ("cannot be read",)),
        ("a.gguf", b"GGUF", ("cannot be read",)),
        ("a-00001-of-00003.gguf", b"GGUF....", ("one of several parts", "--merge")),
    ],
)
def test_what_cannot_be_read_is_an_error(tmp_path: Path, name: str, content: bytes, words: tuple[str, ...]) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError) as fault:
        load_model(str(tmp_path / name), device="cpu")
    assert all(word in str(fault.value) for word in (str(tmp_path / name), *words))
