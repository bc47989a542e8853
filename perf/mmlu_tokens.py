"""Count the tokens of MMLU with five exemplars: those that lm-eval's ``hf`` model reads, and those that are distinct.

    python perf/mmlu_tokens.py                 # 32 questions of each of the 57 subjects, SmolLM2-135M if it was fetched
    python perf/mmlu_tokens.py --documents 100 --model FOLDER

lm-eval reads each prompt once for its four letters, padded to the longest of its batch. A token whose prefix was read
before needs no second look; every other one does, in any engine whose numbers are exact. So the quotient bounds what
sharing beginnings can gain.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from perf.harness import SHARED, SMOLLM2, Workload, load

from luthier.models.load import load_model

BATCH = 8


def read_by_lm_eval(prompts: Sequence[Sequence[int]]) -> int:
    """Return the tokens of batches that are padded to their longest prompt, the longest prompts first."""
    rows = sorted(map(len, prompts), reverse=True)
    return sum(len(rows[start : start + BATCH]) * rows[start] for start in range(0, len(rows), BATCH))


def distinct(prompts: Sequence[Sequence[int]]) -> int:
    """Return the nodes of the prompts' prefix tree."""
    rows = sorted(map(list, prompts))
    return sum(map(len, rows)) - sum(shared(before, row) for before, row in itertools.pairwise(rows))


def shared(first: Sequence[int], second: Sequence[int]) -> int:
    """Return the tokens with which both begin."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


def prompts_of(task: Any, tokenizer: Any) -> list[list[int]]:
    """Return the distinct prompts of a task as tokens."""
    task.build_all_requests(rank=0, world_size=1)
    texts = dict.fromkeys(request.args[0] for request in task.instances)
    return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(SMOLLM2 if SMOLLM2.exists() else SHARED / "models" / "stories260k"))
    parser.add_argument("--documents", type=int, default=32, help="of each subject")
    options = parser.parse_args()
    folder = SHARED / "data" / "mmlu" / "test"
    if not folder.is_dir():
        sys.exit(f"real data not present at {folder}")
    tokenizer = load_model(options.model, device="cpu").tokenizer
    counted: dict[str, tuple[int, int]] = {}
    for path in sorted(folder.glob("*_test.csv")):
        subject = path.name.removesuffix("_test.csv")
        with tempfile.TemporaryDirectory() as written:
            task = load(Workload(f"mmlu_{subject}", "", shots=5), Path(written), options.documents)
            prompts = prompts_of(task, tokenizer)
        counted[subject] = (read_by_lm_eval(prompts), distinct(prompts))
        print(f"{subject:<40}{counted[subject][0]:>9,}{counted[subject][1]:>9,}", flush=True)
    quotients = {subject: theirs / own for subject, (theirs, own) in counted.items()}
    pooled = sum(theirs for theirs, _ in counted.values()) / sum(own for _, own in counted.values())
    most, least = (chosen(quotients, key=quotients.__getitem__) for chosen in (max, min))
    print(
        f"{len(counted)} subjects: {pooled:.2f} × the tokens, median {statistics.median(quotients.values()):.2f},",
        end=" ",
    )
    print(f"from {quotients[least]:.2f} ({least}) to {quotients[most]:.2f} ({most})")


if __name__ == "__main__":
    main()
