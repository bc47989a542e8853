"""What stands before the exemplars: as it is written in plain text, in the system message of a conversation."""

from __future__ import annotations

import pytest

from luthier.data.encoding import Encoder
from luthier.records import Encoded, Example, Turn
from luthier.tasks.rows.duplicates import DuplicateIndex
from luthier.tasks.rows.splits import digest_examples
from tiny import CHATML, byte_tokenizer

PLAIN = Example("1", "t", "a", "Q: long text A:", ("b",), input_span=(3, 12), turns=(Turn("Q: x A:", "y"),))
WITH = Example(
    "1", "t", "a", "Q: long text A:", ("b",), input_span=(3, 12), turns=PLAIN.turns, preamble="About letters.\n\n"
)


def text_of(encoder: Encoder, item: Encoded) -> str:
    return str(encoder.tokenizer.decode(item.prompt_ids.tolist(), skip_special_tokens=True))


@pytest.mark.parametrize("encoder_decoder", [False, True])
def test_it_stands_before_the_exemplars(encoder_decoder: bool) -> None:
    encoder = Encoder(byte_tokenizer(), encoder_decoder=encoder_decoder, max_length=512)
    without, shown = encoder.encode(PLAIN), encoder.encode(WITH)
    assert isinstance(without, Encoded)
    assert isinstance(shown, Encoded)
    assert text_of(encoder, shown) == "About letters.\n\n" + text_of(encoder, without)
    assert shown.target_ids.tolist() == without.target_ids.tolist()


def test_it_is_never_cut() -> None:
    encoder = Encoder(byte_tokenizer(), encoder_decoder=False, max_length=512)
    whole = encoder.encode(WITH)
    assert isinstance(whole, Encoded)
    short = Encoder(
        byte_tokenizer(), encoder_decoder=False, max_length=len(whole.prompt_ids) + len(whole.target_ids) - 4
    )
    cut = short.encode(WITH)
    assert isinstance(cut, Encoded)
    assert cut.cut_tokens == 4
    assert text_of(short, cut) == text_of(encoder, whole).replace("long text", " text")


def test_it_is_the_system_message_of_a_conversation() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = CHATML
    encoder = Encoder(tokenizer, encoder_decoder=False, max_length=512, chat="always")
    instead = Example("1", "t", "a", PLAIN.prompt, ("b",), turns=PLAIN.turns, system="About letters.")
    ids = [item.prompt_ids.tolist() for item in (encoder.encode(WITH), encoder.encode(instead), encoder.encode(PLAIN))]  # type: ignore[union-attr]
    assert ids[0] == ids[1] != ids[2]


def test_it_tells_examples_apart() -> None:
    assert digest_examples([PLAIN]) != digest_examples([WITH])
    index = DuplicateIndex()
    index.add("train", PLAIN)
    index.add("test", WITH)
    assert index.overlaps().prompts == 0
