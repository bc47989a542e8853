"""The embedded model: small, in the ecosystem's layout, and really pretrained."""

from __future__ import annotations

import math
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

from luthier.config.data import EvaluationDataConfig
from luthier.config.evaluate import EvaluateConfig
from luthier.data.text_windows import text_windows
from luthier.experiments.evaluate import evaluate
from luthier.inference.scoring import answer_logprobs
from luthier.models.load import load_model
from luthier.models.names import EMBEDDED
from luthier.tasks.held_out_text import load_texts

FOLDER = EMBEDDED["mini"]


def test_it_is_small_enough_to_ship() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 12e6


def test_it_loads_in_plain_transformers() -> None:
    module = AutoModelForCausalLM.from_pretrained(FOLDER)
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    assert sum(weight.numel() for weight in module.parameters()) == 3_148_224
    assert module.config.max_position_embeddings == 1024
    text = "Mia: Hello, Tom! ¿Qué tal? 你好"
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
    assert tokenizer("Hello")["input_ids"][0] == tokenizer.bos_token_id


def test_it_predicts_held_out_text_better_than_chance() -> None:
    """A model of random weights needs ln 4096 = 8.3 nats a token."""
    model = load_model("mini")
    windows = [
        window
        for number, text in enumerate(load_texts("plain_text")[:40])
        for window in text_windows(
            model.tokenizer, text, encoder_decoder=False, max_length=model.max_length, name=str(number)
        )
    ]
    tokens = sum(len(window.target_ids) for window in windows)
    loss = -sum(answer_logprobs(model, windows)) / tokens
    assert loss < math.log(model.vocabulary) - 1


def test_it_knows_tasks_that_it_was_tuned_on(tmp_path: Path) -> None:
    """Of 100 rows a guess gets 50 reviews and 17 topics right; these are at least 4 standard errors above it."""
    tasks, data = ("review_sentiment", "topic"), EvaluationDataConfig(test=100)
    config = EvaluateConfig(model="mini", tasks=tasks, runs=tmp_path, data=data)
    found = {item.task.name: item.scores[0] for item in evaluate(config)}
    assert {score.metric for score in found.values()} == {"accuracy"}
    assert found["review_sentiment"].value > 0.70
    assert found["topic"].value > 0.6
