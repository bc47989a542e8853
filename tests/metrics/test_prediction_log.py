"""The log of predictions comes back as it was; damage is named with its line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.errors import DataError, Faults
from luthier.metrics.prediction_log import read_predictions, write_predictions
from luthier.records import Prediction

TEXT = st.text(st.characters(), max_size=20)
FLOAT = st.floats(allow_nan=False)
PREDICTIONS = st.builds(
    Prediction,
    id=TEXT,
    task=TEXT,
    text=TEXT,
    targets=st.lists(TEXT, max_size=3).map(tuple),
    choices=st.lists(TEXT, max_size=3).map(tuple),
    choice_logprobs=st.lists(FLOAT, max_size=3).map(tuple),
    choice_tokens=st.lists(st.integers(0, 99), max_size=3).map(tuple),
    prompt_tokens=st.integers(0, 10**9),
    seconds=FLOAT,
    finish=st.sampled_from(["stop", "length", "choice"]),
    group=TEXT,
    choice_greedy=st.lists(st.booleans(), max_size=3).map(tuple),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(PREDICTIONS, max_size=4))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, predictions: list[Prediction]) -> None:
    path = tmp_path_factory.mktemp("log") / "predictions.jsonl"
    write_predictions(path, predictions)
    assert read_predictions(path) == predictions


def test_awkward_floats_and_texts(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    values = (0.1 + 0.2, 5e-324, -math.inf, math.inf, math.nan)
    write_predictions(path, [Prediction("\ud800", "t", "a\u2028b\nc\x00", ("x",), tuple("abcde"), values, (1,) * 5)])
    for line in path.read_bytes().splitlines()[:1]:
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    back = read_predictions(path)[0]
    assert back.choice_logprobs[:4] == values[:4]
    assert math.isnan(back.choice_logprobs[4])
    assert (back.id, back.text) == ("\ud800", "a\u2028b\nc\x00")


GOOD = '{"id": "0", "task": "t", "text": "a", "targets": ["a"]}\n'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"id": "1", "task": "t", "te', "line 2: The line is not JSON"),
        (b"[1, 2]", "line 2: The line is not a prediction but a list"),
        (b'{"id": "1"}', "line 2: The prediction lacks task, text, targets"),
        (b'{"id": "1", "task": "t", "text": 5, "targets": []}', "line 2: 'text' must be a string, not 5"),
        (b'{"id": "1", "task": "t", "text": "", "targets": "a"}', "line 2: 'targets' must be a list"),
        (b'{"id": "1", "task": "t", "text": "", "targets": [], "seconds": "1"}', "'seconds' must hold numbers"),
        (b'{"id": "1", "task": "t", "text": "", "targets": [], "choice": []}', "Did you mean 'choices'"),
        (b'{"id": ' + b"9" * 5000 + b"}", "line 2: The line .* thousands of digits"),
        (b"[" * 100_000, "line 2: The line is nested too deeply"),
        (b'{"id": "\xff"}', "line 2: Byte 9 of the line is not UTF-8"),
    ],
)
def test_damage_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(GOOD.encode() + line + b"\n")
    with pytest.raises(DataError, match=message.replace("[", r"\[")):
        read_predictions(path)


def test_all_damaged_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text("{\n" + GOOD + "]\n")
    with pytest.raises(Faults, match=r"2 lines of (.|\n)*line 1(.|\n)*line 3"):
        read_predictions(path)


def test_a_missing_file_and_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing\.jsonl: The predictions cannot be read: No such file"):
        read_predictions(tmp_path / "nothing.jsonl")
    with pytest.raises(DataError, match="cannot be written: No such file"):
        write_predictions(tmp_path / "no" / "p.jsonl", [])


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    write_predictions(path, [Prediction("0", "t", "old", ("x",))])

    def broken() -> object:
        yield Prediction("1", "t", "new", ("x",))
        raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match="No space left on device"):
        write_predictions(path, broken())  # type: ignore[arg-type]
    assert read_predictions(path)[0].text == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["p.jsonl"]
