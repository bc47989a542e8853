"""Rows of preferences: what is read, what is left out, what is an error, and which split a prompt belongs to."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from luthier.config.data import DataConfig
from luthier.data.check import fatal, render_check
from luthier.data.encoding import NOTHING_TO_CUT, Encoder
from luthier.data.preferences import NO_PAIR, TIE, Pair, judged_of, pairs_of
from luthier.errors import LuthierError
from luthier.records import Dropped, Example, Turn
from luthier.tasks.check_task import run_check
from luthier.tasks.loader import TaskData, load_splits, load_task
from small_job import write_rows
from tiny import byte_tokenizer

HELD = {"max_lost": 1.0, "validation": None, "test": None}


def read(folder: Path, rows: list[dict[str, Any]], *, bad: bool = False, **data: Any) -> TaskData:
    task = load_task(str(write_rows(folder / "prefs.jsonl", rows)))
    return load_splits(task, DataConfig(**{**HELD, **data}), 0, bad_answers=bad)


def examples(data: TaskData) -> tuple[Example, ...]:
    return (*data.train, *data.validation, *data.test)


def said(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "chosen": "Hello", "rejected": "Bye"},
        {"question": "Hi", "chosen": "Hello", "rejected": " Bye "},
        {"prompt": said("Hi"), "chosen": said("Hi", "Hello")[1:], "rejected": said("Hi", "Bye")[1:]},
        {"prompt": said("Hi"), "chosen": "Hello", "rejected": "Bye"},
        {"chosen": said("Hi", "Hello"), "rejected": said("Hi", "Bye")},
        {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello", "rejected": "\n\nHuman: Hi\n\nAssistant: Bye"},
    ],
)
def test_a_pair_is_read_in_every_format(row: dict[str, Any], tmp_path: Path) -> None:
    (example,) = examples(read(tmp_path, [row]))
    assert (example.prompt, example.targets, example.rejected) == ("Hi", ("Hello",), ("Bye",))
    assert example.margins == ()


def test_alpaca_with_both_answers(tmp_path: Path) -> None:
    row = {"instruction": "Add.", "input": "1 1", "output": "2", "chosen": "2", "rejected": "3"}
    (example,) = examples(read(tmp_path, [row]))
    assert "### Instruction:\nAdd.\n\n### Input:\n1 1" in example.prompt
    assert (example.targets, example.rejected) == (("2",), ("3",))


def test_several_rejected_answers_and_their_margins(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "a", "chosen": "x", "rejected": ["y", "x", "z"], "margin": [1, 2, 0.5]},
        {"prompt": "b", "chosen": "x", "rejected": ["y", "z"], "margin": 2},
        {"prompt": "c", "chosen": "x", "rejected": "y", "margin": None},
    ]
    data = read(tmp_path, rows)
    found = {own.prompt: (own.rejected, own.margins) for own in examples(data)}
    assert found == {"a": (("y", "z"), (1.0, 0.5)), "b": (("y", "z"), (2.0, 2.0)), "c": (("y",), ())}
    assert "1 rejected answers are the chosen one: they are left out." in data.report.sentences


def test_earlier_turns_stand_before_both_answers(tmp_path: Path) -> None:
    row = {"chosen": said("Hi", "Hello", "Who?", "Me"), "rejected": said("Hi", "Hello", "Who?", "You")}
    (example,) = examples(read(tmp_path, [row]))
    assert (example.turns, example.prompt) == ((Turn("Hi", "Hello"),), "Who?")
    assert (example.targets, example.rejected) == (("Me",), ("You",))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "a", "chosen": "x", "rejected": " x"}, "the chosen and the rejected answer are the same"),
        ({"prompt": "a", "chosen": "x", "rejected": ""}, "the rejected answer is empty"),
        ({"prompt": "a", "chosen": " ", "rejected": "x"}, "the target is empty"),
        ({"prompt": "a", "chosen": "x", "rejected": None}, "there is no rejected answer"),
    ],
)
def test_what_is_no_pair_is_left_out_and_counted(row: dict[str, Any], reason: str, tmp_path: Path) -> None:
    good = [{"prompt": f"{number}", "chosen": "x", "rejected": "y"} for number in range(3)]
    data = read(tmp_path, [*good, row])
    assert len(examples(data)) == 3
    assert data.report.left_out == 1
    (first,) = data.report.left_out_rows
    assert first.endswith(f"prefs.jsonl, row 4: {reason}")
    with pytest.raises(LuthierError, match="1 of 4 rows hold no pair of a better and a worse answer"):
        read(tmp_path, [*good, row], max_lost=0.1)


def test_conversations_that_part_before_their_last_answer_are_no_pair(tmp_path: Path) -> None:
    good: dict[str, Any] = {"chosen": said("Hi", "Hello"), "rejected": said("Hi", "Bye")}
    other: dict[str, Any] = {"chosen": said("Who?", "Me"), "rejected": said("Why?", "You")}
    data = read(tmp_path, [good, other])
    assert data.report.left_out_rows[0].endswith("row 2: the chosen and the rejected answer stand after other messages")


def test_all_wrong_margins_are_said_at_once_with_their_rows(tmp_path: Path) -> None:
    margins = [1, "NaN", "wide", True, [1, 2]]
    rows = [{"prompt": str(k), "chosen": "x", "rejected": "y", "margin": one} for k, one in enumerate(margins)]
    with pytest.raises(LuthierError) as fault:
        read(tmp_path, rows)
    message = str(fault.value)
    assert message.startswith("4 rows of")
    assert "row 2: the margin is NaN, which is no number" in message
    assert "row 3: the margin is wide, which is no number" in message
    assert "row 4: the margin is true, which is no number" in message
    assert "row 5: 2 margins stand beside 1 rejected answers" in message


def test_rows_with_one_side_alone_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(LuthierError, match="A pair needs both answers: add the column 'rejected'"):
        read(tmp_path, [{"prompt": "a", "chosen": "b"}])


def test_all_answers_to_a_prompt_stand_in_one_split(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"question {number % 40}", "chosen": f"good {number}", "rejected": "bad"} for number in range(400)
    ]
    data = read(tmp_path, rows)
    splits = [{own.prompt for own in split} for split in (data.train, data.validation, data.test)]
    assert sum(map(len, splits)) == len(set.union(*splits)) == 40
    assert all(splits), "a tenth of 40 prompts and more"
    assert sum(map(len, (data.train, data.validation, data.test))) == 400, "none is an overlap or a duplicate"
    assert data.report.overlaps == 0
    groups = {own.prompt: own.group for own in examples(data)}
    assert len(set(groups.values())) == 40, "answers to one prompt are resampled together"


def test_judged_answers_are_bad_ones_only_where_they_are_asked_for(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "a", "completion": "x", "label": True},
        {"prompt": "a", "completion": "y", "label": False},
        {"prompt": "b", "completion": "z", "label": "false"},
    ]
    plain, judged = read(tmp_path, rows), read(tmp_path, rows, bad=True)
    assert [(own.targets, own.rejected) for own in examples(plain)] == [(("x",), ())]
    assert sorted((own.prompt, own.targets, own.rejected) for own in examples(judged)) == [
        ("a", (), ("y",)),
        ("a", ("x",), ()),
        ("b", (), ("z",)),
    ]


def encoder(max_length: int = 64) -> Encoder:
    return Encoder(byte_tokenizer(), encoder_decoder=False, max_length=max_length)


def example(prompt: str, chosen: str, *rejected: str, span: tuple[int, int] | None = None) -> Example:
    return Example(prompt, "t", "t", prompt, (chosen,), (), span, rejected=rejected)


def test_pairs_are_encoded_with_one_prompt_cut_alike_and_whole_answers() -> None:
    own = example("abcdefgh", "x", "yyyy", span=(0, 8))
    (pair,) = pairs_of([own], encoder(12))  # BOS, the prompt, and " yyyy" with its end: 12 - 6 = 6 tokens of prompt
    assert isinstance(pair, Pair)
    decode = byte_tokenizer().decode
    assert decode(pair.chosen.prompt_ids) == decode(pair.rejected.prompt_ids) == "<s>defgh"
    assert (pair.chosen.cut_tokens, pair.rejected.cut_tokens) == (3, 3)
    assert [len(side.target_ids) for side in (pair.chosen, pair.rejected)] == [3, 6]


def test_pairs_that_cannot_be_learned_from_are_dropped_with_a_reason() -> None:
    tie = example("a", "x", "x")
    alone = example("b", "x")
    long = example("abcdefghij", "x", "y" * 9)
    found = list(pairs_of([tie, alone, long, example("c", "x", "y", "z")], encoder(14)))
    reasons = [own.reason for own in found if isinstance(own, Dropped)]
    assert reasons == [TIE, NO_PAIR, NOTHING_TO_CUT]
    assert [own.id for own in found if isinstance(own, Pair)] == ["c~1", "c~2"]


def test_judged_answers_of_pairs_and_their_mismatched_ones() -> None:
    found = [own for own in judged_of([example("a", "x", "y"), example("b", "z", "w")], encoder()) if own.id]
    decode = byte_tokenizer().decode
    shown = []
    for own in found:
        assert not isinstance(own, Dropped)
        shown.append((decode(own.answer.target_ids), decode(own.mismatched.target_ids), own.good))
        assert own.answer.prompt_ids is own.mismatched.prompt_ids
    good, bad = (" x</s>", " z</s>"), (" y</s>", " w</s>")
    assert shown == [
        (good[0], bad[1], True),
        (bad[0], good[0], False),
        (good[1], bad[0], True),
        (bad[1], good[1], False),
    ]


def test_check_counts_pairs_ties_lengths_and_repeats(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{number // 2}", "chosen": "xx", "rejected": f"y{number}"} for number in range(40)]
    rows += [{"prompt": "same", "chosen": "x", "rejected": "x"}]
    path = write_rows(tmp_path / "prefs.jsonl", rows)
    report = run_check(str(path), byte_tokenizer(), encoder_decoder=False, max_length=64, data=DataConfig(max_lost=0.1))
    assert fatal(report, 0.1) == []
    assert sum(own.pairs for own in report.pairs) == 40
    assert sum(own.prompts for own in report.pairs) == 20
    assert report.pairs[0].chosen_tokens == (4, 4, 4, 4, 4), "a space, two letters, the end token"
    assert report.left_out == 1
    out = StringIO()
    render_check(report, Console(file=out, width=160, no_color=True))
    assert "pairs of a preference objective" in out.getvalue()
    assert "the chosen and the rejected answer are the same" in out.getvalue()
    assert f"train: {report.pairs[0].pairs} pairs have {report.pairs[0].prompts} prompts" in out.getvalue()


def test_rows_of_json_lists_in_text_cells_are_texts(tmp_path: Path) -> None:
    """A text that looks like a list is an answer: only a real list holds several."""
    (own,) = examples(read(tmp_path, [{"prompt": "a", "chosen": "[1]", "rejected": json.dumps([1, 2])}]))
    assert own.rejected == ("[1, 2]",)
