"""Measure an evaluation of 10,000 requests: its memory beside that of 1,000, its progress, and what a SIGKILL costs.

    python perf/many_requests.py

Half of the requests are choices, half free text, to a tiny Llama with random weights: everything but the model is
measured. Prints the peak resident memory, the time and the progress lines of each run; then kills the large run twice
with SIGKILL, completes it and compares its log with the uninterrupted run's, bit for bit. Exits with 1 if the log
differs, an example was answered twice, or an additional request takes more memory than the budget.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from many_requests import (
    TASKS,
    Evaluation,
    MeasuredProcess,
    answers,
    kept_answers,
    logged,
    run,
    run_and_kill,
    said,
    without_seconds,
    write_evaluation,
)
from tiny_models import tiny_folder

BUDGET = 6 * 1024
"""Bytes that an additional request may take: its text, tokens and answer, and nothing that the model computes."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, nargs=2, default=(1_000, 10_000), help="of the small and the large run")
    parser.add_argument("--model", default="llama", help="llama, t5 … (tests/tiny_models.py)")
    options = parser.parse_args()
    few, many = options.requests
    with tempfile.TemporaryDirectory() as name:
        folder, model = Path(name), tiny_folder(options.model)
        print(f"{'requests':>10}{'peak MiB':>10}{'seconds':>10}   progress", flush=True)
        small, large = (write_evaluation(folder / f"job-{count}", model, count) for count in (few, many))
        peaks = [
            _measured(evaluation, folder / f"runs-{evaluation.requests}").peak_bytes for evaluation in (small, large)
        ]
        each = (peaks[1] - peaks[0]) / (many - few)
        print(f"one request more takes {each / 1024:.1f} KiB; the budget is {BUDGET / 1024:.0f} KiB")
        wrong = _killed(large, folder / "killed", folder / f"runs-{many}")
    return 1 if wrong or each > BUDGET else 0


def _measured(evaluation: Evaluation, out: Path) -> MeasuredProcess:
    measured = run(evaluation, out)
    lines = [line for line in said(out).read_text().splitlines() if " examples, " in line]
    shown = f"{len(lines)} lines, such as '{lines[0]}'"
    print(
        f"{evaluation.requests:>10,}{measured.peak_bytes / 2**20:>10.0f}{measured.seconds:>10.1f}   {shown}", flush=True
    )
    return measured


def _killed(evaluation: Evaluation, out: Path, whole: Path) -> bool:
    """Kill an evaluation in the middle of each task, finish it, and say what differs."""
    differs = False
    before = {}
    for task in TASKS:

        def some_answered(task: str = task) -> bool:
            return len(logged(out, task)) > evaluation.requests // 4

        run_and_kill(evaluation, out, some_answered)
        before[task] = logged(out, task)
    run(evaluation, out)
    for task in TASKS:
        log = answers(out, task)
        again = sum(own.seconds != before[task].get(own.id, own.seconds) for own in log)
        same = without_seconds(log) == without_seconds(answers(whole, task))
        differs |= not same or again > 0
        print(
            f"{task}: killed when {len(before[task]):,} of {len(log):,} were answered; {again} of them answered again; "
            f"the log {'is' if same else 'DIFFERS FROM'} the uninterrupted one"
        )
    kept = kept_answers(out)
    print(f"{len(kept):,} answers were kept for later evaluations, {len(kept) - len(set(kept))} of them twice")
    return differs or len(set(kept)) < len(kept)


if __name__ == "__main__":
    raise SystemExit(main())
