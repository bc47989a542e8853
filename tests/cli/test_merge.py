"""``luthier merge``: what it prints and writes, and what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from luthier.methods.adapter_io import CARD, REFERENCE, load_adapter, read_card
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


def tuned(workshop: Workshop, place: Path, seed: int, rank: int = 2) -> Path:
    """Tune a LoRA adapter with a seed of its own."""
    arm = f"arm={{name: lora, method: {{lora: {{rank: {rank}}}}}}}"
    ran = luthier(
        *("tune", "-m", workshop.model, "-t", workshop.job / "echo.yaml", "--set", arm),
        *("--save", place, "--runs", workshop.runs, "--set", f"training_seed={seed}", *QUICK_TRAINING),
    )
    assert ran.code == 0, ran.err
    return place


def test_a_scale_is_a_point_between_base_and_adapter(workshop: Workshop, tmp_path: Path) -> None:
    """LoRA is linear: the weights at 0.5 lie in the middle, at 0 they are the base's bits."""
    weights = {}
    for scale in (0, 0.5, 1, 1.5):
        out = tmp_path / str(scale)
        more = ["--extrapolate"] * (scale > 1)
        ran = luthier(*command(workshop, workshop.adapter, out, "--scale", scale, "--sample", 2, *more))
        assert ran.code == 0, ran.err
        weights[scale] = load_file(out / "model.safetensors")
    base = load_file(workshop.model / "model.safetensors")
    assert all(torch.equal(weights[0][name], weight) for name, weight in base.items())
    for name, weight in base.items():
        torch.testing.assert_close(weights[0.5][name], (weight + weights[1][name]) / 2)
        torch.testing.assert_close(weights[1.5][name], weight + 1.5 * (weights[1][name] - weight))


def test_several_become_one_adapter_or_one_model(workshop: Workshop, tmp_path: Path) -> None:
    one, other = (tuned(workshop, tmp_path / f"seed{seed}", seed) for seed in (1, 2))
    mean = luthier(
        *command(workshop, one, tmp_path / "mean", "--how", "mean", "--weights", "3,1", "--sample", 2), other
    )
    assert mean.code == 0, mean.err
    for words in ("base", str(one.name), "weight 0.75", "weight 0.25", "mean of 2", "one adapter", "PEFT"):
        assert words in mean.out
    model = load_model(str(workshop.model), device="cpu")
    load_adapter(model, tmp_path / "mean").detach()
    card = read_card(tmp_path / "mean")
    assert (card.task, card.settings["rank"], card.method) == ("echo", 4, "lora")
    assert (tmp_path / "mean" / "task.yaml").read_bytes() == (one / "task.yaml").read_bytes()
    again = luthier(
        *("eval", "-m", workshop.model, "--adapter", tmp_path / "mean", "-t", workshop.job / "echo.yaml"),
        *("--runs", workshop.runs, "--device", "cpu"),
    )
    assert again.code == 0, again.err
    for how in ("ties", "dare"):
        ran = luthier(*command(workshop, one, tmp_path / how, "--how", how, "--density", 0.3, "--sample", 2), other)
        assert ran.code == 0, ran.err
        assert "one model" in ran.out
        AutoModelForCausalLM.from_pretrained(tmp_path / how)


def test_one_adapter_with_weight_one_stays_itself(workshop: Workshop, tmp_path: Path) -> None:
    ran = luthier(*command(workshop, workshop.adapter, tmp_path / "same", "--how", "mean", "--sample", 2))
    assert ran.code == 0, ran.err
    for name in ("adapter_model.safetensors", REFERENCE):
        assert (tmp_path / "same" / name).read_bytes() == (workshop.adapter / name).read_bytes()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--scale", 1.2), ("scale: 1.2 is not from 0 (the base) to 1", "--extrapolate")),
        (("--scale", 1.6, "--extrapolate"), ("scale: 1.6 is not from 0 (the base) to 1.5",)),
        (("--weights", "1,2"), ("say how, `how: mean`, ties or dare",)),
        (("--how", "mean", "--weights", "1,2"), ("2 are given for 1 adapters",)),
        (("--how", "mean", "--weights", "0"), ("each must be a number above 0",)),
        (("--how", "ties", "--density", 0), ("density",)),
        (("--how", "men"), ("how",)),
    ],
)
def test_settings_that_say_nothing(
    more: tuple[object, ...], says: tuple[str, ...], workshop: Workshop, refused: Refused, tmp_path: Path
) -> None:
    refused(*command(workshop, workshop.adapter, tmp_path / "whole", *more), says=says)


def test_adapters_that_are_not_alike(workshop: Workshop, refused: Refused, tmp_path: Path) -> None:
    wide = tuned(workshop, tmp_path / "wide", 1, rank=3)
    narrow = tuned(workshop, tmp_path / "narrow", 1, rank=2)
    says = ("rank is 3, and 2 in", "narrow", "wide")
    refused(*command(workshop, narrow, tmp_path / "whole", "--how", "mean"), wide, says=says)
    refused(*command(workshop, narrow, tmp_path / "whole"), wide, says=("say how they are made into one",))
    refused(
        *command(workshop, narrow, tmp_path / "whole", "--how", "mean"), narrow, says=("given twice", "greater weight")
    )
    assert not (tmp_path / "whole").exists()
