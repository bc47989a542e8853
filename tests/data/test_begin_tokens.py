"""Begin tokens: what a chat template writes is right, and what is put before it a second time is named by `check`."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import processors

from luthier.data.check import CheckReport as Report
from luthier.data.check import SplitCheck, check_split, notes
from luthier.data.encoding import Encoder
from luthier.records import Encoded, Example, Turn
from tiny import BOS, CHATML, byte_tokenizer, bytes_of

IM_START, IM_END = 4 + 256, 4 + 257
"""Ids of ChatML's tokens in the byte tokenizer, after its special tokens and the bytes."""
EXAMPLES = [Example(str(n), "t", "t", f"q{n}", ("a",), turns=(Turn("earlier", "yes"),)) for n in range(3)]


def chatml(*, begins_messages: bool = True, adds: str = "") -> Any:
    """A ChatML tokenizer; its begin token is ``<|im_start|>``, or ``<s>``; what it adds by itself is named."""
    tokenizer = byte_tokenizer(chat=CHATML)
    tokenizer.bos_token = "<|im_start|>" if begins_messages else "<s>"
    if adds:
        ids = [(adds, tokenizer.convert_tokens_to_ids(adds))]
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(f"{adds} $A", None, ids)
    return tokenizer


def checked(tokenizer: Any, **settings: Any) -> tuple[SplitCheck, list[str]]:
    encoder = Encoder(tokenizer, encoder_decoder=False, max_length=200, **{"chat": "always", **settings})
    found = check_split("train", EXAMPLES, encoder)
    report = Report("t", "t.yaml", 200, encoder.chat, 3, 0, (), "", (), (found,))
    return found, [note for note in notes(report) if "begin token" in note]


def prompt_of(tokenizer: Any, **settings: Any) -> list[int]:
    encoder = Encoder(tokenizer, encoder_decoder=False, max_length=200, **{"chat": "always", **settings})
    item = encoder.encode(EXAMPLES[0])
    assert isinstance(item, Encoded)
    return [int(one) for one in item.prompt_ids]


def test_a_template_that_begins_every_message_with_the_begin_token_doubles_nothing() -> None:
    tokenizer = chatml()
    assert tokenizer.bos_token_id == IM_START
    prompt = prompt_of(tokenizer)
    assert prompt[:2] == [IM_START, *bytes_of("u")]
    assert prompt.count(IM_START) == 4, "two messages of the user, one answer, and the one that is asked for"
    found, said = checked(tokenizer)
    assert (found.doubled, found.begin, said) == (0, "", [])


def test_one_that_the_tokenizer_adds_is_written_once() -> None:
    """The template writes at the head what the tokenizer adds: nothing is added to it, on ChatML and on Llama's way."""
    assert checked(chatml(adds="<|im_start|>"))[1] == []
    tokenizer = byte_tokenizer(adds_bos=True, chat="<s>" + CHATML)
    assert prompt_of(tokenizer)[:2] == [BOS, IM_START]
    assert checked(tokenizer)[1] == []
    repeated = "{% for m in messages %}<s>{{ m.content }}</s>{% endfor %}"
    assert prompt_of(byte_tokenizer(adds_bos=True, chat=repeated)).count(BOS) == 4, "before each message"
    assert checked(byte_tokenizer(adds_bos=True, chat=repeated))[1] == []


def test_a_template_without_begin_tokens_gets_the_tokenizers() -> None:
    tokenizer = chatml(begins_messages=False, adds="<s>")
    assert prompt_of(tokenizer)[:2] == [BOS, IM_START]
    assert checked(tokenizer)[1] == []


def test_a_tokenizer_that_adds_another_to_a_template_that_writes_its_own_is_named() -> None:
    # The begin token is <|im_start|>, but the tokenizer begins texts with <s> as well.
    tokenizer = chatml(adds="<s>")
    assert prompt_of(tokenizer)[:4] == [IM_START, BOS, IM_START, *bytes_of("u")]
    found, said = checked(tokenizer)
    assert (found.doubled, found.begin) == (3, "<|im_start|><s>")
    assert said == [
        "train: 3 examples have more than one begin token: <|im_start|><s> is put before texts in which the chat "
        "template writes a begin token as well."
    ]


def test_a_template_that_writes_its_begin_token_behind_a_line_break_is_named() -> None:
    tokenizer = byte_tokenizer(adds_bos=True, chat="\n<s>" + CHATML)
    assert prompt_of(tokenizer)[:3] == [BOS, *bytes_of("\n"), BOS]
    found, said = checked(tokenizer)
    assert (found.doubled, found.begin) == (3, "<s>")
    assert "train: 3 examples have more than one begin token: <s> is put before texts" in said[0]


@pytest.mark.parametrize("begins", [True, False])
def test_plain_text_has_one(begins: bool) -> None:
    for adds in ("", "<s>"):
        found, said = checked(chatml(begins_messages=begins, adds=adds), chat="never")
        assert (found.begins, said) == ({1: 3}, [])


def test_a_prompt_that_means_its_begin_tokens_doubles_nothing() -> None:
    meant = [
        Example(str(n), "t", "t", f"<|im_start|>user\nq{n}<|im_end|>\n<|im_start|>assistant\n", ("a",))
        for n in range(2)
    ]
    tokens = ("<|im_start|>", "<|im_end|>")
    encoder = Encoder(chatml(), encoder_decoder=False, max_length=99, chat="never", special_tokens=tokens)
    assert check_split("train", meant, encoder).doubled == 0
    late = [Example("0", "t", "t", "Hear: <|im_start|>user\nq", ("a",))]
    found = check_split("train", late, encoder)
    assert (found.doubled, found.begin) == (1, "<|im_start|>")
