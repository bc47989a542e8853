"""Keep what a run found, without what it quotes: ``python -m recipes.claims.keep RUN`` writes ``results/NAME/``.

``results.json`` shows the most frequent answers of each arm. Answers repeat parts of the rows, whose licence is not
this project's, so they are left out; everything else is as the run wrote it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def keep(run: Path) -> Path:
    """Write both files of a run's folder; return the folder that holds them now."""
    out = RESULTS / run.name
    out.mkdir(parents=True, exist_ok=True)
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    for arm in results["arms"]:
        arm["answers"] = None
    written = json.dumps(results, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    (out / "results.json").write_text(written, encoding="utf-8")
    (out / "costs.json").write_bytes((run / "costs.json").read_bytes())
    return out


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m recipes.claims.keep RUN")
    print(keep(Path(sys.argv[1])))
