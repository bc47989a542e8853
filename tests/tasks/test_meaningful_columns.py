"""Columns that say what is learned, and how: marks, system messages, history, reasoning, pictures; none is unread."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from luthier.errors import LuthierError
from luthier.records import Row, Turn
from written_rows import answers, examples, only, read, said

ROWS = 20
ASKED, ANSWERED = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}


@pytest.mark.parametrize(
    "mark", [{"label": False}, {"label": "False"}, {"weight": 0}, {"loss_weight": 0.0}, {"train": False}]
)
@pytest.mark.parametrize("chat", [True, False])
def test_undesirable_answers_of_rows_are_never_learned_and_are_counted(mark: Row, chat: bool, tmp_path: Path) -> None:
    rows: list[Row] = []
    for number in range(ROWS):
        own = mark if number % 2 else dict.fromkeys(mark, True) if "weight" not in str(mark) else dict.fromkeys(mark, 1)
        answer = "bad" if number % 2 else "good"
        asked = {"role": "user", "content": f"q{number}"}
        messages: Row = {"messages": [asked, {"role": "assistant", "content": answer}]}
        rows.append({**(messages if chat else {"prompt": f"q{number}", "completion": answer}), **own})
    data = read(tmp_path, rows)
    assert answers(data) == {"good"}
    assert len(examples(data)) == ROWS // 2
    assert "10 answers are marked as not to be learned" in said(data)
    assert data.report.left_out == 0  # on purpose, so that no bound of losses stands in the way


@pytest.mark.parametrize("mark", [{"weight": 0}, {"loss_weight": 0}, {"train": False}, {"loss": False}])
def test_turns_that_are_not_to_be_learned_stay_as_history(mark: Row, tmp_path: Path) -> None:
    turns = [ASKED, ANSWERED | mark, {"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me"}]
    (example,) = only(tmp_path, {"messages": turns})
    assert (example.prompt, example.targets) == ("Who?", ("Me",))
    assert example.turns == (Turn("Hi", "Hello"),)


@pytest.mark.parametrize(
    ("column", "value"), [("label", 1), ("label", "billing"), ("weight", 0.5), ("train", "yes"), ("kto_tag", 3)]
)
def test_a_mark_that_cannot_be_obeyed_is_an_error(column: str, value: object, tmp_path: Path) -> None:
    with pytest.raises(LuthierError, match=rf"row 1: '{column}' is ") as fault:
        read(tmp_path, [{"prompt": "a", "completion": "b", column: value}])
    assert "rename" in str(fault.value)


def test_a_system_message_stays_where_it_stands(tmp_path: Path) -> None:
    later = {"role": "system", "content": "From now on answer in French."}
    turns = [ASKED, ANSWERED, later, {"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Moi"}]
    first, second = only(tmp_path, {"messages": turns})
    assert (first.system, first.prompt, first.turns, first.messages) == ("", "Hi", (), ())
    assert second.system == ""
    assert second.turns == (Turn("Hi", "Hello"),)
    assert second.prompt == "From now on answer in French.\n\nWho?"
    assert [(item.role, item.content) for item in second.messages] == [
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("system", "From now on answer in French."),
        ("user", "Who?"),
    ]
    # Only the question may be cut where it is too long.
    assert second.input_span is not None
    assert second.prompt[slice(*second.input_span)] == "Who?"


@pytest.mark.parametrize("column", ["images", "image", "videos"])
def test_rows_with_pictures_are_left_out_and_said(column: str, tmp_path: Path) -> None:
    rows: list[Row] = [{"prompt": f"q{n}", "completion": f"a{n}"} for n in range(ROWS - 1)]
    rows.append({"prompt": "<image>What is this?", "completion": "a cat", column: ["cat.png"]})
    data = read(tmp_path, rows)
    assert "a cat" not in answers(data)
    assert data.report.left_out == 1
    assert f"it comes with {column}, and a text model sees none" in said(data)


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "Ask", "output": "Told", "system": "Be brief.", "history": [["Hi", "Hello"]]},
        {"instruction": "Ask", "output": "Told", "system": "Be brief.", "history": [ASKED, ANSWERED]},
        {"prompt": "Ask", "completion": "Told", "system": "Be brief.", "history": json.dumps([["Hi", "Hello"]])},
        {
            "conversations": [{"from": "human", "value": "Ask"}, {"from": "gpt", "value": "Told"}],
            "system": "Be brief.",
            "history": [["Hi", "Hello"]],
        },
    ],
)
def test_system_and_history_beside_a_prompt_are_used(row: Row, tmp_path: Path) -> None:
    example = only(tmp_path, row)[-1]
    assert example.system == "Be brief."
    assert example.turns == (Turn("Hi", "Hello"),)
    assert "Ask" in example.prompt
    assert example.targets == ("Told",)


def test_reasoning_is_learned_or_left_out_or_refused_by_a_setting(tmp_path: Path) -> None:
    thought = {"role": "assistant", "content": "4", "reasoning_content": "2 and 2"}
    rows: list[Row] = [
        {"messages": [{"role": "user", "content": "2 + 2?"}, thought]},
        {"prompt": "2 + 2?", "completion": "4", "reasoning_content": "2 and 2"},
    ]
    for row in rows:
        with pytest.raises(LuthierError, match=r"reasoning apart from its text.*\n.*data\.reasoning=learn"):
            only(tmp_path, row)
        (learned,) = only(tmp_path, row, reasoning="learn")
        assert learned.targets == ("<think>\n2 and 2\n</think>\n\n4",)
        (without,) = only(tmp_path, row, reasoning="leave_out")
        assert without.targets == ("4",)
        told = said(read(tmp_path, [row], reasoning="leave_out"))
        assert "1 answers have reasoning apart from their text, which is left out" in told


def test_columns_that_are_not_read_are_listed(tmp_path: Path) -> None:
    rows: list[Row] = [{"prompt": f"q{n}", "completion": f"a{n}", "source": "web", "note": None} for n in range(ROWS)]
    rows[3]["topic"] = "zoo"
    told = said(read(tmp_path, rows))
    assert "Columns that are not read: source (20 rows), topic (1 rows)." in told


def test_keys_of_messages_that_are_not_read_are_listed(tmp_path: Path) -> None:
    rows: list[Row] = [{"messages": [ASKED | {"time": 3}, ANSWERED | {"content": f"a{n}"}]} for n in range(ROWS)]
    assert "messages: time (20 rows)" in said(read(tmp_path, rows))
