"""Rows of known formats with anything in their columns: examples, or an error of ours, never another."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from luthier.data.encoding import Encoder
from luthier.errors import LuthierError
from luthier.records import Row
from tiny import CHATML, byte_tokenizer
from written_rows import examples, read

COLUMNS = (
    *("messages", "conversations", "prompt", "completion", "chosen", "rejected", "instruction", "input", "output"),
    *("question", "answer", "context", "continuation", "response", "query", "text", "label", "weight", "train"),
    *("system", "history", "tools", "images", "reasoning_content"),
)
KEYS = (
    *("role", "from", "content", "value", "parts", "text", "type", "tool_calls", "function", "name", "arguments"),
    *("function_call", "weight", "loss", "reasoning", "tool_call_id", "id"),
)
ROLES = ("user", "assistant", "system", "tool", "human", "gpt", "function_call", "observation", "narrator")
TEXTS = (
    *("", " ", "Hi", "Human: a", "\n\nHuman: a\n\nAssistant: b", "### Human: a### Assistant: b", "<|im_end|>", "false"),
    *("[", "{", "[[[[", '[{"role": "user", "content": "x"}]', "[{'role': 'user', 'content': 'x'}]", "{}", "[]", "null"),
    *("--" * 500 + "1", "9" * 5000, "\ud800", "\x00", "[" * 3000, '{"name": "f", "arguments": "{"}', "é" * 30),
)


def value(draw: random.Random, depth: int = 0) -> object:
    kind = draw.randrange(10 if depth < 4 else 4)
    if kind < 2:
        return draw.choice(TEXTS)
    if kind == 2:
        return draw.choice([None, True, False, 0, 1, -1, 0.5, 1e300, float("nan"), 10**30])
    if kind == 3:
        return draw.choice(ROLES)
    if kind < 6:
        return [value(draw, depth + 1) for _ in range(draw.randrange(4))]
    if kind < 9:
        return [message(draw, depth) for _ in range(draw.randrange(5))]
    return {draw.choice(KEYS): value(draw, depth + 1) for _ in range(draw.randrange(5))}


def message(draw: random.Random, depth: int) -> dict[str, object]:
    said: dict[str, object] = {"role": draw.choice(ROLES), "content": draw.choice(TEXTS)}
    for _ in range(draw.choice([0, 0, 0, 1, 2])):
        said[draw.choice(KEYS)] = value(draw, depth + 1)
    return said


def try_rows(seed: int, folder: Path) -> None:
    draw = random.Random(seed)
    names = draw.sample(COLUMNS, draw.randint(1, 5))
    rows: list[Row] = [{name: value(draw) for name in names} for _ in range(draw.randint(1, 4))]
    encoder = Encoder(byte_tokenizer(chat=CHATML), encoder_decoder=False, max_length=256, chat="always")
    try:
        for example in examples(read(folder, rows, max_lost=1.0, reasoning="learn")):
            encoder.encode(example)
    except LuthierError:
        pass
    except BaseException as fault:
        raise AssertionError(f"seed {seed}: {json.dumps(rows)[:2000]}") from fault


def test_some_hundred_files(tmp_path: Path) -> None:
    for seed in range(150):
        try_rows(seed, tmp_path)


@pytest.mark.slow
def test_thousands_of_files(tmp_path: Path) -> None:
    for seed in range(1000, 5000):
        try_rows(seed, tmp_path)
