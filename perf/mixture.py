"""How soon a training on a large mixture begins, what memory it takes, and how near its shares are to what was asked.

    python perf/mixture.py                    # 100,000 examples of 12 sources: ../shared/data and built-in tasks
    python perf/mixture.py --data DIR --size 1000

Run in a process of its own; the time is from the start of the process to the end of the first optimizer step on
`mini`, imports and model included, and the memory is the peak of the process less that with the model loaded.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
HATE_SPEECH = {
    "name": "hate_speech",
    "source": "hate_speech/labeled_data.csv",
    "input": "tweet",
    "target": "{{ ['hate speech', 'offensive', 'neither'][class|int] }}",
    "choices": ["hate speech", "offensive", "neither"],
    "metrics": ["accuracy"],
    "templates": [
        {"name": "kind", "prompt": "Is this hate speech, offensive, or neither?\n\n{{ tweet }}\n\nAnswer:"},
        {"name": "label", "prompt": "{{ tweet }}\n\nhate speech, offensive or neither?"},
    ],
}
TASKS = (
    *("dialogsum", "multi30k_en-de", "multi30k_de-en", "multi30k_en-fr", "multi30k_fr-en", "hate_speech.yaml"),
    *("ALPACA", "dialogue_summary", "topic", "reading_qa", "entailment", "review_sentiment"),
)
WINDOW = 1_000
"""Examples in a row of which every source has about its share."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the original files of benchmarks")
    parser.add_argument("--size", type=int, default=100_000, help="examples of an epoch")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child is not None:
        print(json.dumps(measured(given.child, given.data)))
        return
    with tempfile.TemporaryDirectory() as folder:
        mixture = write_mixture(Path(folder), given.data.resolve(), given.size)
        command = [sys.executable, __file__, "--child", str(mixture), "--data", str(given.data.resolve())]
        started = time.monotonic()
        ran = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(ran.stdout.splitlines()[-1])
    print(f"{given.size:,} examples of {len(found['quotas'])} sources: {time.monotonic() - started:.1f} s in all")
    print(f"first step after {found['first_step']:.1f} s ({found['cpu']:.1f} CPU seconds)")
    print(f"memory above the model: {found['memory'] / 2**30:.2f} GiB")
    print(f"an epoch misses its quotas by {found['off_quota']} examples at most")
    print(f"shares in any {WINDOW:,} examples in a row are off by {100 * found['off_window']:.2f} points at most")


def write_mixture(folder: Path, data: Path, size: int) -> Path:
    """Write the mixture, and the task that Luthier does not have; return its file."""
    source = data / str(HATE_SPEECH["source"])
    (folder / "hate_speech.yaml").write_text(yaml.safe_dump({**HATE_SPEECH, "source": str(source)}))
    alpaca = str(data / "alpaca" / "alpaca_5000.json")
    tasks = [alpaca if name == "ALPACA" else name for name in TASKS]
    path = folder / "mixture.yaml"
    path.write_text(yaml.safe_dump({"target": "dialogue_summary", "size": size, "cap": 30_000, "tasks": tasks}))
    return path


def measured(mixture: Path, data: Path) -> dict[str, object]:
    """Read the mixture, take one step, and look at a whole epoch's order."""
    started = time.monotonic() - time.process_time()  # about when the process began
    from luthier.config.compare import CompareConfig
    from luthier.config.data import DataConfig
    from luthier.config.training import TrainingConfig
    from luthier.experiments.plan import read_plan
    from luthier.experiments.trained_arms import job_of, train
    from luthier.models.load import load_model

    with tempfile.TemporaryDirectory() as runs:
        load_model("mini")
        before = peak()
        config = CompareConfig(
            task=str(mixture),
            arms=("full",),
            retain=(),
            retention_text=None,
            runs=Path(runs),
            data=DataConfig(folder=data),
            training=TrainingConfig(steps=1, validations=0),
        )
        plan = read_plan(config)
        train(plan, plan.arms[0], 0)
        first, cpu = time.monotonic() - started, time.process_time()
        memory = peak() - before
        whole = read_plan(config.model_copy(update={"training": TrainingConfig(epochs=1, validations=0)}))
        stream = job_of(whole, whole.arms[0], 0).stream
        places = [place for step in range(stream.steps) for place in stream.indices(step)]
        sizes = [origin.records for origin in stream.data.origins]
        off_quota, off_window = misses(places, sizes, stream.data.quotas or ())
    return {
        "first_step": first,
        "cpu": cpu,
        "memory": memory,
        "quotas": stream.data.quotas,
        "off_quota": off_quota,
        "off_window": off_window,
    }


def misses(places: Sequence[int], sizes: Sequence[int], quotas: Sequence[int]) -> tuple[int, float]:
    """Return by how many examples an epoch misses a quota, and by what share a window of it misses the source's."""
    ends = [sum(sizes[: k + 1]) for k in range(len(sizes))]
    sources = [next(k for k, end in enumerate(ends) if place < end) for place in places[: sum(quotas)]]
    counts = Counter(sources)
    off = max(abs(counts[k] - quota) for k, quota in enumerate(quotas))
    worst, window = 0.0, Counter(sources[:WINDOW])
    for at in range(len(sources) - WINDOW):
        for k, quota in enumerate(quotas):
            worst = max(worst, abs(window[k] / WINDOW - quota / sum(quotas)))
        window[sources[at]] -= 1
        window[sources[at + WINDOW]] += 1
    return off, worst


def peak() -> int:
    """Return the peak memory of this process, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
