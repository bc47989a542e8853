"""Measure a training beside a busy process against the time that a fair share of the processor allows.

    python perf/contention.py                # 64 rows of the demo's task on `mini`; some minutes
    python perf/contention.py --rows 320

A process that only counts runs beside the training, and shows what one thread gets on this machine at this moment,
whatever else runs: a share ``s`` of a core. With ``T`` threads on ``N`` cores a fair scheduler gives the training
``min(T s, N - s)`` cores, and the CPU-fair time is the CPU time of the same training with one thread, divided by that.
Threads that spin while they wait (torch's default) are measured for comparison.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

BUSY = "while True: pass"
TRAINING = """
import sys, tempfile, time
from pathlib import Path
import luthier
from luthier.quiet import quiet_libraries
quiet_libraries()

def train(rows, out):
    luthier.tune(luthier.TuneConfig.model_validate({
        "model": "mini", "task": "dialogue_summary", "arm": "full", "runs": out, "device": "cpu",
        "data": {"train": rows}, "training": {"epochs": 1, "validations": 0, "batch_size": 16},
    }))

with tempfile.TemporaryDirectory() as folder:
    train(16, Path(folder) / "first")  # libraries are loaded, kernels verified
    import torch
    print("begin", flush=True)
    sys.stdin.readline()
    wall, cpu = time.monotonic(), time.process_time()
    train(int(sys.argv[1]), Path(folder) / "second")
    print(time.monotonic() - wall, time.process_time() - cpu, torch.get_num_threads(), flush=True)
    sys.stdin.readline()
"""
_OURS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True)
class Measured:
    """One training.

    Attributes:
        wall: Seconds.
        cpu: Seconds of all threads.
        threads: Of torch.
        share: Of a core, that the counting process got meanwhile; 0 where there was none.
    """

    wall: float
    cpu: float
    threads: int
    share: float


def measure(rows: int, *, busy: bool, **variables: str) -> Measured:
    """Train in a process of its own, beside a counting process or not, with some variables set."""
    environment = {name: value for name, value in os.environ.items() if name not in _OURS} | variables
    counting = subprocess.Popen([sys.executable, "-c", BUSY]) if busy else None
    training = subprocess.Popen(
        [sys.executable, "-c", TRAINING, str(rows)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    try:
        assert training.stdin is not None
        assert training.stdout is not None
        assert training.stdout.readline() == "begin\n"
        began, before = time.monotonic(), _cpu_seconds(counting)
        print("", file=training.stdin, flush=True)
        wall, cpu, threads = training.stdout.readline().split()
        share = (_cpu_seconds(counting) - before) / (time.monotonic() - began)
        return Measured(float(wall), float(cpu), int(threads), share)
    finally:
        for process in (training, counting):
            if process is not None:
                process.kill()
                process.wait()


def _cpu_seconds(process: subprocess.Popen[bytes] | None) -> float:
    if process is None:
        return 0.0
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def main() -> int:
    """Print the table, and write it to ``perf/contention.md`` if asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="write perf/contention.md")
    options = parser.parse_args()
    if not Path("/proc/self/stat").exists():
        print("only Linux says what a process has computed")
        return 0
    cores = len(os.sched_getaffinity(0))
    needed = min(measure(options.rows, busy=False, OMP_NUM_THREADS="1").cpu for _ in range(options.repeats))
    lines = [f"{'':<34}{'threads':>8}{'share':>8}{'wall':>10}{'CPU-fair':>10}{'ratio':>8}"]
    ratios: dict[str, float] = {}
    for name, variables in (
        ("Luthier", {}),
        ("Luthier, one thread", {"OMP_NUM_THREADS": "1"}),
        ("threads that spin (KMP_BLOCKTIME)", {"KMP_BLOCKTIME": "200"}),
    ):
        once = 1 if "spin" in name else options.repeats
        runs = [measure(options.rows, busy=True, **variables) for _ in range(once)]
        best = min(runs, key=lambda run: _ratio(run, needed, cores))
        ratios[name] = _ratio(best, needed, cores)
        fair = best.wall / ratios[name]
        lines.append(
            f"{name:<34}{best.threads:>8}{best.share:>8.2f}{best.wall:>8.1f} s{fair:>8.1f} s{ratios[name]:>7.2f} ×"
        )
    text = "\n".join((f"{needed:.1f} CPU seconds with one thread, {cores} cores, best of {options.repeats}", *lines))
    print(text)
    if options.write:
        heading = "# Beside a busy process\n\n"
        command = (
            f"`python perf/contention.py --rows {options.rows}`, {platform.machine()}, while other work was done.\n\n"
        )
        Path(__file__).with_suffix(".md").write_text(f"{heading}{command}```text\n{text}\n```\n")
    return int(ratios["Luthier"] > 1.3)


def _ratio(run: Measured, needed: float, cores: int) -> float:
    share = min(run.threads * run.share, cores - run.share)
    return run.wall * share / needed


if __name__ == "__main__":
    raise SystemExit(main())
