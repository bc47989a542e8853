"""Which weight files a model folder reads: what an index may name, and that a digest covers all of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from luthier.errors import LuthierError
from luthier.files.safetensors_models import INDEX, WEIGHTS, weight_files
from luthier.metrics.model_based.pretrained import fingerprint, load_pretrained
from luthier.models.load import folder_digest, load_model
from tiny_models import tiny_folder

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole tiny model in one file."""
    return Path(shutil.copytree(tiny_folder("llama"), tmp_path / "model"))


def shard(folder: Path, first: str, second: str, index: str = INDEX) -> dict[str, str]:
    """Write a model's tensors into two files that an index names, in place of the one; return the map of tensors."""
    tensors = load_file(folder / WEIGHTS)
    names = sorted(tensors)
    places = {name: first if number < len(names) // 2 else second for number, name in enumerate(names)}
    for path in (first, second):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        own = {name: tensors[name] for name in names if places[name] == path}
        save_file(own, folder / path, metadata={"format": "pt"})
    (folder / WEIGHTS).unlink()
    (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return places


def change(path: Path) -> None:
    tensors = load_file(path)
    tensors[min(tensors)] += 1
    save_file(tensors, path, metadata={"format": "pt"})


def message(folder: Path) -> str:
    with pytest.raises(LuthierError) as caught:
        load_model(str(folder), device="cpu")
    assert "  → " in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("inside", ["", "weights/", "a/b/"])
def test_the_digest_follows_every_file_that_an_index_names(folder: Path, inside: str) -> None:
    whole = load_model(str(folder), device="cpu")
    shard(folder, inside + FIRST, inside + SECOND)
    model = load_model(str(folder), device="cpu")
    assert all(torch.equal(model.module.state_dict()[key], value) for key, value in whole.module.state_dict().items())
    assert weight_files(folder) == [folder / inside / FIRST, folder / inside / SECOND]
    before, judged = folder_digest(folder), fingerprint(str(folder))
    assert model.digest == before
    change(folder / inside / SECOND)
    assert folder_digest(folder) != before
    assert fingerprint(str(folder)) != judged


def test_the_digest_follows_the_file_that_the_configuration_names(folder: Path) -> None:
    (folder / "own").mkdir()
    (folder / WEIGHTS).rename(folder / "own" / "weights.safetensors")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"transformers_weights": "own/weights.safetensors"}))
    before = load_model(str(folder), device="cpu").digest
    change(folder / "own" / "weights.safetensors")
    assert load_model(str(folder), device="cpu").digest != before


def test_the_digest_follows_an_index_of_another_name(folder: Path) -> None:
    shard(folder, "x/" + FIRST, "x/" + SECOND, index="own.safetensors.index.json")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"transformers_weights": "own.safetensors.index.json"}))
    before = load_model(str(folder), device="cpu").digest
    change(folder / "x" / FIRST)
    assert load_model(str(folder), device="cpu").digest != before


def test_code_is_part_of_a_model_where_it_is_run(folder: Path) -> None:
    plain, run = folder_digest(folder), folder_digest(folder, code=True)
    assert plain == run
    (folder / "modeling_own.py").write_text("one = 1\n")
    assert folder_digest(folder) == plain
    assert folder_digest(folder, code=True) != run


def test_chat_templates_beside_the_first_are_part_of_a_model(folder: Path) -> None:
    before = folder_digest(folder)
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tools.jinja").write_text("{{ tools }}")
    assert folder_digest(folder) != before


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ("../model-outside.safetensors", "is outside the model's folder"),
        ("weights/../../model-outside.safetensors", "is outside the model's folder"),
        ("/model-outside.safetensors", "is outside the model's folder"),
        ("..\\model-outside.safetensors", "is outside the model's folder"),
        ("C:\\model-outside.safetensors", "is outside the model's folder"),
        ("not-there.safetensors", "is missing"),
        ("weights", "is not a safetensors file"),
        ("pytorch_model.bin", "is not a safetensors file"),
        ("", "is not a safetensors file"),
    ],
)
def test_an_entry_that_cannot_be_used_is_named(folder: Path, entry: str, fault: str) -> None:
    places = shard(folder, FIRST, SECOND)
    (folder / "pytorch_model.bin").write_bytes(b"pickled")
    (folder / "weights").mkdir()
    shutil.copy(folder / FIRST, folder.parent / "model-outside.safetensors")
    tensor = max(places)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places | {tensor: entry}}))
    text = message(folder)
    assert f"tensor '{tensor}' is in '{entry}', which {fault}" in text
    assert str(folder / INDEX) in text
    assert "*.safetensors files inside the folder" in text
    with pytest.raises(LuthierError, match="which is"):
        folder_digest(folder)


def test_all_entries_that_cannot_be_used_are_listed(folder: Path) -> None:
    shard(folder, FIRST, SECOND)
    for path in (FIRST, SECOND):
        (folder / path).unlink()
    text = message(folder)
    assert f"in '{FIRST}', which is missing" in text
    assert f"in '{SECOND}', which is missing" in text


@pytest.mark.parametrize("index", ["{", "[]", "{}", '{"weight_map": 3}', '{"weight_map": ["a"]}'])
def test_a_damaged_index_is_said_plainly(folder: Path, index: str) -> None:
    (folder / WEIGHTS).unlink()
    (folder / INDEX).write_text(index)
    text = message(folder)
    assert "the index of weights is damaged" in text
    assert str(folder / INDEX) in text


@pytest.mark.parametrize(
    "stated", ["../x.safetensors", "/x.safetensors", "x.bin", "x.safetensors", "../x.safetensors.index.json"]
)
def test_a_configuration_that_names_other_weights_is_refused(folder: Path, stated: str) -> None:
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"transformers_weights": stated}))
    text = message(folder)
    assert f"'transformers_weights' names '{stated}', which is" in text
    assert str(folder / "config.json") in text


def test_an_index_that_is_not_read_is_no_fault(folder: Path) -> None:
    """A model in one file is read from it; an index left behind by an earlier one decides nothing."""
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": {"a": "gone.safetensors"}}))
    assert weight_files(folder) == [folder / WEIGHTS]
    load_model(str(folder), device="cpu")


def test_a_metric_refuses_a_model_that_would_be_partly_random(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    del tensors["model.norm.weight"]
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(LuthierError, match=r"tensor 'norm\.weight' is missing"):
        load_pretrained("AutoModel", str(folder))
