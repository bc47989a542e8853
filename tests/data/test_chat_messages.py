"""Tools, later system messages and an assistant that speaks first, in the chat template's own tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from luthier.data.encoding import Encoder
from luthier.errors import DataError
from luthier.records import Encoded, Example, Row
from tiny import BOS, CHATML, byte_tokenizer
from written_rows import only

IM_END = 261
TOOLS = (
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ 'user' if m.role == 'tool' else m.role }}\n"
    "{% if m.role == 'tool' %}<result>{{ m.content }}</result>{% else %}{{ m.content }}{% endif %}"
    "{% for call in m.tool_calls or [] %}<call>{{ call.function.name }} {{ call.function.arguments | tojson }}</call>"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ALTERNATING = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate user/assistant') }}{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SKIPPING = (
    "{% for m in messages if m.role != 'system' or loop.first %}" + CHATML.partition("{% for m in messages %}")[2]
)
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALL = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
CALLED: list[dict[str, Any]] = [
    {"role": "user", "content": "Rain?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "content": '{"rain": true}', "tool_call_id": "1", "name": "weather"},
    {"role": "assistant", "content": "Yes."},
]
LATER: list[dict[str, Any]] = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "system", "content": "From now on answer in French."},
    {"role": "user", "content": "Who?"},
    {"role": "assistant", "content": "Moi"},
]


def tokenizer_of(template: str) -> PreTrainedTokenizerFast:
    return byte_tokenizer(chat=template)


def encoder_of(template: str) -> Encoder:
    return Encoder(tokenizer_of(template), encoder_decoder=False, max_length=2048, chat="always")


def ids(template: str, example: Example) -> tuple[list[int], list[int]]:
    item = encoder_of(template).encode(example)
    assert isinstance(item, Encoded)
    return item.prompt_ids.tolist(), item.target_ids.tolist()


def own_ids(template: str, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None) -> list[int]:
    """The ids that the template itself gives a conversation, up to its last special token."""
    whole: Any = tokenizer_of(template).apply_chat_template(
        parsed(messages),
        tools=tools,  # type: ignore[arg-type]  # plain objects, as files have them
        tokenize=True,
        return_dict=False,
    )
    return [BOS, *whole[: max(place for place, item in enumerate(whole) if item == IM_END) + 1]]


def parsed(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return messages with the arguments of calls as objects, as templates take them."""
    copies = json.loads(json.dumps(messages))
    for message in copies:
        message["content"] = message["content"] or ""
        for call in message.get("tool_calls", []):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    done: list[dict[str, Any]] = copies
    return done


@pytest.mark.parametrize("tools", [[WEATHER], json.dumps([WEATHER])], ids=["list", "text"])
def test_tools_calls_and_answers_of_tools_are_the_templates_own(tools: object, tmp_path: Path) -> None:
    call, answer = only(tmp_path, {"messages": CALLED, "tools": tools})
    prompt, learned = ids(TOOLS, call)
    assert prompt + learned == own_ids(TOOLS, CALLED[:2], [WEATHER])
    assert encoder_of(TOOLS).decode(learned) == '<call>weather {"city": "Oslo"}</call>'
    prompt, learned = ids(TOOLS, answer)
    assert prompt + learned == own_ids(TOOLS, CALLED, [WEATHER])
    assert encoder_of(TOOLS).decode(learned) == "Yes."


def test_sharegpt_calls(tmp_path: Path) -> None:
    function = {"name": "weather", "arguments": {"city": "Oslo"}}
    said = [
        {"from": "human", "value": "Rain?"},
        {"from": "function_call", "value": json.dumps(function)},
        {"from": "observation", "value": '{"rain": true}'},
        {"from": "gpt", "value": "Yes."},
    ]
    call, answer = only(tmp_path, {"conversations": said, "tools": json.dumps([WEATHER])})
    assert encoder_of(TOOLS).decode(ids(TOOLS, call)[1]) == '<call>weather {"city": "Oslo"}</call>'
    assert '<result>{"rain": true}</result>' in tokenizer_of(TOOLS).decode(ids(TOOLS, answer)[0])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"messages": CALLED[:1] + CALLED[3:], "tools": [WEATHER]}, "leaves out the tool 'weather' that is offered"),
        ({"messages": CALLED}, "leaves out a call of the tool 'weather'"),
    ],
)
def test_a_template_that_leaves_tools_out_is_refused(row: Row, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        ids(CHATML, only(tmp_path, row)[0])


def test_tools_without_a_chat_template_are_refused(tmp_path: Path) -> None:
    (example,) = only(tmp_path, {"messages": CALLED[:1] + CALLED[3:], "tools": [WEATHER]})
    plain = Encoder(byte_tokenizer(), encoder_decoder=False, max_length=512)
    with pytest.raises(DataError, match="tools are offered, and no chat template writes them"):
        plain.encode(example)


def test_special_tokens_in_what_a_tool_says_are_ordinary_text(tmp_path: Path) -> None:
    messages = [*CALLED[:2], CALLED[2] | {"content": "<|im_end|>"}, CALLED[3]]
    answer = only(tmp_path, {"messages": messages, "tools": [WEATHER]})[-1]
    prompt, _ = ids(TOOLS, answer)
    assert prompt.count(IM_END) == 4
    assert "<result><|im_end|></result>" in tokenizer_of(TOOLS).decode(prompt)


def test_a_later_system_message_stands_where_it_stands(tmp_path: Path) -> None:
    first, second = only(tmp_path, {"messages": LATER})
    assert "French" not in tokenizer_of(CHATML).decode(ids(CHATML, first)[0])
    prompt, learned = ids(CHATML, second)
    assert prompt + learned == own_ids(CHATML, LATER)


@pytest.mark.parametrize("template", [ALTERNATING, SKIPPING], ids=["refuses it", "skips it"])
def test_a_template_that_takes_no_later_system_message_has_it_in_the_users(template: str, tmp_path: Path) -> None:
    second = only(tmp_path, {"messages": LATER})[-1]
    merged = [*LATER[:2], {"role": "user", "content": "From now on answer in French.\n\nWho?"}, LATER[-1]]
    prompt, learned = ids(template, second)
    assert prompt + learned == own_ids(template, merged)


def test_an_assistant_that_speaks_first_is_written_as_it_stands(tmp_path: Path) -> None:
    messages = [{"role": "assistant", "content": "Welcome!"}, *LATER[:2]]
    (example,) = only(tmp_path, {"messages": messages})
    prompt, learned = ids(CHATML, example)
    assert prompt + learned == own_ids(CHATML, messages)


def test_what_was_said_last_is_what_is_cut(tmp_path: Path) -> None:
    messages = [*LATER[:3], {"role": "user", "content": "Who? " * 40}, LATER[-1]]
    second = only(tmp_path, {"messages": messages})[-1]
    encoder = Encoder(tokenizer_of(CHATML), encoder_decoder=False, max_length=220, chat="always")
    item = encoder.encode(second)
    assert isinstance(item, Encoded)
    assert item.cut_tokens > 0
    assert "From now on answer in French." in tokenizer_of(CHATML).decode(item.prompt_ids.tolist())


def test_reasoning_before_a_call_is_learned_with_it(tmp_path: Path) -> None:
    call = CALLED[1] | {"reasoning_content": "I must look."}
    (example,) = only(tmp_path, {"messages": [CALLED[0], call], "tools": [WEATHER]}, reasoning="learn")
    learned = encoder_of(TOOLS).decode(ids(TOOLS, example)[1])
    assert learned == '<think>\nI must look.\n</think>\n\n<call>weather {"city": "Oslo"}</call>'
