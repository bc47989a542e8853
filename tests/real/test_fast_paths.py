"""On real weights every fast path computes what a plain forward pass computes."""

from __future__ import annotations

import io
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from luthier.config.decoding import DecodingConfig
from luthier.inference.capabilities import capabilities_of
from luthier.inference.generation import generate
from luthier.inference.scoring import answer_logprobs
from luthier.inference.stop_conditions import StopConditions
from luthier.models.language_model import LanguageModel
from luthier.records import Encoded

pytestmark = [pytest.mark.slow, pytest.mark.real]

PROMPTS = (
    "The capital of France is",
    "Question: Which of these is a fruit?\nAnswer:",
    "Question: Which of these is a metal?\nAnswer:",
    "Once upon a time there was a little girl who lived near the forest. Every morning she",
)
ANSWERS = (" Paris", " an apple", " iron, which rusts", " went")


@pytest.fixture(params=["smollm2", "gemma3"])
def model(request: pytest.FixtureRequest) -> LanguageModel:
    found: LanguageModel = request.getfixturevalue(request.param)
    return found


def ids(model: LanguageModel, text: str, *, begin: bool = False) -> list[int]:
    found: list[int] = model.tokenizer(text, add_special_tokens=False).input_ids
    return [model.tokenizer.bos_token_id, *found] if begin else found


def items(model: LanguageModel) -> list[Encoded]:
    """Every answer to every prompt, so that prompts are shared."""
    return [
        Encoded(
            f"{place}-{answer}",
            np.array(ids(model, prompt, begin=True), dtype=np.int32),
            np.array(ids(model, answer), dtype=np.int32),
        )
        for place, prompt in enumerate(PROMPTS)
        for answer in ANSWERS
    ]


@torch.no_grad()
def plain(model: LanguageModel, item: Encoded) -> torch.Tensor:
    """Log-probabilities of an answer's tokens by the module alone, one row, no padding."""
    prompt, target = item.prompt_ids.astype(np.int64), item.target_ids.astype(np.int64)
    row = torch.from_numpy(np.concatenate([prompt, target]))
    logits: torch.Tensor = model.module(input_ids=row[None]).logits[0, len(prompt) - 1 : -1].float()
    return logits.log_softmax(-1).gather(1, row[len(prompt) :, None])[:, 0]


def test_every_fast_path_is_verified(model: LanguageModel) -> None:
    found = capabilities_of(model)
    assert found.tree, "answers share their prompts"
    assert found.slots, "generation is batched continuously"


def test_padding_free_passes_and_shared_prompts_are_the_plain_pass(model: LanguageModel) -> None:
    batch = items(model)
    expected = [plain(model, item) for item in batch]
    with torch.no_grad():
        together = model.target_logprobs(batch)
    assert together.numpy() == pytest.approx(torch.cat(expected).numpy(), abs=2e-4)
    assert answer_logprobs(model, batch) == pytest.approx([float(one.double().sum()) for one in expected], abs=5e-4)


def test_batched_generation_is_greedy_generation_alone(model: LanguageModel) -> None:
    prompts = [
        Encoded(text, np.array(ids(model, text, begin=True), np.int32), np.zeros(0, np.int32)) for text in PROMPTS
    ]
    ending = StopConditions(model.tokenizer.decode, 12, model.end_ids)
    found = [answer.text for answer in generate(model, prompts, DecodingConfig(), ending)]
    for prompt, text in zip(prompts, found, strict=True):
        row = torch.from_numpy(prompt.prompt_ids.astype(np.int64))[None]
        ends = sorted(model.end_ids)
        with torch.no_grad():
            whole = model.module.generate(
                input_ids=row,
                attention_mask=torch.ones_like(row),
                max_new_tokens=12,
                do_sample=False,
                eos_token_id=ends,
            )
        alone = model.tokenizer.decode(whole[0, row.shape[1] :], skip_special_tokens=True)
        assert text == alone


def test_the_weights_are_those_that_transformers_reads(smollm2: LanguageModel, smollm2_file: Path) -> None:
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    with redirect_stderr(io.StringIO()):
        read = auto.from_pretrained(smollm2_file.parent, gguf_file=smollm2_file.name, dtype=torch.float32)
    own = smollm2.module.state_dict()
    assert sorted(own) == sorted(read.state_dict())
    assert all(torch.equal(value, own[name]) for name, value in read.state_dict().items())
    assert read.generation_config.eos_token_id == smollm2.module.generation_config.eos_token_id
