"""Every way in which a model cannot be loaded, and what the user reads then."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from luthier.errors import LuthierError, ModelError
from luthier.models.load import find_folder, folder_digest, load_model
from tiny_models import CONFIGURATIONS, tiny_folder, write_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole tiny model that a test may damage."""
    return Path(shutil.copytree(tiny_folder("llama"), tmp_path / "model"))


def message(folder: Path | str, **options: object) -> str:
    with pytest.raises(LuthierError) as caught:
        load_model(str(folder), device="cpu", **options)  # type: ignore[arg-type]
    text = str(caught.value)
    assert caught.value.exit_code == 2
    assert "  → " in text, f"no advice in: {text}"
    return text


def remove_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def pickle_weights(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    remove_weights(folder)


def cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def overwrite_header(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(b"\xff" * 64 + path.read_bytes()[64:])


def drop_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"], tensors["lm_head.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def reshape_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"] = torch.zeros(7)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def remove_tokenizer(folder: Path) -> None:
    for path in folder.glob("*token*"):
        path.unlink()


def damage_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"version": "1.0", "model": 3')


def remove_end_token(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    del settings["eos_token"]
    path.write_text(json.dumps(settings))
    (folder / "special_tokens_map.json").unlink(missing_ok=True)


def damage_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "llama", ')


def change_config(**keys: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))

    return change


def ask_for_code(folder: Path) -> None:
    change_config(
        model_type="own", architectures=["Own"], auto_map={"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}
    )(folder)
    (folder / "own.py").write_text("raise SystemExit('code of the model has run')")


FAULTS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "no weights": (remove_weights, ["no *.safetensors in the model folder", "Give a folder with weights"]),
    "pickled weights": (pickle_weights, ["pickled (pytorch_model.bin)", "can run code", "save_pretrained()"]),
    "cut weights": (cut_weights, ["the weights cannot be loaded", "Fetch the model again"]),
    "broken header": (overwrite_header, ["the weights cannot be loaded", "Fetch the model again"]),
    "missing tensors": (drop_tensor, ["'lm_head.weight' is missing", "up_proj.weight' is missing", "Fetch"]),
    "wrong shape": (reshape_tensor, ["tensor 'model.norm.weight' has shape (7,), the model has (32,)"]),
    "no tokenizer": (remove_tokenizer, ["no usable tokenizer", "tokenizer.json"]),
    "damaged tokenizer": (damage_tokenizer, ["no usable tokenizer"]),
    "no end token": (remove_end_token, ["no end token", "Set eos_token in tokenizer_config.json"]),
    "no config": (lambda folder: (folder / "config.json").unlink(), ["no config.json in the model folder"]),
    "broken config": (damage_config, ["config.json"]),
    "unknown architecture": (change_config(model_type="llamma"), ["config.json cannot be used", "llamma"]),
    "small vocabulary": (
        change_config(vocab_size=9),
        ["(74, 32), the model has (9, 32)", "embed_tokens", "lm_head"],
    ),
    "not a language model": (change_config(model_type="vit", architectures=["ViTModel"]), ["cannot be loaded"]),
    "code asked for": (ask_for_code, ["needs code of its own", "--trust-remote-code"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_folder_is_said_plainly(fault: str, folder: Path) -> None:
    damage, expected = FAULTS[fault]
    damage(folder)
    text = message(folder)
    for part in [str(folder), *expected]:
        assert part in text, text
    assert len(text.splitlines()[0]) < 400, "the reason is one line, not a page"


def test_a_tokenizer_larger_than_the_model(tmp_path: Path) -> None:
    write_folder(tmp_path, "llama", vocab_size=40)
    assert "the tokenizer has 74 tokens, the model only 40 embeddings" in message(tmp_path)


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/no-such-model-folder", "models/llama/tiny"])
def test_a_folder_that_is_not_there(name: str) -> None:
    assert f"no model folder '{name}'" in message(name)


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.touch()
    assert f"no model folder '{path}'" in message(path)


@pytest.mark.parametrize("name", ["no-such-model", "nobody-at-all/no-such-model", "bad name!"])
def test_a_hub_id_without_a_network_fails_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    started = time.monotonic()
    text = message(name)
    assert time.monotonic() - started < 5
    assert f"no model '{name}' here" in text
    assert "the hub did not give it" in text
    assert "or `mini`" in text


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "meta?"])
def test_a_device_that_is_not_there(device: str) -> None:
    with pytest.raises(ModelError, match=f"no device '{device.replace('?', '.')}' here") as caught:
        load_model(str(tiny_folder("llama")), device=device)
    assert "--device" in str(caught.value)


def test_loading_asks_only_for_the_plain_files_of_a_hub_model(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}

    def download(name: str, **options: object) -> str:
        asked.update(options, name=name)
        return str(tiny_folder("llama"))

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert find_folder("owner/name") == tiny_folder("llama")
    assert asked["name"] == "owner/name"
    assert "*.py" not in asked["allow_patterns"]  # type: ignore[operator]
    assert asked["ignore_patterns"] == ["*/*"]
    find_folder("owner/name", trust_remote_code=True)
    assert "*.py" in asked["allow_patterns"]  # type: ignore[operator]


def test_the_digest_follows_every_file_that_matters(folder: Path) -> None:
    before = folder_digest(folder)
    (folder / "README.md").write_text("words")
    assert folder_digest(folder) == before
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][0] += 1
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    weights = folder_digest(folder)
    assert weights != before
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert folder_digest(folder) != weights


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_weights_are_float32_whatever_they_are_stored_as(name: str, tmp_path: Path) -> None:
    shutil.copytree(tiny_folder(name), tmp_path, dirs_exist_ok=True)
    tensors = {key: tensor.bfloat16() for key, tensor in load_file(tmp_path / "model.safetensors").items()}
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    change_config(dtype="bfloat16")(tmp_path)
    model = load_model(str(tmp_path), device="cpu")
    assert {parameter.dtype for parameter in model.module.parameters()} == {torch.float32}
    assert not [name for name, parameter in model.module.named_parameters() if not parameter.isfinite().all()]
