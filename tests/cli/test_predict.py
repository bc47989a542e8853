"""``luthier predict``: new rows in, the same rows with answers out; and the same from Python."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow.parquet as pq
import pytest

from luthier.config.evaluate import EvaluateConfig
from luthier.errors import DataError
from luthier.evaluation.answering import Model
from luthier.experiments.evaluate import evaluate
from small_job import COLOURS, Refused, Workshop, luthier, write_rows


def rows_of(workshop: Workshop, split: str = "test") -> list[dict[str, str]]:
    found = [json.loads(line) for line in (workshop.job / f"{split}.jsonl").read_text().splitlines()]
    return [{"ticket": f"T{number}", "text": row["text"], "note": "café, 3"} for number, row in enumerate(found)]


def write_csv(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def common(workshop: Workshop) -> tuple[object, ...]:
    return ("-m", workshop.model, "--device", "cpu", "--set", f"runs={workshop.runs}")


def test_the_answers_are_those_of_eval_in_the_order_of_the_rows(workshop: Workshop, tmp_path: Path) -> None:
    asked = rows_of(workshop)
    ran = luthier(
        *("predict", write_csv(tmp_path / "new.csv", asked), "--out", tmp_path / "out.csv"),
        *("--adapter", workshop.adapter, *common(workshop)),
    )
    assert ran.code == 0, ran.err
    assert f"{len(asked)} rows answered" in ran.err
    found = read_csv(tmp_path / "out.csv")
    assert [{name: row[name] for name in asked[0]} for row in found] == asked, "every column, in order"
    assert list(found[0]) == ["ticket", "text", "note", "prediction", "finish"]
    task, model = str(workshop.job / "echo.yaml"), str(workshop.model)
    (measured,) = evaluate(
        EvaluateConfig(model=model, adapter=workshop.adapter, tasks=(task,), runs=workshop.runs, device="cpu")
    )
    by_text = {row["text"]: row["prediction"] for row in found}
    lines = map(json.loads, (workshop.job / "test.jsonl").read_text().splitlines())
    known = {line["id"]: line["text"] for line in lines}
    assert {own.id: by_text[known[own.id]] for own in measured.log.predictions} == {
        own.id: own.text for own in measured.log.predictions
    }


def test_choices_have_probabilities_in_every_format(workshop: Workshop, tmp_path: Path) -> None:
    task, asked = workshop.job / "colour.yaml", rows_of(workshop)
    write_rows(tmp_path / "new.jsonl", asked)
    first: list[str] = []
    for name in ("out.jsonl", "out.csv", "out.tsv", "out.json", "out.parquet"):
        out = tmp_path / name
        ran = luthier("predict", tmp_path / "new.jsonl", "-o", out, "-t", task, *common(workshop))
        assert ran.code == 0, ran.err
        match out.suffix:
            case ".jsonl":
                found = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
            case ".json":
                found = json.loads(out.read_text(encoding="utf-8"))
            case ".parquet":
                found = pq.read_table(out).to_pylist()
            case suffix:
                with out.open(newline="", encoding="utf-8") as file:
                    found = list(csv.DictReader(file, delimiter="\t" if suffix == ".tsv" else ","))
        assert [row["ticket"] for row in found] == [row["ticket"] for row in asked]
        for row in found:
            chances = {colour: float(row[f"probability {colour}"]) for colour in COLOURS}
            assert sum(chances.values()) == pytest.approx(1)
            assert row["prediction"] == max(chances, key=chances.__getitem__)
            assert (row["finish"], row["note"]) == ("choice", "café, 3")
        first = first or [row["prediction"] for row in found]
        assert [row["prediction"] for row in found] == first


def test_standard_input_and_output(workshop: Workshop, tmp_path: Path) -> None:
    text = write_csv(tmp_path / "new.csv", rows_of(workshop)).read_bytes()
    with mock.patch("sys.stdin", io.TextIOWrapper(io.BytesIO(text))):
        ran = luthier("predict", "-", "--adapter", workshop.adapter, *common(workshop))
    assert ran.code == 0, ran.err
    found = list(csv.DictReader(io.StringIO(ran.out)))
    assert [row["ticket"] for row in found] == [row["ticket"] for row in rows_of(workshop)]
    assert all(row["finish"] in ("stop", "length") for row in found)


def test_a_row_that_does_not_fit_stays_without_an_answer(workshop: Workshop, tmp_path: Path) -> None:
    asked = rows_of(workshop)[:3]
    asked[1]["text"] = "a red cat sat " * 200
    job = shutil.copytree(workshop.job, tmp_path / "job")
    yaml = job / "echo.yaml"
    yaml.write_text(yaml.read_text().replace("input: text\n", "input: note\n"))
    write_csv(tmp_path / "new.csv", asked)
    ran = luthier("predict", tmp_path / "new.csv", "-o", tmp_path / "out.csv", "-t", yaml, *common(workshop))
    assert ran.code == 0, ran.err
    assert "1 of them do not fit" in ran.err
    found = read_csv(tmp_path / "out.csv")
    assert (found[1]["finish"], found[1]["prediction"]) == ("does not fit", "")
    assert {row["finish"] for row in (found[0], found[2])} <= {"stop", "length"}


def test_an_adapter_of_a_data_file_knows_how_its_rows_became_prompts(workshop: Workshop, tmp_path: Path) -> None:
    answer = {"role": "assistant", "content": "cat"}
    lines = [{"messages": [{"role": "user", "content": f"a red cat {n}"}, answer]} for n in range(30)]
    write_rows(tmp_path / "chats.jsonl", lines)
    short = ("--set", "decoding.max_new_tokens=4")
    quick = ("--device", "cpu", "--set", "training.steps=1", "--set", "training.validations=0", "--runs", workshop.runs)
    tuned = luthier("tune", "-m", workshop.model, "-t", tmp_path / "chats.jsonl", "--save", tmp_path / "made", *quick)
    assert tuned.code == 0, tuned.err
    write_rows(tmp_path / "new.jsonl", [{"messages": [{"role": "user", "content": "a dog"}], "own": 1}])
    out = tmp_path / "out.jsonl"
    ran = luthier(
        "predict", tmp_path / "new.jsonl", "-o", out, "--adapter", tmp_path / "made", *common(workshop), *short
    )
    assert ran.code == 0, ran.err
    (row,) = [json.loads(line) for line in out.read_text().splitlines()]
    assert list(row) == ["messages", "own", "prediction", "finish"]


@pytest.mark.parametrize(
    ("rows", "more", "says"),
    [
        ([{"words": "a cat"}], (), ("row 1", "'text'")),
        ([{"text": "a cat", "prediction": "x"}], (), ("a column 'prediction' already", "Rename")),
        ([{"text": "a cat"}], ("-o", "out.xlsx"), ("cannot tell the format of 'out.xlsx'", ".csv")),
        ([{"text": "a cat"}], ("--task", ""), ("--task",)),
    ],
)
def test_what_is_wrong_is_said(
    workshop: Workshop,
    refused: Refused,
    tmp_path: Path,
    rows: list[dict[str, str]],
    more: tuple[str, ...],
    says: tuple[str, ...],
) -> None:
    write_rows(tmp_path / "new.jsonl", rows)
    task = ("-t", workshop.job / "echo.yaml") if more[:1] != ("--task",) else ()
    own = more if task else ()
    refused("predict", tmp_path / "new.jsonl", *task, *own, *common(workshop), says=says)


def test_from_python(workshop: Workshop) -> None:
    model = Model(str(workshop.model), adapter=workshop.adapter, device="cpu")
    texts = model.generate(["a red cat sat", "a dog"], max_new_tokens=3)
    assert len(texts) == 2
    assert model.generate(["a dog"], max_new_tokens=3) == texts[1:]
    found = model.classify(["a red cat sat", "a dog"], COLOURS)
    for own in found:
        assert own.choice == max(own.probabilities, key=own.probabilities.__getitem__)
        assert list(own.probabilities) == list(COLOURS)
    with pytest.raises(DataError, match="prompts\\[1\\]: the prompt is empty"):
        model.generate(["a dog", " "])
    with pytest.raises(DataError, match="two choices or more"):
        model.classify(["a dog"], ["red", "red"])
    with pytest.raises(DataError, match="one text was given where a list of prompts belongs"):
        model.generate("a dog")


def test_eval_writes_answers_with_their_rows_and_prompts(workshop: Workshop, tmp_path: Path) -> None:
    ran = luthier(
        *("eval", "-m", workshop.model, "-t", f"{workshop.job / 'echo.yaml'},{workshop.job / 'colour.yaml'}"),
        *("--answers", tmp_path / "answers", "--runs", workshop.runs, "--device", "cpu"),
    )
    assert ran.code == 0, ran.err
    assert str(tmp_path / "answers" / "echo.jsonl") in ran.err
    rows = [json.loads(line) for line in (workshop.job / "test.jsonl").read_text().splitlines()]
    for name, ending in (("echo", "\nanimal:"), ("colour", "\ncolour:")):
        lines = [json.loads(line) for line in (tmp_path / "answers" / f"{name}.jsonl").read_text().splitlines()]
        assert [line["row"] for line in lines] == list(range(1, len(rows) + 1))
        for line, row in zip(lines, rows, strict=True):
            assert line["source"].endswith("test.jsonl")
            assert line["prompt"].endswith(row["text"] + ending)
            assert line["id"] == row["id"]
    assert set(lines[0]["choice_logprobs"]) == set(COLOURS)


def test_an_adapter_alone_is_enough_and_knows_how_its_prompts_became_tokens(workshop: Workshop, tmp_path: Path) -> None:
    """No model is named, and prompts are cut as they were in training: to 32 tokens."""
    quick = ("--device", "cpu", "--set", "training.steps=1", "--set", "training.validations=0", "--runs", workshop.runs)
    echo = workshop.job / "echo.yaml"
    settings = ("--set", "data.max_length=32", "--save", tmp_path / "made")
    tuned = luthier("tune", "-m", workshop.model, "-t", echo, *settings, *quick)
    assert tuned.code == 0, tuned.err
    new = write_rows(tmp_path / "new.jsonl", [{"text": "a red cat sat and saw " * 4}, {"text": "a red cat sat"}])
    place = ("--device", "cpu", "--set", f"runs={tmp_path / 'own'}")
    ran = luthier("predict", new, "--out", tmp_path / "one.jsonl", "--adapter", tmp_path / "made", *place)
    assert ran.code == 0, ran.err
    assert f"the adapter's own base: {workshop.model}" in ran.err
    named = ("--model", workshop.model, "--task", echo, "--adapter", tmp_path / "made")
    for length, same in ((32, True), (200, False)):
        known = luthier(
            *("predict", new, "--out", tmp_path / "two.jsonl", *named, "--set", f"data.max_length={length}"),
            *("--device", "cpu", "--set", f"runs={tmp_path / str(length)}"),
        )
        assert known.code == 0, known.err
        logs = [log.read_text() for log in (tmp_path / str(length)).glob("store/predictions/*/predictions.jsonl")]
        (own,) = [log.read_text() for log in (tmp_path / "own").glob("store/predictions/*/predictions.jsonl")]
        tokens = [[json.loads(line)["prompt_tokens"] for line in log.splitlines()] for log in (own, *logs)]
        assert (tokens[0] == tokens[1]) is same


def test_rows_that_ask_nothing_keep_their_place(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "chats.jsonl").write_text(
        json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}) + "\n"
    )
    asked: list[dict[str, Any]] = [{"messages": []}, {"messages": [{"role": "user", "content": "a red cat"}]}]
    new = write_rows(tmp_path / "new.jsonl", asked)
    task = ("--task", tmp_path / "chats.jsonl", "--set", "decoding.max_new_tokens=3")
    ran = luthier("predict", new, *task, *common(workshop))
    assert ran.code == 0, ran.err
    found = [json.loads(line) for line in ran.out.splitlines()]
    assert [row["messages"] for row in found] == [row["messages"] for row in asked]
    assert found[0]["prediction"] == ""
    assert found[0]["finish"] not in ("stop", "length")
    assert found[1]["finish"] in ("stop", "length")


def test_what_a_format_cannot_hold_is_said(workshop: Workshop, refused: Refused, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"text": "a cat", "note": "one\ntwo"}, {"text": "a dog", "note": 3}]
    new = write_rows(tmp_path / "new.jsonl", rows)
    command = ("predict", new, "--task", workshop.job / "echo.yaml", *common(workshop), "--out")
    refused(*command, tmp_path / "out.tsv", says=("row 1, column 'note'", "TSV cannot hold", "need not be answered"))
    refused(*command, tmp_path / "out.parquet", says=("column 'note'", "Parquet cannot hold"))
    refused(*command, new, says=("the rows would be replaced",))
    refused(*command, workshop.runs / "store" / "out.csv", says=("lies in the store",))
    (tmp_path / "new.jsonl").write_text('{"text": "a cat", "note": "\\ud800"}\n')
    refused(*command, tmp_path / "out.csv", says=("row 1, column 'note'", "half of a character"))
    assert not list(tmp_path.glob("out*"))
