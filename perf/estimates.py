"""Compare what `luthier compare --dry-run` says that a run takes with what it then takes.

    python perf/estimates.py                       # the runs on `mini`: about ten minutes
    python perf/estimates.py full choices          # some of them, by name
    python perf/estimates.py --real                # also SmolLM2-135M on DialogSum (../shared/data), in six minutes

Each run is estimated and then done in a process of its own, with an empty store, its units of work timed by a clock.
Estimated and measured are side by side, so that other work on the machine falls on both alike; the share of the
processor that each got (CPU seconds for each wall second) shows whether it did, and the last column is the ratio of CPU
seconds, on which other work falls least.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DIALOGSUM = ROOT.parent / "shared" / "data" / "dialogsum"
ALLOWED = 0.3

RUNS: dict[str, dict[str, Any]] = {
    "demo": {
        "arms": ["zero_shot", "few_shot", "lora"],
        "retain": ["reading_qa", "topic", "translation_en_es"],
    },
    "full": {"arms": ["zero_shot", "full"], "retain": [], "retention_text": None, "data": {"train": 160}},
    "choices": {
        "task": "topic",
        "arms": ["zero_shot", "few_shot", "lora"],
        "retain": ["counting"],
        "seeds": 2,
        "data": {"train": 240},
    },
    "selective": {
        "task": "translation_en_es",
        "arms": ["zero_shot", "selective", "adapter"],
        "retain": ["entailment"],
        "data": {"train": 200},
    },
    "soft_prompt": {"arms": ["prompt_tuning", "prefix_tuning"], "retain": [], "data": {"train": 80, "test": 60}},
}
"""Settings of each run; what is not said is the default of `luthier compare`."""
REAL = {
    "smollm2": {
        "arms": ["zero_shot", "lora"],
        "retain": ["topic"],
        "retention_text": None,
        "data": {"train": 24, "validation": 8, "test": 12, "max_length": 512},
        "training": {"epochs": 1, "batch_size": 8, "validations": 1, "validation_examples": 8},
        "evaluation": {"retain_examples": 20},
    }
}
TASK = """
name: dialogsum
source: {{train: {0}/train.jsonl, validation: {0}/dev.jsonl, test: {0}/test.jsonl}}
id: fname
input: dialogue
target: "{{{{ summary }}}}"
splits: {{test: {{target: "{{{{ summary1 }}}}"}}}}
metrics: [rouge]
primary: rougeL
max_new_tokens: 48
templates: [{{name: plain, prompt: "{{{{ dialogue }}}}\\n\\nSummary:"}}]
"""


def settings_of(name: str, folder: Path) -> dict[str, Any]:
    """Return the settings of a run."""
    if name not in REAL:
        return {**RUNS[name], "runs": str(folder / "runs"), "device": "cpu"}
    sys.path.insert(0, str(ROOT / "tests"))
    from real_models import SMOLLM2, fetch

    task = folder / "dialogsum.yaml"
    task.write_text(TASK.format(DIALOGSUM), encoding="utf-8")
    own = {"model": str(fetch(SMOLLM2)), "task": str(task), "runs": str(folder / "runs"), "device": "cpu"}
    return {**REAL[name], **own}


def measure(name: str) -> dict[str, Any]:
    """Estimate a run and do it; return the seconds of each arm, estimated and measured."""
    from luthier.config.compare import CompareConfig
    from luthier.experiments.forecast import forecast
    from luthier.experiments.libraries import import_lazy_libraries
    from luthier.experiments.plan import read_plan
    from luthier.experiments.run_unit import running
    from luthier.experiments.workload import units_of
    from luthier.quiet import quiet_libraries

    quiet_libraries()
    import_lazy_libraries()
    measured: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    with tempfile.TemporaryDirectory() as folder:
        plan = read_plan(CompareConfig.model_validate(settings_of(name, Path(folder))))
        began = _clocks()
        found = forecast(plan)
        share = _share(began)
        began = _clocks()
        with running(plan) as runner:
            for unit in units_of(plan):
                before = _clocks()
                runner.run(unit)
                for number, now in enumerate(_clocks()):
                    measured[unit.arm or "base"][number] += now - before[number]
    wall, cpu = (now - before for now, before in zip(_clocks(), began, strict=True))
    arms = [(arm.counts.label, arm.seconds, *measured[arm.counts.label]) for arm in found.arms]
    shares = (share, cpu / wall)
    return {"arms": [*arms, ("all", found.seconds, wall, cpu)], "took": found.measuring_seconds, "shares": shares}


def _clocks() -> tuple[float, float]:
    """Return the wall and the CPU seconds of this process."""
    return time.monotonic(), time.process_time()


def _share(began: tuple[float, float]) -> float:
    wall, cpu = (now - before for now, before in zip(_clocks(), began, strict=True))
    return cpu / wall


def main() -> None:
    """Measure each run in a process of its own, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="RUN", help=", ".join([*RUNS, *REAL]))
    parser.add_argument("--real", action="store_true", help="also on a real model")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one)))
        return
    print(f"{'run':12} {'arm':14} {'estimated s':>11} {'measured s':>11} {'ratio':>6} {'of CPU s':>9}")
    outside = 0
    for name in given.runs or [*RUNS, *(REAL if given.real else ())]:
        command = [sys.executable, __file__, "--one", name]
        ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(ran.stdout.strip().splitlines()[-1])
        before, during = found["shares"]
        for arm, estimated, wall, cpu in found["arms"]:
            ratios = f"{estimated / wall:6.2f} {estimated * before / cpu:9.2f}"
            print(f"{name:12} {arm:14} {estimated:11.1f} {wall:11.1f} {ratios}")
        _, estimated, wall, _ = found["arms"][-1]
        outside += not 1 - ALLOWED <= estimated / wall <= 1 + ALLOWED
        shares = f"{before:.2f} CPU seconds a second, then {during:.2f}"
        print(f"{'':12} estimated in {found['took']:.1f} s; {shares}", flush=True)
    print(f"runs that are estimated with an error above {ALLOWED:.0%}: {outside}")


if __name__ == "__main__":
    main()
