"""The tutorial runs from its first cell to its last, and what is stored with it is what its cells show today."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nbformat")
pytest.importorskip("nbclient")

from docs.tutorial import NOTEBOOK, read, run

_NUMBER = re.compile(r"(?<![\w.])[-−+]?\d[\d,]*\.?\d*(?!\w)")
_DIGEST = re.compile(r"\b[0-9a-f]{8,32}\b")
ABSOLUTE = re.compile(r"(?<![\w.~:/<])/(?:tmp|home|root|usr|opt|Users|work)\b")


class _Table(HTMLParser):
    """The headings of a display, its summaries and titles, and the numbers in its cells."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.headings: list[str] = []
        self.cells: list[str] = []
        self._into: list[str] | None = None
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("th", "summary", "td"):
            self._into = self.cells if tag == "td" else self.headings
            self._into.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("th", "summary", "td"):
            self._into = None

    def handle_data(self, data: str) -> None:
        if self._into is not None:
            self._into[-1] += data


def words(text: str) -> str:
    """What a text says beside numbers and digests, which are others on another machine."""
    return _NUMBER.sub("#", _DIGEST.sub("#", re.sub("(computing with|tokens: about) .*", "measured", text)))


def numbers(text: str) -> list[float]:
    return [float(found.replace(",", "").replace("−", "-")) for found in _NUMBER.findall(_DIGEST.sub("", text))]


def close(one: float, other: float) -> bool:
    """Whether two measurements are the same but for float32 sums in another order: a few answers differ."""
    greatest = max(abs(one), abs(other))
    return abs(one - other) <= (0.1 if greatest <= 1 else 3 + 0.2 * greatest)


def stale(stored: Any, fresh: Any) -> list[str]:
    """Say which outputs of a cell are no longer what it shows."""
    if [item["output_type"] for item in stored.outputs] != [item["output_type"] for item in fresh.outputs]:
        return [f"{stored.id}: it shows something of another kind"]
    found = []
    for old, new in zip(stored.outputs, fresh.outputs, strict=True):
        said = [words(item["text"] if "text" in item else item["data"]["text/plain"]) for item in (old, new)]
        if said[0] != said[1]:
            found.append(f"{stored.id}: it says {said[1]!r}, and {said[0]!r} is stored")
        tables = [_Table(item["data"].get("text/html", "") if "data" in item else "") for item in (old, new)]
        if words(str(tables[0].headings)) != words(str(tables[1].headings)):
            found.append(f"{stored.id}: the headings are {tables[1].headings}, and {tables[0].headings} is stored")
        elif len(tables[0].cells) != len(tables[1].cells):
            found.append(f"{stored.id}: the tables have other cells")
        elif "measured" not in stored.metadata.get("tags", []):
            pairs = [(a, b) for a, b in zip(tables[0].cells, tables[1].cells, strict=True) if not _alike(a, b)]
            found += [f"{stored.id}: {new!r} stands where {old!r} is stored" for old, new in pairs]
    return found


def _alike(one: str, other: str) -> bool:
    # What a test would have found is said only where it found nothing, which few answers decide.
    left, right = (numbers(re.sub(r"detects [\d.]+", "", text)) for text in (one, other))
    return len(left) == len(right) and all(close(a, b) for a, b in zip(left, right, strict=True))


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_it_is_stored_as_it_was_run_from_top_to_bottom_and_is_small() -> None:
    cells = code(read())
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output["output_type"] for cell in cells for output in cell.outputs}
    assert kinds == {"stream", "execute_result"}, "no error, and no place of progress that has ended"
    assert {output["name"] for cell in cells for output in cell.outputs if "name" in output} == {"stdout"}
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < 100_000
    assert not ABSOLUTE.search(text), "a path of the machine that it was run on"


def test_it_shows_the_road_from_rows_to_an_adapter() -> None:
    source = "\n".join(cell.source for cell in code(read()))
    verbs = ("load_task(", "load_examples(", "evaluate(", "compare(", "read_results(", "tune(", "predict(", "Model(")
    assert not [verb for verb in verbs if f"luthier.{verb}" not in source]
    shown = [output["data"] for cell in code(read()) for output in cell.outputs if "data" in output]
    assert sum("text/html" in data for data in shown) >= 6, "tables stand in place"
    assert 'arms=("zero_shot", "few_shot", "full", "lora")' in source
    assert "except luthier.LuthierError as error" in source


def test_what_is_stale_is_noticed() -> None:
    cell = next(cell for cell in code(read()) if "RunResults" in str(cell.outputs))
    table = cell.outputs[-1]["data"]["text/html"]

    def changed(old: str, new: str) -> list[str]:
        other = cell.copy()
        other.outputs = [{**output} for output in cell.outputs]
        assert old in table
        other.outputs[-1]["data"] = {**cell.outputs[-1]["data"], "text/html": table.replace(old, new)}
        return stale(cell, other)

    assert stale(cell, cell) == []
    assert "the headings are" in changed("Other tasks (points)", "Other tasks")[0]
    assert "the tables have other cells" in changed('<td class="number muted">0.250</td>', "")[0]
    assert "stands where" in changed('<td class="number muted">0.250</td>', '<td class="number">0.750</td>')[0]
    assert changed('<td class="number muted">0.250</td>', '<td class="number">0.252</td>') == []
    silent = cell.copy()
    silent.outputs = cell.outputs[1:]
    assert stale(cell, silent) == [f"{cell.id}: it shows something of another kind"]


@pytest.mark.slow
def test_every_cell_runs_and_shows_what_is_stored(tmp_path: Path) -> None:
    stored = read()
    fresh = run(read(), tmp_path)
    found = [fault for old, new in zip(code(stored), code(fresh), strict=True) for fault in stale(old, new)]
    assert not found, "run `make docs` and look at what changed:\n" + "\n".join(found)
    assert (tmp_path / "runs" / "first" / "results.json").is_file()
    assert (tmp_path / "answered.jsonl").read_text(encoding="utf-8").count("\n") == 3
