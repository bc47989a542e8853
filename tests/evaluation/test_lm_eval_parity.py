"""`lm-eval` on our engine gives the numbers of its own ``hf`` model, for all three kinds of request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from luthier.errors import ConfigError
from tiny_models import tiny_folder

pytest.importorskip("lm_eval")

from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from lm_eval.models.huggingface import HFLM

from luthier.evaluation.lm_eval import LuthierLM

HEAD = "the cat sat. the dog sat.\n" * 2
QUESTIONS = [HEAD + tail for tail in ("who sat? ", "who is red:", "a", "the dog? the cat? ")]
OPTIONS = [" the cat", " the red dog", " a", "b", " no", " 0123"]
TEXTS = ["the cat sat on the red dog. " * 3, "a", "the dog " * 40, "stop! the cat, the dog: " * 2]


def instances(kind: str, arguments: list[tuple[Any, ...]]) -> list[Instance]:
    return [Instance(kind, {}, given, number) for number, given in enumerate(arguments)]


def pair(name: str) -> tuple[LuthierLM, HFLM]:
    folder = str(tiny_folder(name))
    return LuthierLM(folder, device="cpu"), HFLM(pretrained=folder, device="cpu", batch_size=3, dtype="float32")


def test_it_is_registered() -> None:
    assert get_model("luthier") is LuthierLM


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3", "t5", "bart"])
def test_loglikelihood(name: str) -> None:
    ours, theirs = pair(name)
    asked = [(question, option) for question in QUESTIONS for option in OPTIONS]
    asked += [("", "the cat"), (HEAD * 4, " the dog"), ("who sat", "?")]  # without context, and too long for the model
    requests = instances("loglikelihood", asked)
    expected = theirs.loglikelihood(requests, disable_tqdm=True)
    found = ours.loglikelihood(requests, disable_tqdm=True)
    assert [logprob for logprob, _ in found] == pytest.approx([logprob for logprob, _ in expected], abs=1e-4)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]
    assert ours.loglikelihood(requests[::-1], disable_tqdm=True)[::-1] == [
        (pytest.approx(logprob, abs=1e-4), greedy) for logprob, greedy in found
    ]


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3"])
def test_loglikelihood_rolling(name: str) -> None:
    ours, theirs = pair(name)
    requests = instances("loglikelihood_rolling", [(text,) for text in TEXTS])
    expected = theirs.loglikelihood_rolling(requests, disable_tqdm=True)
    assert ours.loglikelihood_rolling(requests, disable_tqdm=True) == pytest.approx(expected, abs=1e-3)


# Not BART: its decoder starts with the end token, at which theirs takes an answer to have ended.
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3", "t5"])
def test_generate_until(name: str) -> None:
    ours, theirs = pair(name)
    rules = [{"until": ["\n", "the"], "max_gen_toks": 12}, {"until": ["a"], "max_gen_toks": 7, "do_sample": False}, {}]
    asked = [
        (question, dict(rule, max_gen_toks=rule.get("max_gen_toks", 9))) for rule in rules for question in QUESTIONS
    ]
    requests = instances("generate_until", asked)
    expected = theirs.generate_until(requests, disable_tqdm=True)
    found = ours.generate_until(requests, disable_tqdm=True)
    assert len(set(found)) > 1
    if ours.luthier.encoder_decoder:  # their limit grows with the prompt: they go on where ours has ended
        assert all(long.startswith(short) for short, long in zip(found, expected, strict=True))
    else:
        assert found == expected


def test_an_adapter(tmp_path: Path) -> None:
    folder = str(tiny_folder("llama"))
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(folder)
    wrapped = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    wrapped.save_pretrained(str(tmp_path))
    theirs = HFLM(pretrained=folder, peft=str(tmp_path), device="cpu", batch_size=3, dtype="float32")
    requests = instances("loglikelihood", [(question, option) for question in QUESTIONS for option in OPTIONS])
    expected = [logprob for logprob, _ in theirs.loglikelihood(requests, disable_tqdm=True)]
    ours = LuthierLM(folder, adapter=str(tmp_path), device="cpu")
    assert [logprob for logprob, _ in ours.loglikelihood(requests)] == pytest.approx(expected, abs=1e-4)
    bare = [logprob for logprob, _ in LuthierLM(folder, device="cpu").loglikelihood(requests)]
    assert max(abs(a - b) for a, b in zip(bare, expected, strict=True)) > 0.1


def test_what_a_task_asks_and_we_do_not_know_is_an_error() -> None:
    ours = LuthierLM(str(tiny_folder("llama")), device="cpu")
    with pytest.raises(ConfigError, match="num_beams"):
        ours.generate_until(instances("generate_until", [("the", {"num_beams": 4, "max_gen_toks": 4})]))
    with pytest.raises(ConfigError, match="leave no room"):
        ours.generate_until(instances("generate_until", [("the", {"max_gen_toks": 128})]))
