"""The model card says which stages a second run of the recipe made again."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from recipes.mini.build import stages_of
from recipes.mini.card import stage_table


def test_stages_are_compared_by_their_weights(tmp_path: Path) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    for folder, contents in (
        (first, {"base": b"1", "instructed": b"2", "mini": b"3"}),
        (again, {"base": b"1", "mini": b"4"}),
    ):
        for name, weights in contents.items():
            (folder / name).mkdir(parents=True)
            (folder / name / "model.safetensors").write_bytes(weights)
    one, two, three, four = (hashlib.sha256(weights).hexdigest() for weights in (b"1", b"2", b"3", b"4"))
    assert list(stages_of(first)) == ["base", "instructed", "mini"]
    assert stage_table(stages_of(first), stages_of(again)).splitlines()[2:] == [
        f"| base | `{one}` | the same |",
        f"| instructed | `{two}` | – |",
        f"| mini | `{three}` | `{four}` |",
    ]
