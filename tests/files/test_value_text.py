"""What a value of a row is as text, wherever it is read: in templates, in targets, and in files that are scored."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from luthier.errors import DataError, Faults, LuthierError
from luthier.files.value_text import answer_texts, json_text, value_text
from luthier.metrics.score_inputs import ScoreInputs, load_systems
from luthier.metrics.scoring import score_predictions
from luthier.tasks.loader import load_examples, load_task
from luthier.tasks.rows.sources import Source, read_rows
from luthier.tasks.rows.templates import Template

NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("nan", "nan"),
        (None, ""),
        (NAN, ""),
        (Decimal("NaN"), ""),
        (True, "true"),
        (False, "false"),
        (1, "1"),
        (1.0, "1"),
        (-0.0, "0"),
        (Decimal("1.0"), "1"),
        (0.1, "0.1"),
        (1e300, "1e+300"),
        (float("inf"), "inf"),
        ({"a": [1.5, None, "ü"]}, '{"a": [1.5, null, "ü"]}'),
        ([1.0, NAN, True], "[1.0, null, true]"),
        (b"caf\xc3\xa9", "café"),
        (date(2024, 5, 1), "2024-05-01"),
        ({"day": date(2024, 5, 1), "price": Decimal("1.50")}, '{"day": "2024-05-01", "price": "1.50"}'),
    ],
)
def test_a_value_is_one_text_everywhere(value: object, text: str) -> None:
    assert value_text(value) == text
    assert Template("{{ value }}").render({"value": value}) == text
    assert Template("{{ value ~ '' }}{{ [value] | join }}{{ value | string }}").render({"value": value}) == text * 3


@pytest.mark.parametrize("value", [b"\xff", 10**5000, [10**5000]], ids=["bytes", "huge", "huge in a list"])
def test_what_has_no_text_is_said(value: object) -> None:
    with pytest.raises(DataError):
        value_text(value)


def test_a_value_nested_too_deeply_is_said() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(DataError, match="nested too deeply"):
        json_text(deep)


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        (["a", None, NAN, 1.0, {"b": 2}], ("a", "1", '{"b": 2}')),
        ({"text": ["Paris", "Paris", "paris"], "answer_start": [1, 9, 17]}, ("Paris", "paris")),
        ([{"text": "Paris", "answer_start": 3}, {"text": "paris", "answer_start": 9}], ("Paris", "paris")),
        ({"text": [], "answer_start": []}, ("",)),
        ([], ()),
        ("a", None),
        ({"text": ["a"]}, None),
    ],
)
def test_accepted_answers(value: object, texts: tuple[str, ...] | None) -> None:
    assert answer_texts(value) == texts


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pa.parquet.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        lines = [",".join("" if value != value or value is None else str(value) for value in r.values()) for r in rows]
        path.write_text("\n".join([",".join(rows[0]), *lines]) + "\n")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.parquet", "rows.csv"])
def test_a_value_that_is_missing_is_never_the_word_nan(tmp_path: Path, name: str) -> None:
    """A data frame writes what is missing as NaN; such a target is left out, and such an input is empty."""
    rows = [{"text": f"number {n}", "more": float(n), "label": NAN if n == 7 else float(n % 3)} for n in range(60)]
    rows[9]["more"] = NAN
    path = write_rows(tmp_path / name, rows)
    assert "nan" not in repr(list(read_rows(Source(str(path))))).lower()
    task = tmp_path / "task.yaml"
    task.write_text(
        f"name: digits\nsource: {name}\ntarget: '{{{{ label }}}}'\nmetrics: [exact_match]\n"
        "templates: [{name: plain, prompt: '{{ text }}{% if more %} and {{ more }}{% endif %}'}]\n"
    )
    examples = [
        example for split in ("train", "validation", "test") for example in load_examples(load_task(str(task)), split)
    ]
    assert len(examples) == 59
    targets = {target for example in examples for target in example.targets}
    assert targets == ({"0", "1", "2"} if name != "rows.csv" else {"0.0", "1.0", "2.0"})
    assert [example.prompt for example in examples if example.prompt.startswith("number 9")] == ["number 9"]


def test_a_target_that_is_an_object_is_json(tmp_path: Path) -> None:
    rows = [{"text": f"t{n}", "entities": {"name": f"Ada {n}", "ok": True, "none": None}} for n in range(40)]
    write_rows(tmp_path / "rows.jsonl", rows)
    task = tmp_path / "task.yaml"
    task.write_text(
        "name: ie\nsource: rows.jsonl\ntarget: '{{ entities }}'\nmetrics: [exact_match]\n"
        "templates: [{name: plain, prompt: '{{ text }}'}]\n"
    )
    for example in load_examples(load_task(str(task)), "train"):
        assert json.loads(example.targets[0]) == next(r["entities"] for r in rows if r["text"] == example.prompt)


def exact_match(path: Path, *, allow_empty: bool = False, references: tuple[Path, ...] = ()) -> float:
    systems = load_systems(ScoreInputs((path,), references, allow_empty=allow_empty))
    return score_predictions(systems[0].predictions, ["exact_match"], resamples=0)[0].value


@pytest.mark.parametrize(
    ("prediction", "reference"),
    [
        ("Paris", {"text": ["Paris", "paris"], "answer_start": [0, 4]}),
        ("Paris", json.dumps({"text": ["Paris"], "answer_start": [0]})),
        ("true", True),
        (1.0, 1),
        ("1", 1.0),
        ('{"a": 1}', {"a": 1}),
        ("b", ["a", None, "b"]),
    ],
)
def test_equal_values_score_as_equal(tmp_path: Path, prediction: object, reference: object) -> None:
    path = write_rows(tmp_path / "p.jsonl", [{"prediction": prediction, "target": reference}])
    assert exact_match(path) == 1.0


@pytest.mark.parametrize("name", ["p.jsonl", "p.parquet"])
def test_a_prediction_that_is_missing_is_an_empty_answer_when_asked_for(tmp_path: Path, name: str) -> None:
    rows: list[dict[str, Any]] = [{"prediction": "a", "target": "a"}, {"prediction": None, "target": "b"}]
    path = write_rows(tmp_path / name, rows)
    with pytest.raises(LuthierError, match=r"(line|row) 2: The text is empty"):
        exact_match(path)
    assert exact_match(path, allow_empty=True) == 0.5


@pytest.mark.parametrize("reference", [None, NAN, [], [None]])
def test_a_reference_that_is_missing_makes_no_answer_right(tmp_path: Path, reference: object) -> None:
    rows = [{"prediction": "", "target": reference}, {"prediction": None, "target": reference}]
    path = write_rows(tmp_path / "p.jsonl", [{"prediction": "a", "target": "a"}, *rows])
    for allow_empty in (False, True):
        with pytest.raises(Faults, match="line 2: 'target' is missing"):
            exact_match(path, allow_empty=allow_empty)


def test_a_question_without_an_answer_is_answered_by_nothing(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "p.jsonl", [{"prediction": "", "target": {"text": [], "answer_start": []}}])
    assert exact_match(path, allow_empty=True) == 1.0
