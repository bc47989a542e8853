"""Lay out the public data of the claims' runs beside their task files.

``python -m recipes.claims.prepare DATA OUT`` copies the task files of this folder to OUT, and the rows that they name
from DATA (folders ``dialogsum`` and ``glue/SST2``, as their authors publish them). OUT is not part of the project: the
rows' licences allow research only.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

ROWS = {
    "dialogsum": ("dialogsum/train.jsonl", "dialogsum/dev.jsonl", "dialogsum/test.jsonl"),
    "sst2": ("glue/SST2/train.tsv", "glue/SST2/dev.tsv"),
}
"""For each folder of rows beside the task files, the files of DATA that go into it."""


def prepare(data: Path, out: Path) -> None:
    """Copy the task files, the configurations and the rows.

    Raises:
        FileNotFoundError: When DATA lacks a file.
    """
    out.mkdir(parents=True, exist_ok=True)
    for written in sorted(Path(__file__).parent.glob("*.yaml")):
        shutil.copy(written, out)
    for folder, files in ROWS.items():
        (out / folder).mkdir(exist_ok=True)
        for name in files:
            shutil.copy(data / name, out / folder)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m recipes.claims.prepare DATA OUT")
    prepare(Path(sys.argv[1]), Path(sys.argv[2]))
