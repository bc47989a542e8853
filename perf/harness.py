"""Measure tasks of lm-eval by our engine against its ``hf`` model at batch 8, from the loaded task to its numbers.

    python perf/harness.py                                   # SmolLM2-135M if it was fetched, else stories260k; minutes
    python perf/harness.py --model FOLDER --documents 32 --only mmlu,sst2

The same task objects over local files, the same weights. Every line gives the CPU seconds of each, which hardly depend
on what else the machine does, and whether the numbers are equal. The other library runs with its defaults. What a
process does once, at its first task, is not counted on either side.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import lm_eval
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from lm_eval_local import write_tasks
from luthier.config.decoding import DecodingConfig
from luthier.evaluation.context import EvaluationContext
from luthier.evaluation.harness.documents import HarnessSettings
from luthier.evaluation.harness.loading import quiet
from luthier.evaluation.harness.task import prepare_task
from luthier.evaluation.harness.tokens import RequestEncoder
from luthier.evaluation.run import read_log, run
from luthier.inference.capabilities import capabilities_of
from luthier.kernels.peak_memory import settled_objects
from luthier.metrics.registry import get_metric
from luthier.models.language_model import LanguageModel
from luthier.models.load import load_model
from luthier.user_path import cache_root

SHARED = Path(__file__).resolve().parents[2] / "shared"
SMOLLM2 = cache_root() / "real" / "SmolLM2-135M-Instruct.Q4_1.gguf"
NEW_TOKENS = 48
Result = TypeVar("Result")


@dataclass(frozen=True)
class Workload:
    """A task, with exemplars where it says how many, and how many documents there are for each that is asked for."""

    name: str
    what: str
    shots: int | None = None
    times: float = 1.0


WORKLOADS = {
    "mmlu": Workload("mmlu_high_school_biology", "five exemplars, four letters", shots=5),
    "bbq": Workload("bbq", "twelve answers after one prompt", times=0.5),
    "truthfulqa": Workload("truthfulqa_mc2", "many long answers after one prompt", times=0.5),
    "sst2": Workload("sst2", "short prompts, two answers", times=2),
    "winogender": Workload("winogender_all", "short prompts, two answers", times=2),
    "gsm8k": Workload("gsm8k", "five exemplars, written", times=0.5),
}


def cpu_seconds(work: Callable[[], Result]) -> tuple[Result, float]:
    started = time.process_time()
    found = work()
    return found, time.process_time() - started


def load(workload: Workload, folder: Path, documents: int) -> Any:
    """Load a task; each side gets its own, since a task holds its requests."""
    write_tasks([workload.name], max(1, round(documents * workload.times)), data=SHARED / "data", folder=folder)
    with quiet():
        task = TaskManager(include_path=str(folder), include_defaults=False).load([workload.name])["tasks"][
            workload.name
        ]
    if workload.shots is not None:
        task.set_config(key="num_fewshot", value=workload.shots)
    elif task.get_config("num_fewshot") is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=1234)
    return task


def ours(model: LanguageModel, task: Any, store: Path, new_tokens: int) -> dict[str, float]:
    context = EvaluationContext(store, "", DecodingConfig(), 8192, cache=False)
    with quiet():
        encoder = RequestEncoder(model)
    ready = prepare_task(task, encoder, HarnessSettings(max_new_tokens=new_tokens))
    job = ready.job(model, context, label=ready.name)
    run(job)
    log = read_log(job).predictions
    metrics = [get_metric(own) for own in ready.metrics_of(log).metrics]
    return {own.primary: float(own.evaluate(own.statistics(log))[0]) for own in metrics}


def theirs(hf: HFLM, task: Any, new_tokens: int) -> dict[str, float]:
    if task.OUTPUT_TYPE == "generate_until":
        task.set_config(key="generation_kwargs", value={"max_gen_toks": new_tokens}, update=True)
    with quiet():
        found = lm_eval.evaluate(lm=hf, task_dict={"tasks": {task.task_name: task}}, bootstrap_iters=0)
    results = found["results"][task.task_name]
    return {key.removesuffix(",none"): value for key, value in results.items() if "," in key and "_stderr" not in key}


def warm_up(model: LanguageModel, hf: HFLM) -> None:
    """Do what a process does once."""
    with tempfile.TemporaryDirectory() as folder:
        first, second = (load(WORKLOADS["sst2"], Path(folder) / side, 1) for side in ("ours", "theirs"))
        ours(model, first, Path(folder) / "runs", 1)
        theirs(hf, second, 1)


def measure(workload: Workload, model: LanguageModel, hf: HFLM, documents: int, new_tokens: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first, second = (load(workload, Path(folder) / side, documents) for side in ("ours", "theirs"))
        other, others = cpu_seconds(lambda: theirs(hf, second, new_tokens))
        own, mine = cpu_seconds(lambda: ours(model, first, Path(folder) / "runs", new_tokens))
    apart = max((abs(own[key] - other[key]) for key in own if own[key] == own[key]), default=0.0)
    count = len(second.eval_docs)
    print(f"{workload.name:<28}{count:>5} documents{mine:>9.2f} s{others:>9.2f} s{others / mine:>8.2f} ×   ", end="")
    print(f"numbers differ by {apart:.1e} at most; {workload.what}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(SMOLLM2 if SMOLLM2.exists() else SHARED / "models" / "stories260k"))
    parser.add_argument("--documents", type=int, default=8, help="of each task; some have more, some fewer")
    parser.add_argument("--new-tokens", type=int, default=NEW_TOKENS, help="of a written answer at most")
    parser.add_argument("--batch", type=int, default=8, help="of lm-eval")
    parser.add_argument("--only", default=",".join(WORKLOADS), help="some of them")
    options = parser.parse_args()
    if not (SHARED / "data").is_dir():
        sys.exit(f"real data not present at {SHARED / 'data'}")
    model = load_model(options.model, device="cpu")
    capabilities_of(model)  # proved once for a model, and kept
    other = load_model(options.model, device="cpu")  # of its own: ours may compute by other kernels
    with quiet():
        hf = HFLM(pretrained=other.module, tokenizer=other.tokenizer, batch_size=options.batch, device="cpu")
    print(f"{Path(options.model).name}, {torch.get_num_threads()} thread(s), CPU seconds: Luthier, lm-eval --model hf")
    with settled_objects():  # as an evaluation has it
        warm_up(model, hf)
        for kind in options.only.split(","):
            measure(WORKLOADS[kind], model, hf, options.documents, options.new_tokens)


if __name__ == "__main__":
    main()
