"""Which weights selective tuning chooses, in every family of models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from test_every_method import outputs, trained

from luthier.errors import LuthierError, ModelError
from luthier.methods.adapter_io import load_adapter
from luthier.methods.registry import find_method, read_settings
from tiny_models import tiny_model


def chosen(name: str, **settings: Any) -> set[str]:
    model, method = tiny_model(name), find_method("selective")
    return set(method.attach(model, read_settings(method, settings, where="test"), seed=0).trainable())


def test_the_last_block_of_a_llama() -> None:
    names = chosen("llama", last=1)
    assert all(name.startswith("model.layers.1.") for name in names)
    assert len(names) == 4 + 3 + 2  # attention, MLP, norms
    assert chosen("llama") == chosen("llama", last=2)  # the last two when nothing is chosen


def test_parts_of_a_llama() -> None:
    layers = [f"model.layers.{index}." for index in range(2)]
    attention = {f"{layer}self_attn.{part}_proj.weight" for layer in layers for part in "qkvo"}
    mlp = {f"{layer}mlp.{part}_proj.weight" for layer in layers for part in ("gate", "up", "down")}
    norms = {f"{layer}{part}_layernorm.weight" for layer in layers for part in ("input", "post_attention")}
    assert chosen("llama", parts=["attention"]) == attention
    assert chosen("llama", parts=["mlp"]) == mlp
    assert chosen("llama", parts=["norms"]) == norms | {"model.norm.weight"}
    assert chosen("llama", parts=["embeddings"]) == {"model.embed_tokens.weight"}
    assert chosen("llama", parts=["head"]) == {"lm_head.weight"}
    assert chosen("llama-tied", parts=["head"]) == {"model.embed_tokens.weight"}  # one and the same
    assert chosen("llama", parts=["norms"], last=1) == {name for name in norms if ".1." in name}
    assert chosen("llama", parts=["mlp", "norms"]) == mlp | norms | {"model.norm.weight"}
    assert chosen("llama", patterns=["*.q_proj.weight", "lm_head.*"], parts=["norms"]) == (
        {name for name in attention if ".q_proj." in name} | norms | {"model.norm.weight", "lm_head.weight"}
    )


def test_biases_alone_are_bitfit() -> None:
    names = chosen("gpt2", parts=["biases"])
    # Two blocks of c_attn, c_proj, c_fc, c_proj and two norms; the last norm.
    assert len(names) == 2 * 6 + 1
    assert all(name.endswith(".bias") for name in names)
    assert "model.decoder.layers.1.fc1.bias" in chosen("bart", parts=["biases"])
    # T5's relative positions are called a bias, and are an embedding inside attention.
    with pytest.raises(LuthierError, match="there are no biases in this model"):
        chosen("t5", parts=["biases"])


def test_an_encoder_decoder() -> None:
    assert all(name.startswith("decoder.block.1.") for name in chosen("t5", last=1))
    attention = chosen("t5", parts=["attention"])
    assert len(attention) == (2 + 2 + 2) * 4  # encoder, decoder, cross
    assert chosen("t5", parts=["embeddings"]) == {"shared.weight"}
    assert {"model.shared.weight", "model.encoder.embed_positions.weight"} < chosen("bart", parts=["embeddings"])


def test_what_is_not_there_is_named_all_at_once() -> None:
    with pytest.raises(LuthierError) as caught:
        chosen("llama", last=3, parts=["biases"], patterns=["*.w_proj.*"])
    text = str(caught.value)
    assert "the model has only 2 blocks, not 3" in text
    assert "there are no biases in the last blocks" in text
    assert "no weight is called '*.w_proj.*'" in text
    with pytest.raises(LuthierError, match=r"settings\.parts|parts\.0"):
        chosen("llama", parts=["noses"])


def test_the_file_is_sparse_and_the_list_is_checked(tmp_path: Path) -> None:
    model = tiny_model("llama")
    base = outputs(model)
    attached, folder = trained(model, "selective", tmp_path)
    names = set(attached.trainable())
    attached.detach()
    assert set(load_file(folder / "selective.safetensors")) == names
    listed = json.loads((folder / "selective.json").read_text())
    assert listed["weights"]["model.layers.1.mlp.up_proj.weight"] == [48, 32]
    listed["weights"]["model.layers.9.mlp.up_proj.weight"] = [48, 32]
    (folder / "selective.json").write_text(json.dumps(listed))
    with pytest.raises(ModelError, match=r"the model has no weight 'model\.layers\.9\.mlp\.up_proj\.weight'"):
        load_adapter(model, folder)
    (folder / "selective.json").write_text("{}")
    with pytest.raises(ModelError, match="no list of weights"):
        load_adapter(model, folder)
    assert (outputs(model) == base).all()
