"""Rows of chat and preferences as the world publishes them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from luthier.config.data import DataConfig
from luthier.errors import LuthierError
from luthier.records import Row, Turn
from luthier.tasks.loader import load_splits, load_task
from written_rows import answers, examples, only, read, said


def message(role: str, content: str) -> dict[str, object]:
    return {"role": role, "content": content}


def test_ultrafeedback_rows_are_all_learned_with_the_question_once(tmp_path: Path) -> None:
    rows: list[Row] = []
    for number in range(40):
        question = f"Question {number}?"
        sides = {
            side: [message("user", question), message("assistant", f"{side} {number}")]
            for side in ("chosen", "rejected")
        }
        rows.append({"prompt": question, "prompt_id": f"{number:x}", **sides, "score_chosen": 8.0})
    data = read(tmp_path, rows)
    assert len(examples(data)) == 40
    assert all((item.turns, item.prompt.count("?")) == ((), 1) for item in examples(data))
    assert answers(data) == {f"chosen {number}" for number in range(40)}


@pytest.mark.parametrize(
    ("prompt", "chosen"),
    [
        ([message("user", "Hi")], [message("user", "Hi"), message("assistant", "Hello")]),
        ([message("user", "Hi")], [message("assistant", "Hello")]),
        ([message("user", "Hi")], message("assistant", "Hello")),
        ([message("user", "Hi")], "Hello"),
        ("Hi", [message("assistant", "Hello")]),
        ("Hi", json.dumps([message("user", "Hi"), message("assistant", "Hello")])),
        ("Hi", str([message("user", "Hi"), message("assistant", "Hello")])),
    ],
)
def test_a_question_stands_once_however_the_sides_share_it(prompt: object, chosen: object, tmp_path: Path) -> None:
    rejected = json.loads(json.dumps(chosen).replace("Hello", "Bye"))
    (example,) = only(tmp_path, {"prompt": prompt, "chosen": chosen, "rejected": rejected})
    assert (example.prompt, example.targets, example.turns) == ("Hi", ("Hello",), ())
    assert example.rejected == ("Bye",)


def test_a_system_message_of_the_prompt_alone_is_kept(tmp_path: Path) -> None:
    prompt = [message("system", "Be brief."), message("user", "Hi")]
    chosen = [message("user", "Hi"), message("assistant", "Hello")]
    rejected = [message("user", "Hi"), message("assistant", "Bye")]
    (example,) = only(tmp_path, {"prompt": prompt, "chosen": chosen, "rejected": rejected})
    assert (example.system, example.prompt, example.turns) == ("Be brief.", "Hi", ())


def test_another_question_under_chosen_is_left_out_and_said(tmp_path: Path) -> None:
    row: Row = {"prompt": "Hi", "chosen": [message("user", "Who?"), message("assistant", "Me")], "rejected": []}
    with pytest.raises(LuthierError, match="'chosen' holds a question of its own, which is not that of 'prompt'"):
        read(tmp_path, [row])


def test_an_assistant_that_speaks_first_is_history(tmp_path: Path) -> None:
    said_first = [message("assistant", "Welcome!"), message("user", "Hi"), message("assistant", "Hello")]
    (example,) = only(tmp_path, {"messages": said_first})
    assert (example.prompt, example.targets) == ("Hi", ("Hello",))
    assert [(item.role, item.content) for item in example.messages] == [("assistant", "Welcome!"), ("user", "Hi")]
    assert example.turns == (Turn("", "Welcome!"),)
    assert "1 answers have no question before them" in said(read(tmp_path, [{"messages": said_first}]))


def test_an_assistant_that_speaks_twice_gives_one_answer(tmp_path: Path) -> None:
    twice = [message("user", "Hi"), message("assistant", "Hello."), message("assistant", "How are you?")]
    (example,) = only(tmp_path, {"messages": twice})
    assert example.targets == ("Hello.\n\nHow are you?",)
    marked = [*twice[:2], twice[2] | {"weight": 0}]
    assert examples(read(tmp_path, [{"messages": marked}])) == []


def test_a_conversation_without_a_question_is_left_out(tmp_path: Path) -> None:
    with pytest.raises(LuthierError, match="the assistant speaks first"):
        read(tmp_path, [{"messages": [message("assistant", "Hi")]}])


@pytest.mark.parametrize("write", [json.dumps, str])
def test_messages_in_a_csv_cell(write: object, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    assert callable(write)
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["messages"])
        table.writerows([[write([message("user", f"It's {n}"), message("assistant", f"so {n}")])] for n in range(20)])
    data = load_splits(load_task(str(path)), DataConfig(), 0)
    assert {(item.prompt, item.targets) for item in examples(data)} == {(f"It's {n}", (f"so {n}",)) for n in range(20)}


def test_a_cell_that_holds_neither_json_nor_python_is_left_out_and_counted(tmp_path: Path) -> None:
    good: list[Row] = [{"messages": [message("user", f"q{n}"), message("assistant", f"a{n}")]} for n in range(20)]
    broken: Row = {"messages": "[{'role': 'user'}\n {'role': 'assistant'}]"}
    data = read(tmp_path, [*good, broken])
    assert (len(examples(data)), data.report.left_out) == (20, 1)
    assert "column 'messages' is not a list of messages" in said(data)


def test_hh_rlhf_rows(tmp_path: Path) -> None:
    said_before = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Who?\n\nAssistant:"
    (example,) = only(tmp_path, {"chosen": f"{said_before} Me", "rejected": f"{said_before} Nobody"})
    assert (example.turns, example.prompt, example.targets) == ((Turn("Hi", "Hello"),), "Who?", ("Me",))


def test_text_in_which_human_and_assistant_speak(tmp_path: Path) -> None:
    rows = only(tmp_path, {"text": "### Human: Hi### Assistant: Hello### Human: Who?### Assistant: Me"})
    assert [(item.prompt, item.targets) for item in rows] == [("Hi", ("Hello",)), ("Who?", ("Me",))]


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": "Hi"}],
        ["H", {"type": "text", "text": {"value": "i"}}],
        {"content_type": "text", "parts": ["Hi"]},
        {"type": "text", "text": "Hi"},
    ],
)
def test_nested_parts_of_content(content: object, tmp_path: Path) -> None:
    (example,) = only(tmp_path, {"messages": [{"role": "user", "content": content}, message("assistant", "Hello")]})
    assert example.prompt == "Hi"


@pytest.mark.parametrize(
    ("row", "prompt", "target"),
    [
        ({"question": "Who?", "answer": "Me"}, "Who?", "Me"),
        ({"prompt": "Who?", "response": "Me"}, "Who?", "Me"),
        ({"query": "Who?", "response": "Me"}, "Who?", "Me"),
        ({"context": "Once upon", "continuation": "a time"}, "Once upon", "a time"),
        ({"instruction": "Who?", "context": "It is me.", "response": "Me"}, "It is me.\n\nWho?", "Me"),
    ],
)
def test_pairs_whose_names_leave_no_doubt(row: Row, prompt: str, target: str, tmp_path: Path) -> None:
    (example,) = only(tmp_path, row)
    assert (example.prompt, example.targets) == (prompt, (target,))


def test_one_instruction_with_many_answers(tmp_path: Path) -> None:
    rows: list[Row] = [{"prompt": "Write a poem.", "completion": f"Poem {number}"} for number in range(200)]
    removed = read(tmp_path, rows)
    assert removed.train == ()
    assert "Where one prompt is meant to have many answers, keep them with --set data.overlaps=keep" in said(removed)
    kept = read(tmp_path, rows, overlaps="keep")
    assert len(kept.train) == removed.report.overlaps > 140
    assert f"{len(kept.train)} training examples have a prompt that stands in validation or test too" in said(kept)
