"""How answers end, and that no answer depends on its neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from luthier.config.decoding import DecodingConfig
from luthier.inference.generation import generate
from luthier.inference.stop_conditions import Generation, StopConditions, cut
from luthier.models.adapter_cache import AdapterCache
from luthier.models.language_model import LanguageModel
from luthier.records import Encoded, TokenIds
from tiny_models import EOS, encoded, make_tokenizer, tiny_model

TOKENIZER = make_tokenizer()


class Script(LanguageModel):
    """Says what it is told, whatever it reads: one text for each first token of a prompt."""

    encoder_decoder = False

    def __init__(self, scripts: Sequence[Sequence[int]]) -> None:
        self.scripts = scripts
        self.forced_begin = None
        self.soft_prompt = None
        self.adapters = AdapterCache()

    def target_logprobs(self, batch: Sequence[Encoded]) -> Tensor:
        raise NotImplementedError

    def target_logits(self, batch: Sequence[Encoded]) -> Tensor:
        raise NotImplementedError

    def begin(self, prompts: Sequence[TokenIds]) -> Spoken:
        return Spoken([self.scripts[int(prompt[0])] for prompt in prompts])


class Spoken:
    def __init__(self, texts: list[Sequence[int]]) -> None:
        self.texts, self.place, self.rows = texts, 0, [len(texts)]
        self.logits = self._next()

    def _next(self) -> Tensor:
        tokens = torch.tensor([text[self.place] for text in self.texts])
        return torch.nn.functional.one_hot(tokens, len(TOKENIZER)).float()

    def advance(self, tokens: Tensor) -> None:
        assert tokens.tolist() == [text[self.place] for text in self.texts]
        self.place += 1
        self.rows.append(len(self.texts))
        self.logits = self._next()

    def keep(self, rows: Tensor) -> None:
        self.texts = [self.texts[row] for row in rows.tolist()]


def decode(ids: list[int]) -> str:
    return str(TOKENIZER.decode(ids))


def say(*texts: str, stop: Sequence[str] = (), limit: int = 50, end: bool = True) -> list[Generation]:
    scripts = [[*TOKENIZER(text).input_ids, *([EOS] if end else [])] for text in texts]
    prompts = [Encoded(str(k), np.array([k], np.int32), np.array([], np.int32)) for k in range(len(texts))]
    return generate(Script(scripts), prompts, DecodingConfig(), StopConditions(decode, limit, {EOS}, stop))


def test_the_end_token_ends_and_is_counted_but_not_shown() -> None:
    assert say("abc", "", "the cat") == [
        Generation("abc", 4, "stop"),
        Generation("", 1, "stop"),
        Generation("the cat", 4, "stop"),
    ]


def test_the_limit_ends() -> None:
    assert say("abcdef", limit=3) == [Generation("abc", 3, "length")]
    assert say("abc", limit=4) == [Generation("abc", 4, "stop")]
    assert say("abc", limit=3) == [Generation("abc", 3, "length")]


def test_stop_strings_are_found_inside_and_across_tokens() -> None:
    # "cat sat" is three tokens, "END" one, "\n\n" two, "ST" spans the end of none.
    assert say("the cat sat", stop=["t s"]) == [Generation("the ca", 5, "stop")]  # ends within the token "sat"
    assert say("ab\n\ncd", stop=["\n\n"]) == [Generation("ab", 4, "stop")]
    assert say("ab\ncd", stop=["\n\n"]) == [Generation("ab\ncd", 6, "stop")]
    assert say("abENDcd", stop=["ND", "b"]) == [Generation("a", 2, "stop")]
    assert say("xEND", stop=["zz", "ND"]) == [Generation("xE", 2, "stop")]
    assert say("abc", stop=["a"]) == [Generation("", 1, "stop")]


def test_the_first_of_several_stop_strings_cuts() -> None:
    # Both "END" (whole) and "D" are in the last token: the text is cut at the earlier one.
    assert say("abEND", stop=["D", "END"]) == [Generation("ab", 3, "stop")]
    assert cut("one two three", ["three", "two"]) == "one "
    assert cut("one", ["x"]) == cut("one", []) == "one"


def test_a_sequence_that_has_ended_leaves_the_batch_at_once() -> None:
    spoken: list[Spoken] = []

    class RecordingScript(Script):
        def begin(self, prompts: Sequence[TokenIds]) -> Spoken:
            spoken.append(super().begin(prompts))
            return spoken[-1]

    model = RecordingScript([[9, EOS], [9, 9, 9, 9, EOS], [9, 9, EOS]])
    prompts = [Encoded(str(k), np.array([k], np.int32), np.array([], np.int32)) for k in range(3)]
    answers = generate(model, prompts, DecodingConfig(), StopConditions(str, 9, {EOS}))
    assert [answer.tokens for answer in answers] == [2, 5, 3]
    assert spoken[0].rows == [3, 3, 2, 1, 1]


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "bart"])
@pytest.mark.parametrize("options", [{}, {"top_k": 8}, {"top_p": 0.8}])
def test_sampled_answers_do_not_depend_on_the_batch(name: str, options: dict[str, float]) -> None:
    model = tiny_model(name)
    items = encoded(51, [(5, 2), (16, 2), (9, 2), (3, 2)])

    def sampled(chosen: list[Encoded], seed: int = 0) -> list[Generation]:
        decoding = DecodingConfig(temperature=1.3, seed=seed, **options)  # type: ignore[arg-type]
        return generate(model, chosen, decoding, StopConditions(str, 10, model.end_ids))

    together = sampled(items)
    assert together == [sampled([item])[0] for item in items]
    assert sampled(items[::-1]) == together[::-1]
    assert sampled(items, seed=1) != together
    greedy = generate(model, items, DecodingConfig(), StopConditions(str, 10, model.end_ids))
    assert greedy != together


def test_no_gradient_is_kept() -> None:
    model = tiny_model("llama")
    with torch.enable_grad():
        generate(model, encoded(1, [(4, 1)]), DecodingConfig(), StopConditions(str, 3, model.end_ids))
    assert all(weight.grad is None for weight in model.module.parameters())
