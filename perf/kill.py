"""Kill `luthier compare` with SIGKILL at random times in training and evaluation, and compare results bit for bit.

    python perf/kill.py --times 10

Prints one line per kill: when it happened, and which of results.json, the stored weights and their cards differ from
those of an uninterrupted run after the same command was run again. Exits with 1 if anything differs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from killing import kills
from tiny_models import tiny_folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10, help="kills in each stage")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--model", default="llama", help="llama, t5 … (tests/tiny_models.py)")
    options = parser.parse_args()
    wrong = 0
    print(f"{'stage':<12}{'killed at line':>16}{'of':>7}   differs from the uninterrupted run")
    with tempfile.TemporaryDirectory() as folder:
        for kill in kills(Path(folder), tiny_folder(options.model), times=options.times, seed=options.seed):
            wrong += bool(kill.differing)
            print(
                f"{kill.stage:<12}{kill.at:>16}{kill.total:>7}   {', '.join(kill.differing) or 'nothing'}", flush=True
            )
    print(f"{2 * options.times - wrong} of {2 * options.times} runs are the uninterrupted one, bit for bit")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
