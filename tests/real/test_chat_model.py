"""A real chat model answers in its own template and ends where the template ends a turn."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.config.decoding import DecodingConfig
from luthier.data.check import check_split
from luthier.data.encoding import Encoder
from luthier.inference.generation import generate
from luthier.inference.stop_conditions import StopConditions
from luthier.models.language_model import LanguageModel
from luthier.records import Encoded, Example

pytestmark = [pytest.mark.slow, pytest.mark.real]


def encoder(model: LanguageModel) -> Encoder:
    return Encoder(model.tokenizer, encoder_decoder=False, max_length=model.max_length, chat="always")


def written(model: LanguageModel, turns: list[dict[str, str]], *, ask: bool = False) -> list[int]:
    """Token ids that the model's own template writes, by transformers alone."""
    given = model.tokenizer.apply_chat_template(turns, tokenize=True, add_generation_prompt=ask, return_dict=True)
    found: list[int] = given["input_ids"]
    return found


def test_the_prompt_is_the_template_and_the_target_ends_the_turn(smollm2: LanguageModel) -> None:
    example = Example("1", "capitals", "plain", "What is the capital of France?", ("Paris.",))
    found = encoder(smollm2).encode(example)
    assert isinstance(found, Encoded)
    turns = [{"role": "user", "content": example.prompt}, {"role": "assistant", "content": "Paris."}]
    whole = written(smollm2, turns)
    own = np.concatenate([found.prompt_ids, found.target_ids]).tolist()
    assert own == whole[: len(own)], "token by token what the template writes"
    assert smollm2.tokenizer.decode(whole[len(own) :]).strip() == "", "but for the line break after the turn"
    assert found.prompt_ids.tolist() == written(smollm2, turns[:1], ask=True)
    assert int(found.target_ids[-1]) == smollm2.tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_an_answer_ends_by_itself(smollm2: LanguageModel) -> None:
    own = encoder(smollm2)
    prompt = own.encode_prompt(Example("1", "capitals", "plain", "What is the capital of France?", ("",)), reserve=64)
    assert isinstance(prompt, Encoded)
    ending = StopConditions(own.decode, 64, smollm2.end_ids.union(own.stop_ids))
    (answer,) = generate(smollm2, [prompt], DecodingConfig(), ending)
    assert answer.finish == "stop"
    assert answer.text == "The capital of France is Paris."


def test_each_message_begins_with_the_begin_token_and_none_is_doubled(smollm2: LanguageModel) -> None:
    tokenizer = smollm2.tokenizer
    assert tokenizer.bos_token == "<|im_start|>"
    examples = [Example(str(n), "t", "t", f"What is {n} and {n}?", (str(2 * n),)) for n in range(4)]
    found = check_split("train", examples, encoder(smollm2))
    assert (found.doubled, found.begins) == (0, {1: 4}), "one at the head, before the template's own system message"
    prompt = encoder(smollm2).encode(examples[0])
    assert isinstance(prompt, Encoded)
    assert prompt.prompt_ids.tolist().count(tokenizer.bos_token_id) == 3
