"""A file of a million rows is checked and split in bounded memory, by a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROWS = 1_000_000
LIMIT = 1.5 * 1024**3

PROGRAM = """
import json, resource, sys, time
sys.path.insert(0, sys.argv[2])
from tiny import tiny_tokenizer
from luthier.data.check import fatal
from luthier.tasks.check_task import run_check
started = time.monotonic()
report = run_check(sys.argv[1], tiny_tokenizer(), encoder_decoder=False, max_length=128)
print(json.dumps({
    "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    "seconds": time.monotonic() - started,
    "rows": report.rows,
    "examples": {split.split: split.examples for split in report.splits},
    "sentences": report.sentences,
    "fatal": [str(fault) for fault in fatal(report, 0.1)],
}))
"""


@pytest.mark.slow
def test_million_rows_within_memory(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with path.open("w") as file:
        for number in range(ROWS):
            # Row 0 again at every 1,000th: 999 duplicates, wherever row 0 was drawn to.
            shown = 0 if number % 1000 == 0 else number
            row = {"prompt": f"the cat {shown} sat on the mat. once upon a time?", "completion": f"yes {shown}"}
            file.write(json.dumps(row) + "\n")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), str(Path(__file__).parents[1])],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    print(found)
    assert found["peak"] < LIMIT
    assert found["rows"] == ROWS
    assert found["fatal"] == []
    assert sum(found["examples"].values()) in (ROWS - 999, ROWS)
    assert found["examples"]["test"] == pytest.approx(ROWS / 10, rel=0.02)
