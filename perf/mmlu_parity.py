"""Check all 57 subjects of MMLU against lm-eval's own evaluation with its ``hf`` model: all questions, or some of each.

    python perf/mmlu_parity.py                    # stories260k, every question, no exemplars; minutes
    python perf/mmlu_parity.py --limit 20 --only anatomy,virology --model FOLDER

The tokens of every request must be equal, log-probabilities within 2e-4, and the likeliest answers the same but where
the two best are nearer than 4e-4; the numbers of lm-eval's responses must be its own to 1e-12. The first subject that
is not so ends it with an error.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from lm_eval_both import check, run_both
from lm_eval_local import write_tasks

SHARED = Path(__file__).resolve().parents[2] / "shared"


def compare(subject: str, model: Path, limit: int | None) -> tuple[int, float]:
    """Compare one subject; return its number of questions and the accuracy."""
    name = f"mmlu_{subject}"
    with tempfile.TemporaryDirectory() as folder:
        tasks = Path(folder, "tasks")
        write_tasks([name], limit, data=SHARED / "data", folder=tasks)
        both = run_both([name], tasks, model, Path(folder, "runs"))
        check(both, name)
        score = both.ours[name].scores[0]
        return score.n, score.value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=SHARED / "models" / "stories260k")
    parser.add_argument("--limit", type=int, help="questions of each subject at most, drawn by hash")
    parser.add_argument("--only", help="some subjects")
    options = parser.parse_args()
    files = (SHARED / "data" / "mmlu" / "test").glob("*_test.csv")
    known = sorted(path.name.removesuffix("_test.csv") for path in files)
    subjects = options.only.split(",") if options.only else known
    questions, right, started = 0, 0.0, time.monotonic()
    for subject in subjects:
        count, value = compare(subject, options.model, options.limit)
        questions, right = questions + count, right + count * value
        print(f"{subject:<42}{count:>6} questions, accuracy {value:.4f}: equal", flush=True)
    seconds = time.monotonic() - started
    print(f"{len(subjects)} subjects, {questions:,} questions, accuracy {right / questions:.4f}, in {seconds:.0f} s")


if __name__ == "__main__":
    main()
