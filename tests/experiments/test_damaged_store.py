"""Whatever is changed in the store between two runs is named, and made again on request: never used, never a crash."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from luthier.errors import StoreError
from luthier.experiments.compare import compare
from small_job import Done


def reorder(text: str) -> str:
    first, *rest = text.splitlines(keepends=True)
    return "".join([*rest, first])


def edit(text: str) -> str:
    return text.replace('"text"', '"text" ', 1)


def empty(_: str) -> str:
    return ""


def other_numbers(text: str) -> str:
    return json.dumps({name: 7 if name == "stored_bytes" else value for name, value in json.loads(text).items()})


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("predictions/*/predictions.jsonl", reorder),
        ("predictions/*/predictions.jsonl", edit),
        ("predictions/*/predictions.jsonl", empty),
        ("predictions/*/costs.json", empty),
        ("models/*/result.json", other_numbers),
        ("models/*/log.jsonl", empty),
        ("latency/*/latency.json", edit),
        ("latency/*/latency.json", empty),
        ("texts/*/predictions.jsonl", reorder),
    ],
)
def test_changed_results_are_named_and_made_again(
    file: str, change: Callable[[str], str], done: Done, tmp_path: Path
) -> None:
    if done.kind != "llama":
        pytest.skip("the store does not know which model it is")
    out = tmp_path / "runs"
    shutil.copytree(done.config.runs, out)
    paths = sorted(out.glob(f"store/{file}"))  # other tests of the session may have left entries that this run lacks
    for path in paths:
        before = path.read_text()
        path.write_text(change(before) or "")
        if path.read_text() == before:
            path.write_text(before + " ")
    config = done.config.model_copy(update={"runs": out})
    with pytest.raises(StoreError, match="the stored result is damaged") as fault:
        compare(config)
    assert any(str(path.parent) in str(fault.value) for path in paths)
    run = compare(config.model_copy(update={"remake_damaged": True}))
    if "costs" not in file and "latency" not in file:
        assert (run / "results.json").read_bytes() == (done.run / "results.json").read_bytes()
