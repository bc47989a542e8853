"""Formats of rows, and the exchanges in them."""

from __future__ import annotations

import pytest

from luthier.errors import DataError, TaskError
from luthier.records import Row, Turn
from luthier.tasks.rows.conversations import Exchange
from luthier.tasks.rows.row_formats import exchanges, messages_of, recognise

SAID = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Who?"},
    {"role": "user", "content": "Really?"},
    {"role": "assistant", "content": [{"type": "text", "text": "Me"}]},
]


def found(row: Row, where: str = "row 1") -> list[Exchange]:
    row_format = recognise(row, where)
    return list(exchanges(messages_of(row, row_format, where), row_format, where))


@pytest.mark.parametrize(
    ("row", "name", "said"),
    [
        ({"prompt": "a", "completion": "b"}, "prompt_completion", "rows of prompt and completion"),
        ({"messages": SAID}, "messages", "one example for each answer"),
        ({"instruction": "a", "input": "", "output": "b"}, "alpaca", "Alpaca rows"),
        ({"instruction": "a", "output": "b"}, "alpaca", "Alpaca rows"),
        ({"conversations": []}, "sharegpt", "ShareGPT"),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "preference", "the chosen answer is learned"),
        ({"instruction": "a", "output": "b", "chosen": "b", "rejected": "c"}, "preference", "chosen"),
        ({"chosen": SAID, "rejected": SAID}, "preference", "the chosen answer is learned"),
    ],
)
def test_format_is_recognised_and_said(row: Row, name: str, said: str) -> None:
    row_format = recognise(row, "rows.jsonl")
    assert row_format.name == name
    assert said in row_format.sentence


def test_unknown_format_names_the_columns_and_the_ways_out() -> None:
    with pytest.raises(TaskError) as fault:
        recognise({"sentence": "a", "label": 1}, "rows.jsonl")
    assert str(fault.value).startswith("rows.jsonl: the columns (sentence, label) are of no known format")
    assert "write a task YAML" in str(fault.value)


def test_each_answer_of_a_conversation_is_an_exchange() -> None:
    row: Row = {"messages": SAID}
    assert found(row) == [
        Exchange("Hi", "Hello", (), "Be brief."),
        Exchange("Who?\n\nReally?", "Me", (Turn("Hi", "Hello"),), "Be brief."),
    ]


def test_sharegpt_roles() -> None:
    row: Row = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}
    assert found(row) == [Exchange("Hi", "Hello", (), "")]


def test_preference_of_conversations_learns_the_last_answer_alone() -> None:
    row: Row = {"chosen": SAID, "rejected": SAID}
    assert [item.reply for item in found(row)] == ["Me"]
    apart: Row = {"prompt": SAID[:2], "chosen": SAID[2:3], "rejected": SAID[2:3]}
    assert [item.reply for item in found(apart)] == ["Hello"]


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ("Hi", "column 'messages' is not a list of messages"),
        (None, "column 'messages' is not a list of messages"),
        (["Hi"], "a message in 'messages' is not an object"),
        ([{"role": "narrator", "content": "x"}], "role 'narrator'"),
        ([{"role": "user"}], "a message of role 'user' in 'messages' has no text"),
        ([{"role": "user", "content": [{"type": "image"}]}], "has no text"),
        ([{"role": "user", "content": "Hi"}], "no answer of the assistant"),
    ],
)
def test_wrong_conversation(messages: object, said: str) -> None:
    row: Row = {"messages": messages}
    with pytest.raises(DataError) as fault:
        found(row, "rows.jsonl, row 3")
    assert str(fault.value).startswith("rows.jsonl, row 3: ")
    assert said in str(fault.value)
