"""``luthier merge``: what it prints and writes, and what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from luthier.methods.adapter_io import CARD, REFERENCE, load_adapter
from luthier.models.load import load_model
from small_job import QUICK_TRAINING, Refused, Workshop, luthier
from tiny_models import tiny_folder


def command(workshop: Workshop, adapter: Path, out: Path, *more: object) -> tuple[object, ...]:
    task = ("--task", workshop.job / "echo.yaml")
    return ("merge", adapter, "--model", workshop.model, "--out", out, *task, "--device", "cpu", *more)


def test_the_merged_model_answers_in_plain_transformers_as_the_adapter_does(workshop: Workshop, tmp_path: Path) -> None:
    ran = luthier(*command(workshop, workshop.adapter, tmp_path / "made" / "whole", "--sample", 4))
    assert ran.code == 0, ran.err
    for words in ("Unmerged", "Merged", "Difference", "Allowed", "logits", "token_f1", "On 4 examples"):
        assert words in ran.out
    whole = tmp_path / "made" / "whole"
    assert str(whole) in ran.out
    assert not list(whole.parent.glob(".writing-*"))
    prompt = "test 0: a red cat sat\nanimal:"
    plain = AutoModelForCausalLM.from_pretrained(whole)
    ids = torch.tensor([AutoTokenizer.from_pretrained(whole)(prompt).input_ids])
    model = load_model(str(workshop.model), device="cpu")
    with torch.no_grad():
        base = model.module(ids).logits
        load_adapter(model, workshop.adapter)
        torch.testing.assert_close(plain(ids).logits, model.module(ids).logits, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(plain(ids).logits, base, rtol=1e-4, atol=1e-4)
    kept = load_file(workshop.model / "model.safetensors")
    assert {name: weight.shape for name, weight in load_file(whole / "model.safetensors").items()} == {
        name: weight.shape for name, weight in kept.items()
    }


def test_a_fully_tuned_model_and_the_choice_task_of_another(workshop: Workshop, tmp_path: Path) -> None:
    tuned = luthier(
        *("tune", "-m", workshop.model, "-t", workshop.job / "colour.yaml", "--arm", "full"),
        *("--save", tmp_path / "full", "--runs", workshop.runs, *QUICK_TRAINING),
    )
    assert tuned.code == 0, tuned.err
    ran = luthier(*command(workshop, tmp_path / "full", tmp_path / "whole", "-t", workshop.job / "colour.yaml"))
    assert ran.code == 0, ran.err
    assert "accuracy" in ran.out
    tensors = load_file(tmp_path / "full" / "model.safetensors")
    merged = load_file(tmp_path / "whole" / "model.safetensors")
    assert all(torch.equal(merged[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize("arm", ["adapter", "prompt_tuning"])
def test_a_method_that_no_weights_can_stand_for(arm: str, workshop: Workshop, refused: Refused, tmp_path: Path) -> None:
    spell = tmp_path / "arm.yaml"
    inside = "{adapter: {bottleneck: 2}}" if arm == "adapter" else "{prompt_tuning: {virtual_tokens: 3}}"
    spell.write_text(f"arm: {{name: it, method: {inside}}}\n")
    tuned = luthier(
        *("tune", spell, "-m", workshop.model, "-t", workshop.job / "echo.yaml"),
        *("--save", tmp_path / "it", "--runs", workshop.runs, *QUICK_TRAINING),
    )
    assert tuned.code == 0, tuned.err
    says = ("cannot be merged", "lora, ia3, selective and full can")
    refused(*command(workshop, tmp_path / "it", tmp_path / "whole"), says=says)
    assert not (tmp_path / "whole").exists()


def test_another_base(workshop: Workshop, refused: Refused, tmp_path: Path) -> None:
    other = ("--model", tiny_folder("gpt2"))
    says = ("the adapter was trained on", "Load the base that it belongs to")
    refused(*command(workshop, workshop.adapter, tmp_path / "whole", *other), says=says)
    refused(
        *command(workshop, workshop.adapter, tmp_path / "whole", *other, "--any-base"), says=("does not fit the model",)
    )
    assert not (tmp_path / "whole").exists()


def test_a_folder_or_a_file_in_the_way(workshop: Workshop, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for there in (tmp_path, tmp_path / "file"):
        says = ("something is there already", str(there), "--out")
        refused(*command(workshop, workshop.adapter, there), says=says)
    assert (tmp_path / "file").read_text() == "mine"


def test_no_adapter(workshop: Workshop, refused: Refused, tmp_path: Path) -> None:
    refused(*command(workshop, tmp_path / "nowhere", tmp_path / "whole"), says=("there is no such folder", "nowhere"))
    bare = ("merge", tmp_path / "nowhere", "--model", workshop.model, "--out", tmp_path / "whole")
    refused(*bare, says=("there is no such folder", "nowhere"))


def test_the_adapter_s_own_task_is_a_built_in_one_or_must_be_named(
    workshop: Workshop, refused: Refused, tmp_path: Path
) -> None:
    bare = ("--model", workshop.model, "--out", tmp_path / "whole")
    refused("merge", workshop.adapter, *bare, says=("trained on 'echo', which is no built-in task", "--task"))
    published = Path(shutil.copytree(workshop.adapter, tmp_path / "published"))
    (published / CARD).unlink()
    (published / REFERENCE).unlink()
    refused("merge", published, *bare, says=("does not say on which task", "Name one with --task"))


def test_a_missing_out_is_said_by_its_name(workshop: Workshop) -> None:
    ran = luthier("merge", workshop.adapter)
    assert ran.code == 2
    assert "--out" in ran.err
    assert "Traceback" not in ran.err
