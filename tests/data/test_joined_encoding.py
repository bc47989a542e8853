"""Prompt and answer tokenised as one text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from luthier.data.joined_encoding import JoinedEncoder
from luthier.data.joint import Joint
from luthier.records import Dropped, Encoded, Example, Turn
from tiny_models import make_tokenizer

EXAMPLE = Example("1", "t", "w", "who sat?", ("the cat",), ("the cat", "the red dog"))


def encoder(joint: str = " ", *, max_length: int = 100, encoder_decoder: bool = False, gap: str = "\n\n") -> Any:
    return JoinedEncoder(
        make_tokenizer(), joint=Joint(joint, gap), encoder_decoder=encoder_decoder, max_length=max_length
    )


def texts(of: Any, items: list[Encoded] | Dropped) -> list[tuple[str, str]]:
    """The text of prompt and answer of each."""
    assert not isinstance(items, Dropped)
    return [
        (of.tokenizer.decode(item.prompt_ids.tolist()), of.tokenizer.decode(item.target_ids.tolist())) for item in items
    ]


def test_the_answer_is_what_the_whole_text_has_more() -> None:
    of = encoder()
    found = of.encode_choices(EXAMPLE)
    whole = [of.tokenizer(f"who sat? {choice}", add_special_tokens=False)["input_ids"] for choice in EXAMPLE.choices]
    for item, ids in zip(found, whole, strict=True):
        joined = [*item.prompt_ids.tolist(), *item.target_ids.tolist()]
        assert joined[-len(ids) :] == ids, "the ids are those of one text"
        assert item.target_ids[-1] != of.tokenizer.eos_token_id, "the end of a choice is not scored"
    assert {tuple(item.prompt_ids.tolist()) for item in found} == {tuple(found[0].prompt_ids.tolist())}


def test_training_supervises_the_end() -> None:
    of = encoder()
    item = of.encode(EXAMPLE)
    assert tuple(item.target_ids[-len(of.end_ids) :].tolist()) == of.end_ids
    assert item.target_ids[: -len(of.end_ids)].tolist() == of.encode_choices(EXAMPLE)[0].target_ids.tolist()


def test_white_space_at_the_end_of_a_prompt_is_counted_with_the_answer() -> None:
    plain, spaced = (
        encoder(" ").encode_choices(EXAMPLE),
        encoder("").encode_choices(replace(EXAMPLE, prompt="who sat? ")),
    )
    assert [item.target_ids.tolist() for item in plain] == [item.target_ids.tolist() for item in spaced]
    assert [item.prompt_ids.tolist() for item in plain] == [item.prompt_ids.tolist() for item in spaced]


def test_exemplars_and_preamble_are_laid_out_as_written() -> None:
    of = encoder(": ", gap=" | ")
    asked = replace(EXAMPLE, preamble="a b ", turns=(Turn("a dog?", "no"), Turn("a cat?", "a")))
    ids = of.encode_choices(asked)[0].prompt_ids.tolist()
    wanted = of.tokenizer("a b a dog?: no | a cat?: a | who sat?", add_special_tokens=False)["input_ids"]
    assert ids[-len(wanted) :] == wanted


def test_choices_may_stand_in_prompts_of_their_own() -> None:
    of = encoder()
    asked = replace(EXAMPLE, choice_prompts=("the cat", "the red dog"), ending="sat.", prompt="the cat")
    found = of.encode_choices(asked)
    assert found[0].target_ids.tolist() == found[1].target_ids.tolist(), "the same ending is scored after each"
    assert found[0].prompt_ids.tolist() != found[1].prompt_ids.tolist()
    assert of.encode(asked).prompt_ids.tolist() == found[0].prompt_ids.tolist(), "the right one is learned"


def test_without_a_prompt_an_answer_is_scored_after_one_token() -> None:
    of = encoder("")
    found = of.encode_choices(replace(EXAMPLE, prompt=""))
    begin = of.tokenizer.bos_token_id if of.tokenizer.bos_token_id is not None else of.tokenizer.eos_token_id
    assert [item.prompt_ids.tolist() for item in found] == [[begin], [begin]]


def test_an_encoder_decoder_has_its_answer_apart() -> None:
    of = encoder(encoder_decoder=True)
    found = of.encode_choices(EXAMPLE)
    assert found[0].prompt_ids.tolist() == of.tokenizer("who sat?")["input_ids"], "as the tokenizer itself writes it"
    assert found[0].target_ids.tolist() == of.tokenizer(" the cat", add_special_tokens=False)["input_ids"]


def test_what_does_not_fit_loses_its_input_alone() -> None:
    of = encoder(max_length=24)
    text = "the dog sat. " * 8
    asked = replace(EXAMPLE, prompt=f"{text}who sat?", input_span=(0, len(text)))
    found = of.encode_choices(asked)
    assert not isinstance(found, Dropped)
    assert all(len(item.prompt_ids) + len(item.target_ids) <= 24 for item in found)
    assert found[0].cut_tokens > 0
    assert of.tokenizer.decode(found[0].prompt_ids.tolist()).endswith("who sat?")
    assert isinstance(of.encode_choices(replace(asked, input_span=None)), Dropped)


def test_the_joint_is_part_of_the_signature() -> None:
    assert len({encoder(" ").signature, encoder(": ").signature, encoder(" ", gap="\n").signature}) == 3


@pytest.mark.parametrize("name", ["</s>", "<pad>"])
def test_names_of_special_tokens_are_ordinary_text(name: str) -> None:
    of = encoder()
    ids = of.encode_choices(replace(EXAMPLE, prompt=f"who {name} sat?"))[0].prompt_ids.tolist()
    special = of.tokenizer.convert_tokens_to_ids(name)
    assert special not in ids[1:]
    answer = of.encode_choices(replace(EXAMPLE, choices=(name, "no"), targets=("no",)))[0].target_ids.tolist()
    assert special not in answer
