"""Beam search: what `transformers` finds for one prompt at a time, whatever stands beside it, and with any method."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from luthier.config.compare import CompareConfig
from luthier.config.decoding import DecodingConfig
from luthier.config.validation import validate
from luthier.errors import ConfigError
from luthier.inference.ct2_engine import require_greedy
from luthier.inference.generation import generate
from luthier.inference.stop_conditions import Generation, StopConditions, cut
from luthier.methods.registry import find_method, read_settings
from luthier.models.language_model import LanguageModel
from luthier.records import Encoded
from small_job import ECHO, QUICK_EVAL, luthier, write_job, write_task
from tiny_models import DECODERS, ENCODER_DECODERS, VOCABULARY, encoded, make_tokenizer, tiny_folder, tiny_model

TOKENIZER = make_tokenizer()
ENDS = frozenset({2, 9, 17, 30, 44})
"""Several, so that many beams end."""
NEW = 10


def decode(ids: list[int]) -> str:
    return str(TOKENIZER.decode(ids))


def beams(
    model: LanguageModel, items: list[Encoded], *, stop: tuple[str, ...] = (), budget: int | None = None, **how: Any
) -> list[Generation]:
    decoding = DecodingConfig(**{"beams": 4, **how})
    return generate(model, items, decoding, StopConditions(decode, NEW, ENDS, stop), budget=budget)


def plain(model: LanguageModel, item: Encoded, **options: Any) -> Generation:
    """What `transformers` gives for one prompt; the end is looked for by hand."""
    ids = torch.from_numpy(item.prompt_ids.astype("int64"))[None]
    settings = {"num_beams": 4, "max_new_tokens": NEW, "do_sample": False, **options}
    (row,) = model.module.generate(ids, eos_token_id=sorted(ENDS), pad_token_id=2, **settings).tolist()
    new = row[1:] if model.encoder_decoder else row[len(item.prompt_ids) :]
    end = next((place for place, token in enumerate(new) if token in ENDS), None)
    if end is None:
        return Generation(decode(new), len(new), "length")
    return Generation(decode(new[:end]), end + 1, "stop")


ITEMS = encoded(5, [(7, 1), (20, 1), (3, 1), (12, 1), (12, 1), (31, 1)])


@pytest.mark.parametrize("name", [*DECODERS, *ENCODER_DECODERS])
def test_beams_are_those_of_transformers_one_prompt_at_a_time(name: str) -> None:
    model = tiny_model(name)
    expected = [plain(model, item) for item in ITEMS]
    assert beams(model, ITEMS) == expected
    assert beams(model, ITEMS[::-1], budget=400) == expected[::-1]


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "bart"])
def test_the_number_of_beams_and_the_length_penalty(name: str) -> None:
    model = tiny_model(name)
    found: dict[tuple[int, float], list[Generation]] = {}
    for count, penalty in ((2, 1.0), (4, -2.0), (4, 3.0)):
        found[count, penalty] = beams(model, ITEMS, beams=count, length_penalty=penalty)
        assert found[count, penalty] == [plain(model, i, num_beams=count, length_penalty=penalty) for i in ITEMS]
    if model.encoder_decoder:
        return  # these two never come to an end in ten tokens
    tokens = {penalty: sum(item.tokens for item in found[4, penalty]) for penalty in (-2.0, 3.0)}
    assert tokens[-2.0] < tokens[3.0], "more favours longer answers"
    assert [item.finish for item in found[4, -2.0]].count("stop") > 0


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_stop_strings_finish_beams(name: str) -> None:
    """As `transformers` with the same strings: a beam that holds one competes with those that go on."""
    model = tiny_model(name)
    free = beams(model, ITEMS)
    stop = (free[0].text[2:4], free[1].text[1:3], "nowhere to be found")
    found = beams(model, ITEMS, stop=stop)
    assert found != free
    for item, answer in zip(ITEMS, found, strict=True):
        theirs = plain(model, item, stop_strings=list(stop), tokenizer=TOKENIZER)
        assert answer.text == cut(theirs.text, stop)
        assert not any(string in answer.text for string in stop)
        if cut(theirs.text, stop) != theirs.text:
            assert answer.finish == "stop"


@contextlib.contextmanager
def attached(model: LanguageModel, name: str | None) -> Iterator[None]:
    if name is None:
        yield
        return
    method = find_method(name)
    settings = {"virtual_tokens": 3} if "tuning" in name else {}
    part = method.attach(model, read_settings(method, settings, where="test"), seed=1)
    with torch.no_grad():
        for number, weight in enumerate(part.trainable().values()):
            weight.add_(0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(number)))
    yield
    part.detach()


def best_of_all(model: LanguageModel, item: Encoded) -> Generation:
    """Try every answer of two tokens by the engine's own greedy reader."""
    first = model.begin([item.prompt_ids] * VOCABULARY)
    one = first.logits[0].log_softmax(-1)  # (V,)
    first.advance(torch.arange(VOCABULARY))
    two = first.logits.log_softmax(-1)  # (V, V)
    means = (one[:, None] + two) / 2
    for end in ENDS:
        means[end] = -torch.inf  # an end token is not followed
    end = max(ENDS, key=lambda token: float(one[token]))
    if float(one[end]) > float(means.max()):
        return Generation("", 1, "stop")
    left, right = divmod(int(means.argmax()), VOCABULARY)
    tokens = [left] if right in ENDS else [left, right]
    return Generation(decode(tokens), 2, "stop" if right in ENDS else "length")


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "bart"])
@pytest.mark.parametrize("method", [None, "full", "lora", "adapter", "prompt_tuning", "prefix_tuning"])
@torch.no_grad()
def test_as_many_beams_as_words_find_the_best_of_all_answers(name: str, method: str | None) -> None:
    model = tiny_model(name)
    with attached(model, method):
        expected = [best_of_all(model, item) for item in ITEMS]
        found = generate(model, ITEMS, DecodingConfig(beams=VOCABULARY), StopConditions(decode, 2, ENDS), budget=4000)
        assert found == expected
    if method in ("prompt_tuning", "prefix_tuning"):
        assert found != [best_of_all(model, item) for item in ITEMS], "the virtual tokens matter"


def test_what_the_models_files_say_of_generation_is_not_used_and_not_lost() -> None:
    """As in greedy generation: only the settings say how an answer is found."""
    model = tiny_model("bart")
    expected = beams(model, ITEMS)
    own = GenerationConfig(min_length=9, no_repeat_ngram_size=1, forced_bos_token_id=5, num_beams=7, length_penalty=3.0)
    model.module.generation_config = own
    assert beams(model, ITEMS) == expected
    assert model.module.generation_config is own


def test_beams_are_not_sampled() -> None:
    with pytest.raises(ConfigError, match=r"beams are searched, not sampled.*`beams` or a `temperature`"):
        validate(CompareConfig, {"decoding": {"beams": 2, "temperature": 0.5}}, source="c.yaml")


def test_an_engine_that_does_not_search_says_so() -> None:
    with pytest.raises(ConfigError, match=r"writes greedily, and decoding.beams is 3(.|\n)*use --engine torch"):
        require_greedy(DecodingConfig(beams=3))


def test_an_evaluation_by_beams(tmp_path: Path) -> None:
    """From the command line; greedy answers of an earlier evaluation are not taken for those of a search."""
    job = write_job(tmp_path / "job", test=12)
    write_task(job, ECHO, max_new_tokens=12)
    command = ("eval", "-m", tiny_folder("t5"), "-t", job / "echo.yaml", "--runs", tmp_path / "runs", *QUICK_EVAL)
    logs = {}
    for count in (1, 3):
        ran = luthier(*command, "--set", f"decoding.beams={count}")
        assert ran.code == 0, ran.err
        assert "known" not in ran.err
        (log,) = [
            path for path in (tmp_path / "runs" / "store").glob("predictions/*/predictions.jsonl") if path not in logs
        ]
        logs[log] = log.read_text()
    greedy, searched = logs.values()
    assert [line.split('"seconds"')[0] for line in greedy.splitlines()] != [
        line.split('"seconds"')[0] for line in searched.splitlines()
    ]
