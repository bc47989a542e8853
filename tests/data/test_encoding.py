"""The encoder's rules, with every supervised id written out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from luthier.data import encoding
from luthier.data.encoding import Encoder
from luthier.errors import ModelError
from luthier.records import Dropped, Encoded, Example, Turn
from tiny import BOS, CHATML, EOS, byte_tokenizer, bytes_of, marking_tokenizer, marks_of, tiny_tokenizer

LLAMA2 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content | trim }} [/INST]"
    "{% elif m.role == 'assistant' %} {{ m.content | trim }} {{ eos_token }}"
    "{% else %}{{ raise_exception('only user and assistant') }}{% endif %}{% endfor %}"
)


LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}<|im_end|>\n\n{{ m.content | trim }}</s>"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant<|im_end|>\n\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{% for m in messages %}<|im_start|>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% elif m.role == 'assistant' %}{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)


def example(prompt: str, target: str = "yes", **others: Any) -> Example:
    return Example("1", "task", "template", prompt, (target,), **others)


def decoder(tokenizer: PreTrainedTokenizerBase, max_length: int = 512, **others: Any) -> Encoder:
    return Encoder(tokenizer, encoder_decoder=False, max_length=max_length, **others)


def ids(item: Encoded | Dropped) -> tuple[list[int], list[int]]:
    assert isinstance(item, Encoded)
    assert item.prompt_ids.dtype == item.target_ids.dtype == "int32"
    return item.prompt_ids.tolist(), item.target_ids.tolist()


# A byte-level decoder: the target is led by one space.


def test_target_is_led_by_a_space_and_ended_by_a_supervised_end_token() -> None:
    assert ids(decoder(byte_tokenizer()).encode(example("Q:"))) == (
        [BOS, *bytes_of("Q:")],
        [*bytes_of(" yes"), EOS],
    )


def test_no_space_after_a_newline() -> None:
    assert ids(decoder(byte_tokenizer()).encode(example("Q:\n")))[1] == [*bytes_of("yes"), EOS]


def test_space_that_ends_the_prompt_goes_to_the_target() -> None:
    assert ids(decoder(byte_tokenizer()).encode(example("Q: "))) == (
        [BOS, *bytes_of("Q:")],
        [*bytes_of(" yes"), EOS],
    )


def test_target_that_brings_its_own_blank_gets_no_other() -> None:
    assert ids(decoder(byte_tokenizer()).encode(example("Q:", "\tyes")))[1] == [*bytes_of("\tyes"), EOS]


@pytest.mark.parametrize(
    ("bos", "adds", "head"),
    [(True, True, [BOS]), (True, False, [BOS]), (False, False, [])],
    ids=["tokenizer adds it", "tokenizer has it", "no BOS"],
)
def test_exactly_one_begin_token(bos: bool, adds: bool, head: list[int]) -> None:
    encoder = decoder(byte_tokenizer(bos=bos, adds_bos=adds))
    assert ids(encoder.encode(example("Q:")))[0] == [*head, *bytes_of("Q:")]
    assert encoder.bos_id == (BOS if bos else None)


def test_begin_token_that_is_also_the_end_token_is_not_added() -> None:
    tokenizer = byte_tokenizer(bos=False)
    tokenizer.bos_token = "</s>"
    assert ids(decoder(tokenizer).encode(example("Q:")))[0] == bytes_of("Q:")


def test_names_of_special_tokens_in_a_row_are_ordinary_text() -> None:
    prompt, target = ids(decoder(byte_tokenizer()).encode(example("<s>a</s>", "b</s>")))
    assert prompt == [BOS, *bytes_of("<s>a</s>")]
    assert target == [*bytes_of(" b</s>"), EOS]


def test_exemplars_and_system_in_plain_text() -> None:
    item = decoder(byte_tokenizer()).encode(example("c", turns=(Turn("a", "1"), Turn("b\n", "2")), system="Be brief."))
    assert ids(item)[0] == [BOS, *bytes_of("Be brief.\n\na 1\n\nb\n2\n\nc")]
    assert isinstance(item, Encoded)
    assert item.shots == 2


# SentencePiece marks each word itself.


@pytest.mark.parametrize("kind", ["metaspace", "prepend"])
def test_marking_tokenizer_gets_no_second_space(kind: str) -> None:
    encoder = decoder(marking_tokenizer(kind))
    assert ids(encoder.encode(example("say:"))) == ([BOS, *marks_of("▁say:")], [*marks_of("▁yes"), EOS])


@pytest.mark.parametrize("kind", ["metaspace", "prepend"])
def test_marking_tokenizer_puts_no_mark_after_a_newline(kind: str) -> None:
    encoder = decoder(marking_tokenizer(kind))
    assert ids(encoder.encode(example("say:\n"))) == ([BOS, *marks_of("▁say:\n")], [*marks_of("yes"), EOS])


@pytest.mark.parametrize("make", [byte_tokenizer, tiny_tokenizer, marking_tokenizer], ids=lambda make: make.__name__)
@pytest.mark.parametrize("prompt", ["the cat sat", "summary:", "summary: ", "answer:\n", "a\n\n"])
def test_prompt_and_target_are_the_pieces_of_the_whole_text(make: Any, prompt: str) -> None:
    tokenizer = make()
    prompt_ids, target_ids = ids(decoder(tokenizer).encode(example(prompt, "the mat")))
    whole = prompt + ("" if prompt[-1].isspace() else " ") + "the mat"
    natural = tokenizer(whole, add_special_tokens=False)["input_ids"]
    assert prompt_ids[1:] + target_ids[:-1] == natural


def test_real_tokenizer_gives_the_pieces_of_the_whole_text(stories260k: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(stories260k)
    encoder = decoder(tokenizer)
    for prompt in ("Once upon a time", "Say:", "Summary:\n", "One\n\nTwo: "):
        prompt_ids, target_ids = ids(encoder.encode(example(prompt, "there was a cat.")))
        whole = prompt + ("" if prompt[-1].isspace() else " ") + "there was a cat."
        assert prompt_ids + target_ids[:-1] == tokenizer(whole)["input_ids"]
        assert target_ids[-1] == tokenizer.eos_token_id


# Encoder–decoder.


def test_encoder_decoder_prompt_and_target_end_with_the_end_token_and_have_no_begin_token() -> None:
    encoder = Encoder(marking_tokenizer(adds="eos"), encoder_decoder=True, max_length=64)
    assert ids(encoder.encode(example("say: "))) == ([*marks_of("▁say:▁"), EOS], [*marks_of("▁yes"), EOS])


def test_encoder_decoder_ends_a_prompt_that_its_tokenizer_does_not_end() -> None:
    encoder = Encoder(byte_tokenizer(bos=False), encoder_decoder=True, max_length=64)
    assert ids(encoder.encode(example("Q:"))) == ([*bytes_of("Q:"), EOS], [*bytes_of("yes"), EOS])


def test_encoder_decoder_limits_prompt_and_target_each() -> None:
    encoder = Encoder(byte_tokenizer(bos=False), encoder_decoder=True, max_length=6)
    assert ids(encoder.encode(example("12345", "12345")))[0] == [*bytes_of("12345"), EOS]
    assert encoder.encode(example("1", "123456")) == Dropped("1", encoding.TARGET_TOO_LONG)


# Over-long.


def test_over_long_prompt_loses_the_head_of_its_input_text_only() -> None:
    item = decoder(byte_tokenizer(), 16).encode(example("Q: 0123456789 A:", input_span=(3, 13)))
    assert isinstance(item, Encoded)
    # 16 = BOS + 10 of the prompt + " yes" and the end token, so 6 of the prompt's 16 go.
    assert ids(item) == ([BOS, *bytes_of("Q: 6789 A:")], [*bytes_of(" yes"), EOS])
    assert item.cut_tokens == 6


def test_whole_characters_are_cut() -> None:
    item = decoder(byte_tokenizer(), 14).encode(example("Q:ééé:", input_span=(2, 5)))
    assert isinstance(item, Encoded)
    # One byte too many, but "é" has two.
    assert len(bytes_of("Q:ééé:")) + 1 + 5 == 15
    assert ids(item)[0] == [BOS, *bytes_of("Q:éé:")]
    assert item.cut_tokens == 2


def test_cut_spares_the_exemplars() -> None:
    item = decoder(byte_tokenizer(), 17).encode(example("0123 A:", input_span=(0, 4), turns=(Turn("0", "1"),)))
    # BOS, 5 of the exemplar, 7 of the prompt, 5 of the target: one too many.
    assert ids(item) == ([BOS, *bytes_of("0 1\n\n123 A:")], [*bytes_of(" yes"), EOS])


@pytest.mark.parametrize(
    ("prompt", "span", "target", "reason"),
    [
        ("0123456789", (0, 10), "0123456789abcdef", encoding.TARGET_TOO_LONG),
        ("0123456789abcdef", (0, 2), "y", encoding.PROMPT_TOO_LONG),
        ("0123456789abcdef", None, "y", encoding.NOTHING_TO_CUT),
    ],
)
def test_what_cannot_fit_is_dropped_with_its_reason(
    prompt: str, span: tuple[int, int] | None, target: str, reason: str
) -> None:
    assert decoder(byte_tokenizer(), 12).encode(example(prompt, target, input_span=span)) == Dropped("1", reason)


def test_cut_in_a_marking_tokenizer_leaves_the_frame_whole() -> None:
    encoder = decoder(marking_tokenizer(), 20)
    item = encoder.encode(example("say: once upon a time is it?", input_span=(5, 21)))
    prompt, target = ids(item)
    assert prompt[:6] == [BOS, *marks_of("▁say:")]
    assert prompt[-7:] == marks_of("▁is▁it?")
    assert target == [*marks_of("▁yes"), EOS]
    assert len(prompt) + len(target) == 20


# Choices, prompts, lengths, many.


def test_choices_share_a_prompt_cut_for_the_longest() -> None:
    made = decoder(byte_tokenizer(), 16).encode_choices(
        replace(example("Q: 0123456789 A:", input_span=(3, 13)), choices=("no", "maybe"))
    )
    assert isinstance(made, list)
    prompts = {tuple(item.prompt_ids.tolist()) for item in made}
    assert prompts == {(BOS, *bytes_of("Q: 89 A:"))}
    assert [item.target_ids.tolist() for item in made] == [[*bytes_of(" no"), EOS], [*bytes_of(" maybe"), EOS]]


def test_prompt_alone_reserves_room_for_the_answer() -> None:
    item = decoder(byte_tokenizer(), 16).encode_prompt(example("Q: 0123456789 A:", input_span=(3, 13)), 5)
    assert ids(item) == ([BOS, *bytes_of("Q: 6789 A:")], [])


def test_answer_that_leaves_the_prompt_no_room() -> None:
    assert decoder(byte_tokenizer(), 16).encode_prompt(example("Q:"), 16) == Dropped("1", encoding.NO_ROOM)
    both = Encoder(byte_tokenizer(bos=False), encoder_decoder=True, max_length=16)
    assert ids(both.encode_prompt(example("Q:"), 16))[0] == [*bytes_of("Q:"), EOS]


def test_length_counts_the_uncut_prompt() -> None:
    assert decoder(byte_tokenizer(), 4).length(example("0123456789", turns=(Turn("a", "b"),))) == 1 + 5 + 10


def test_many_are_encoded_as_each_alone_and_counted() -> None:
    encoder = decoder(byte_tokenizer(), 16)
    items = [
        example("Q:"),
        example("Q: 0123456789 A:", input_span=(3, 13)),
        example("0123456789abcdef"),
        example("</s>"),
    ]
    split = encoder.encode_all(items * 300)
    assert (len(split.encoded), len(split.dropped), split.cut, split.cut_tokens) == (900, 300, 300, 1800)
    alone = [item for item in map(encoder.encode, items) if isinstance(item, Encoded)]
    assert [ids(item) for item in split.encoded[:3]] == [ids(item) for item in alone]


@pytest.mark.parametrize("make", [byte_tokenizer, tiny_tokenizer, marking_tokenizer], ids=lambda make: make.__name__)
def test_decoding_gives_the_target_back(make: Any) -> None:
    encoder = decoder(make())
    for prompt in ("q:", "q:\n"):
        assert encoder.decode(ids(encoder.encode(example(prompt, "the cat")))[1]) == "the cat"


@settings(max_examples=150, deadline=None)
@given(
    prompt=st.text(min_size=1, max_size=60),
    target=st.text(min_size=1, max_size=30),
    limit=st.integers(8, 160),
    span=st.tuples(st.integers(0, 30), st.integers(0, 30)),
)
def test_no_target_token_is_ever_lost(prompt: str, target: str, limit: int, span: tuple[int, int]) -> None:
    encoder = decoder(byte_tokenizer(), limit)
    inside = (min(span), min(max(span), len(prompt)))
    item = encoder.encode(example(prompt, target, input_span=inside if inside[0] < inside[1] else None))
    kept = prompt.rstrip(" ") or prompt
    lead = "" if kept[-1:].isspace() or target[:1].isspace() else " "
    wanted = [*bytes_of(lead + target), EOS]
    if isinstance(item, Dropped):
        assert 1 + len(bytes_of(kept)) + len(wanted) > limit
        return
    assert item.target_ids.tolist() == wanted
    assert len(item.prompt_ids) + len(item.target_ids) <= limit
    assert len(item.prompt_ids) + item.cut_tokens == 1 + len(bytes_of(kept))


# Chat templates.


def im(name: str) -> list[int]:
    return [260 if name == "start" else 261]


def test_chat_template_is_used_where_the_task_wants_it() -> None:
    encoder = decoder(byte_tokenizer(chat=CHATML), task_wants_chat=True)
    assert encoder.chat
    prompt, target = ids(encoder.encode(example("Q:", turns=(Turn("a", "b"),), system="s")))
    said = [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "Q:")]
    written = [token for role, text in said for token in _said(role, text)]
    assert prompt == [BOS, *written, *im("start"), *bytes_of("assistant\n")]
    assert target == [*bytes_of("yes"), *im("end")]
    assert encoder.stop_ids == (EOS, 261)
    assert encoder.decode(target) == "yes"


def _said(role: str, text: str) -> list[int]:
    return [*im("start"), *bytes_of(f"{role}\n{text}"), *im("end"), *bytes_of("\n")]


@pytest.mark.parametrize(
    ("chat", "wants", "has", "used"),
    [
        ("auto", False, True, False),
        ("auto", True, False, False),
        ("never", True, True, False),
        ("always", False, True, True),
    ],
)
def test_when_the_chat_template_is_used(chat: Any, wants: bool, has: bool, used: bool) -> None:
    tokenizer = byte_tokenizer(chat=CHATML if has else None)
    assert decoder(tokenizer, chat=chat, task_wants_chat=wants).chat is used


def test_template_that_writes_the_begin_token_gets_no_second_one() -> None:
    encoder = decoder(byte_tokenizer(adds_bos=True, chat=LLAMA2), chat="always")
    prompt, target = ids(encoder.encode(example(" Q: ")))
    assert prompt == [BOS, *bytes_of("[INST] Q: [/INST]")]
    # The template puts a space before the answer, and the end token after it.
    assert target == [*bytes_of(" yes "), EOS]
    assert encoder.decode(target) == "yes"


@pytest.mark.parametrize("template", [CHATML, LLAMA2, LLAMA3, GEMMA, MISTRAL])
@pytest.mark.parametrize("make", [byte_tokenizer, tiny_tokenizer], ids=lambda make: make.__name__)
def test_chat_ids_are_those_of_the_whole_conversation(make: Any, template: str) -> None:
    tokenizer = make(chat=template)
    prompt, target = ids(decoder(tokenizer, chat="always").encode(example("who?", "the cat", turns=(Turn("a", "b"),))))
    said = [("user", "a"), ("assistant", "b"), ("user", "who?"), ("assistant", "the cat")]
    messages = [{"role": role, "content": text} for role, text in said]
    whole = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    whole = whole if whole[0] == BOS else [BOS, *whole]
    given_ = prompt + target
    assert given_ == whole[: len(given_)]
    # What is left out is blank: nothing after the end of the answer is worth learning.
    assert not tokenizer.decode(whole[len(given_) :]).strip()
    assert given_.count(BOS) == 1


@pytest.mark.parametrize("template", [CHATML, LLAMA2, LLAMA3, GEMMA, MISTRAL])
def test_chat_ids_of_a_real_tokenizer(stories260k: Path, template: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(stories260k)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = template
    encoder = decoder(tokenizer, chat="always")
    prompt, target = ids(encoder.encode(example("who?", "the cat")))
    messages = [{"role": "user", "content": "who?"}, {"role": "assistant", "content": "the cat"}]
    whole: Any = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    whole = whole if whole[0] == BOS else [BOS, *whole]
    assert prompt + target == whole[: len(prompt + target)]
    assert not str(tokenizer.decode(whole[len(prompt + target) :])).strip()
    assert encoder.decode(target) == "the cat"


def test_system_message_goes_to_the_user_where_the_template_refuses_it() -> None:
    encoder = decoder(byte_tokenizer(chat=LLAMA2), chat="always")
    assert ids(encoder.encode(example("Q", system="Be brief.")))[0] == [
        BOS,
        *bytes_of("[INST] Be brief.\n\nQ [/INST]"),
    ]


def test_row_cannot_end_its_turn_by_itself() -> None:
    encoder = decoder(byte_tokenizer(chat=CHATML), chat="always")
    prompt, target = ids(encoder.encode(example("x<|im_end|>y", "z<|im_end|>")))
    assert prompt == [BOS, *_said("user", "x<|im_end|>y"), *im("start"), *bytes_of("assistant\n")]
    assert target == [*bytes_of("z<|im_end|>"), *im("end")]


def test_over_long_chat_loses_input_text_only() -> None:
    whole = example("Q: 0123456789 A:", input_span=(3, 13))
    # BOS, two marks and a newline around "user\n" and the 16 bytes, one mark before "assistant\n", "yes" and its mark.
    length = 1 + 3 + 5 + 16 + 1 + 10 + 4
    assert decoder(byte_tokenizer(chat=CHATML), chat="always").length(whole) == length - 4
    item = decoder(byte_tokenizer(chat=CHATML), length - 4, chat="always").encode(whole)
    assert ids(item)[0] == [BOS, *_said("user", "Q: 456789 A:"), *im("start"), *bytes_of("assistant\n")]


def test_chat_without_a_template_is_an_error() -> None:
    with pytest.raises(ModelError, match="no chat template") as fault:
        decoder(byte_tokenizer(), chat="always")
    assert "--set data.chat=auto" in str(fault.value)


def test_tokenizer_without_an_end_token_is_an_error() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="no end-of-sequence token"):
        decoder(tokenizer)


def test_signature_changes_with_what_the_ids_depend_on() -> None:
    made = [
        decoder(byte_tokenizer()),
        decoder(byte_tokenizer(), 64),
        decoder(byte_tokenizer(bos=False)),
        decoder(byte_tokenizer(chat=CHATML)),
        decoder(byte_tokenizer(chat=CHATML), chat="always"),
        Encoder(byte_tokenizer(), encoder_decoder=True, max_length=512),
        decoder(tiny_tokenizer()),
    ]
    assert len({encoder.signature for encoder in made}) == len(made)
    assert decoder(byte_tokenizer()).signature == made[0].signature


def test_the_tokenizers_own_truncation_does_not_matter() -> None:
    tokenizer = byte_tokenizer()
    before = decoder(tokenizer).signature
    tokenizer("a" * 50, truncation=True, max_length=4, padding="max_length")
    encoder = decoder(tokenizer)
    assert encoder.signature == before
    assert ids(encoder.encode(example("0123456789")))[0] == [BOS, *bytes_of("0123456789")]
