"""A file of a million rows would be checked and split in bounded memory: what a row takes is measured on fewer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FEW, MANY, ALL = 20_000, 120_000, 1_000_000
LIMIT = 1.5 * 1024**3

PROGRAM = """
import json, re, sys, time
sys.path.insert(0, sys.argv[2])
from tiny import tiny_tokenizer
from luthier.data.check import fatal
from luthier.tasks.check_task import run_check
started = time.monotonic()
report = run_check(sys.argv[1], tiny_tokenizer(), encoder_decoder=False, max_length=128)
print(json.dumps({
    "peak": int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1024,
    "seconds": time.monotonic() - started,
    "rows": report.rows,
    "examples": {split.split: split.examples for split in report.splits},
    "sentences": report.sentences,
    "fatal": [str(fault) for fault in fatal(report, 0.1)],
}))
"""


def checked(path: Path, rows: int) -> dict[str, Any]:
    """Write a file of so many rows and check it in a process of its own."""
    with path.open("w") as file:
        for number in range(rows):
            # Row 0 again at every 1,000th: duplicates, wherever row 0 was drawn to.
            shown = 0 if number % 1000 == 0 else number
            row = {"prompt": f"the cat {shown} sat on the mat. once upon a time?", "completion": f"yes {shown}"}
            file.write(json.dumps(row) + "\n")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), str(Path(__file__).parents[1])],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["rows"] == rows
    assert found["fatal"] == []
    assert sum(found["examples"].values()) in (rows - (rows // 1000 - 1), rows)
    assert found["examples"]["test"] == pytest.approx(rows / 10, rel=0.05)
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is not told here")
def test_a_million_rows_fit_into_the_memory(tmp_path: Path) -> None:
    few, many = (checked(tmp_path / f"{rows}.jsonl", rows) for rows in (FEW, MANY))
    of_a_row = (many["peak"] - few["peak"]) / (MANY - FEW)
    print(f"{of_a_row:.0f} bytes a row beside {few['peak'] - FEW * of_a_row:,.0f}")
    assert few["peak"] + of_a_row * (ALL - FEW) < LIMIT
