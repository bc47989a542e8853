"""What a model's own files say of how an answer begins and ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from luthier.config.decoding import DecodingConfig
from luthier.data.encoding import Encoder
from luthier.evaluation.requests import GenerationSettings, answer_batch, encode_requests
from luthier.inference.generation import generate
from luthier.inference.scoring import score_answers
from luthier.inference.stop_conditions import StopConditions
from luthier.models.language_model import LanguageModel
from luthier.models.load import load_model, load_reader
from luthier.records import Encoded, Example
from tiny_models import CHARACTERS, EOS, tiny_folder, write_folder

FORCED = 30
GREEDY = DecodingConfig()


def changed(folder: Path, name: str, **entries: object) -> str:
    """Write entries into a JSON file of a model folder."""
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))
    return str(folder)


def written(model: LanguageModel, limit: int, decoding: DecodingConfig = GREEDY) -> list[list[int]]:
    """Token ids of answers to two prompts."""
    prompts = [Encoded(str(n), np.arange(4 + n, 14, dtype=np.int32), np.array([], np.int32)) for n in range(2)]
    seen: list[list[int]] = []

    def decode(ids: list[int]) -> str:
        return " ".join(map(str, ids))

    for answer in generate(model, prompts, decoding, StopConditions(decode, limit, model.end_ids)):
        seen.append([int(item) for item in answer.text.split()])
    return seen


@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_each_of_a_list_of_end_tokens_ends_an_answer(tmp_path: Path, file: str) -> None:
    plain = written(load_model(str(tiny_folder("llama")), device="cpu"), 12)[0]
    assert len(plain) == 12
    fourth = next(place for place, item in enumerate(plain) if item not in plain[:place] and place >= 3)
    folder = changed(write_folder(tmp_path, "llama"), file, eos_token_id=[EOS, plain[fourth]])
    model = load_model(folder, device="cpu")
    assert model.end_ids == {EOS, plain[fourth]}
    assert written(model, 12)[0] == plain[:fourth]


@pytest.fixture(scope="module")
def forced(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = write_folder(tmp_path_factory.mktemp("bart") / "bart", "bart")
    return changed(folder, "generation_config.json", forced_bos_token_id=FORCED)


@pytest.mark.parametrize("decoding", [GREEDY, DecodingConfig(beams=2), DecodingConfig(temperature=1.0)], ids=str)
def test_forced_begin_token_begins_every_answer(forced: str, decoding: DecodingConfig) -> None:
    answers = written(load_model(forced, device="cpu"), 5, decoding)
    assert [answer[0] for answer in answers] == [FORCED, FORCED]


@pytest.mark.parametrize("beams", [1, 2])
def test_answers_with_a_forced_begin_are_those_of_transformers(forced: str, beams: int) -> None:
    model = load_model(forced, device="cpu")
    prompt = np.arange(4, 14, dtype=np.int32)
    ours = written(model, 5, DecodingConfig(beams=beams))[0]
    module: Any = model.module
    theirs = module.generate(
        input_ids=torch.from_numpy(prompt.astype("int64"))[None], num_beams=beams, max_new_tokens=5, do_sample=False
    )[0].tolist()
    assert theirs[:2] == [2, FORCED]
    assert ours == [item for item in theirs[1:] if item != EOS]


def test_forced_begin_is_learned_and_scored_as_it_is_generated(forced: str) -> None:
    model, reader = load_model(forced, device="cpu"), load_reader(forced)
    assert model.forced_begin == reader.tokens.forced_begin == FORCED
    encoder = Encoder(model.tokenizer, encoder_decoder=True, max_length=64, model_tokens=model.tokens)
    example = Example("1", "task", "template", "the cat", ("red",), ("red", "dog"))
    item = encoder.encode(example)
    assert isinstance(item, Encoded)
    assert item.target_ids.tolist() == [FORCED, *model.tokenizer("red", add_special_tokens=False)["input_ids"], EOS]
    chosen = encoder.encode_choices(example)
    assert isinstance(chosen, list)
    assert {choice.target_ids[0] for choice in chosen} == {FORCED}
    assert len(score_answers(model, chosen)) == 2
    plain = Encoder(model.tokenizer, encoder_decoder=True, max_length=64)
    assert plain.signature != encoder.signature


def test_forced_begin_in_ctranslate2(forced: str, tmp_path: Path) -> None:
    pytest.importorskip("ctranslate2")
    from luthier.inference.ct2_convert import open_converted

    model = load_model(forced, device="cpu")
    engine = open_converted(model, tmp_path, "float32")
    prompts = [Encoded("0", np.arange(4, 14, dtype=np.int32), np.array([], np.int32))]
    ending = StopConditions(lambda ids: " ".join(map(str, ids)), 5, model.end_ids)
    (answer,) = engine.generate(prompts, GREEDY, ending)
    assert [int(item) for item in answer.text.split()] == written(model, 5)[0]


def test_stop_string_that_is_a_special_token_stops(tmp_path: Path) -> None:
    model = load_model(str(tiny_folder("llama")), device="cpu")
    encoder = Encoder(model.tokenizer, encoder_decoder=False, max_length=model.max_length)
    prompt = Example("1", "task", "template", "the cat", ("red",))
    requests = encode_requests([prompt], encoder, new_tokens=12)[0]
    (plain,) = answer_batch(model, encoder, requests, GenerationSettings(GREEDY, 12, ()))
    assert plain.finish == "length"
    tokens = model.tokenizer(plain.text, add_special_tokens=False)["input_ids"]
    third = next(
        place
        for place, item in enumerate(tokens)
        if place >= 2 and item not in [*tokens[:place], 4 + CHARACTERS.index(" ")]
    )
    name = model.tokenizer.convert_ids_to_tokens(tokens[third])
    # The same token, declared special: its name stands in no decoded text.
    model.tokenizer.add_special_tokens({"additional_special_tokens": [name]})
    encoder = Encoder(model.tokenizer, encoder_decoder=False, max_length=model.max_length)
    (stopped,) = answer_batch(model, encoder, requests, GenerationSettings(GREEDY, 12, (name,)))
    assert (stopped.finish, stopped.generated_tokens) == ("stop", third + 1)
    assert stopped.text == encoder.decode(tokens[:third])
