"""What ``luthier check`` finds, against figures worked out by hand."""

from __future__ import annotations

import json
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from luthier.config.data import DataConfig
from luthier.console import PlainConsole
from luthier.data.check import CheckReport, check_split, fatal, render_check
from luthier.data.encoding import NOTHING_TO_CUT, PROMPT_TOO_LONG, TARGET_TOO_LONG, Encoder
from luthier.records import Example
from luthier.tasks.check_task import run_check
from luthier.tasks.loader import load_task
from luthier.tasks.show import list_tasks, preview, show_task
from tiny import byte_tokenizer


def example(key: str, prompt: str, target: str, span: tuple[int, int] | None = None) -> Example:
    return Example(key, "t", "t", prompt, (target,), (), span)


def test_figures_of_a_split() -> None:
    encoder = Encoder(byte_tokenizer(), encoder_decoder=False, max_length=10)
    found = check_split(
        "train",
        [
            example("fits", "abc", "xyz"),  # BOS abc | _xyz EOS
            example("cut", "abcdefgh", "x", (0, 8)),  # BOS bcdefgh? 10 - 3 = 7 tokens of prompt: 2 cut
            example("uncuttable", "abcdefghijk", "x"),
            example("frame", "abcdefghijk", "x", (0, 2)),
            example("answer", "a", "0123456789"),
        ],
        encoder,
        samples=2,
    )
    assert (found.examples, found.encoded, found.cut, found.cut_tokens, found.lost) == (5, 2, 1, 2, 3)
    assert found.dropped == {NOTHING_TO_CUT: 1, PROMPT_TOO_LONG: 1, TARGET_TOO_LONG: 1}
    assert found.prompt_tokens == (4, 7, 7, 7, 7)
    assert found.target_tokens == (3, 5, 5, 5, 5)
    assert (found.supervised, found.total) == (5 + 3, 9 + 10)
    assert (found.begins, found.ends) == ({1: 2}, 2)
    assert [(item.prompt, item.target, item.cut_tokens) for item in found.samples] == [
        ("<s>abc", " xyz</s>", 0),
        ("<s>cdefgh", " x</s>", 2),
    ]


def write(folder: Path, rows: list[dict[str, object]]) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def check(path: str, max_length: int = 64, **data: Any) -> CheckReport:
    return run_check(path, byte_tokenizer(), encoder_decoder=False, max_length=max_length, data=DataConfig(**data))


def test_good_rows_have_nothing_fatal_and_are_shown(tmp_path: Path) -> None:
    report = check(write(tmp_path, [{"prompt": f"p[bold]{n}", "completion": f"c{n}"} for n in range(100)]))
    assert fatal(report, 0.1) == []
    assert sum(split.examples for split in report.splits) == 100
    out = StringIO()
    render_check(report, Console(file=out, width=120, force_terminal=True, color_system="standard"))
    shown = out.getvalue()
    # Supervised tokens are bold green (1;32), and rows are not read as markup.
    assert "\x1b[1;32m c" in shown
    assert "p[bold]" in shown
    assert "Recognised rows of prompt and completion" in shown


def shown_without_colour(tmp_path: Path, prompt: str, completion: str, *, encoding: str = "utf-8") -> str:
    rows: list[dict[str, object]] = [{"prompt": f"{n} {prompt}", "completion": completion} for n in range(30)]
    out = TextIOWrapper(BytesIO(), encoding=encoding, errors="backslashreplace")
    render_check(check(write(tmp_path, rows)), PlainConsole(file=out, width=120, markup=False, emoji=False))
    out.seek(0)
    return out.read()


@pytest.mark.parametrize(
    ("prompt", "completion", "encoding", "supervised", "legend"),
    [
        ("why?", "so", "utf-8", "why?⟦ so</s>⟧", "between ⟦ and ⟧"),
        ("why?", "so", "ascii", "why?[=[ so</s>]=]", "between [=[ and ]=]"),
        ("why ⟦a⟧?", "so", "utf-8", "why ⟦a⟧?[=[ so</s>]=]", "between [=[ and ]=]"),
        ("why ⟦a⟧ [=[b]=]?", "so", "utf-8", "?[==[ so</s>]==]", "between [==[ and ]==]"),
        ("a[", "]so", "ascii", "a[[=[ ]so</s>]=]", "between [=[ and ]=]"),
        # The prompt ends as the shortest brackets begin.
        ("a[=", "]=so", "ascii", "a[=[==[ ]=so</s>]==]", "between [==[ and ]==]"),
    ],
)
def test_without_colour_what_is_supervised_stands_in_brackets_that_no_text_has(
    tmp_path: Path, prompt: str, completion: str, encoding: str, supervised: str, legend: str
) -> None:
    shown = shown_without_colour(tmp_path, prompt, completion, encoding=encoding)
    assert shown.count(supervised) == 3, shown
    assert f"supervised: {legend}" in shown


def test_colours_that_the_user_does_not_want_are_brackets_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    report = check(write(tmp_path, [{"prompt": f"p{n}", "completion": "so"} for n in range(30)]))
    for no_colour, supervised in (("1", "⟦ so</s>⟧"), ("", "so</s>\x1b")):
        monkeypatch.setenv("NO_COLOR", no_colour)
        out = StringIO()
        render_check(report, Console(file=out, width=120, force_terminal=True, color_system="standard"))
        assert supervised in out.getvalue()


def test_limits_and_length_of_the_configuration_count(tmp_path: Path) -> None:
    path = write(tmp_path, [{"prompt": f"p{n}", "completion": f"c{n}"} for n in range(100)])
    report = check(path, train=7, max_length=32)
    train = report.split("train")
    assert train is not None
    assert (train.examples, report.max_length) == (7, 32)


def test_all_rows_too_long_is_fatal(tmp_path: Path) -> None:
    report = check(write(tmp_path, [{"prompt": f"p{n}", "completion": "c" * 90 + str(n)} for n in range(50)]))
    messages = [str(fault) for fault in fatal(report, 0.1)]
    assert len(messages) == 3  # one for each split
    assert "train examples do not fit 64 tokens" in messages[0]
    assert TARGET_TOO_LONG in messages[0]
    assert "Give --set data.max_length=N or a model that holds longer texts" in messages[0]
    assert "max_lost" not in messages[0], "that all are lost cannot be allowed"


def test_too_many_empty_rows_are_fatal(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"prompt": f"p{n}", "completion": "c" if n > 20 else ""} for n in range(100)]
    report = check(write(tmp_path, rows))
    (fault,) = fatal(report, 0.1)
    assert "21 of 100 rows have an empty prompt or target (21%)" in str(fault)
    assert "row 1: the target is empty" in str(fault)
    assert fatal(report, 0.3) == []


def test_no_training_examples_is_fatal(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    (fault,) = fatal(check(str(tmp_path)), 0.1)
    assert "there are no training examples" in str(fault)


def shown(item: Any) -> str:
    out = StringIO()
    Console(file=out, width=200).print(item)
    return out.getvalue()


def test_tasks_are_listed_shown_and_previewed() -> None:
    listed = shown(list_tasks())
    assert "dialogue_summary" in listed
    assert "rougeL" in listed
    task = load_task("dialogue_summary")
    text = shown(show_task(task))
    assert task.digest in text
    assert "{{ dialogue }}" in text
    seen = shown(preview(task, split="test", rows=2))
    assert seen.count("row 2 ·") == len(task.templates)
    assert "→ " in seen


def test_preview_names_the_templates_there_are() -> None:
    task = load_task("dialogue_summary")
    with pytest.raises(Exception, match="no template is called 'x'") as fault:
        preview(task, template="x")
    assert task.templates[0].name in str(fault.value)
