"""Measure training against ``trl`` and ``transformers`` with equal weights, batches, order, optimizer and loss.

    python perf/training.py            # every shape, ten steps each; most of an hour on a CPU
    python perf/training.py --quick    # three to ten short steps each, measured in CPU seconds, so
                                      # that the machine may be busy
    python perf/training.py --only 135m

Every measurement runs in a process of its own, so that its peak memory is known. Peers run in each available mode:

``default``       ``SFTTrainer`` and ``Seq2SeqTrainer`` with their defaults
``grouped``       examples of a step sorted by length and cut into micro-batches, as grouping by length does
``padding-free``  ``SFTTrainer(padding_free=True)``: the examples of a step in one row, which is also what packing
                  without contamination computes

A mode whose losses are not those of the default mode is not a correct peer, and is marked as such. Peers run with their
defaults. Luthier is measured with the kernels that it chooses for the model on this processor
(``luthier.models.kernel_choice``), and without them, to separate the effect of avoided computation from theirs. The
share of the peak counts the arithmetic that the loss needs (no padding, vocabulary logits of targets alone, LoRA
without gradients of the base's weights) against square matrix products timed in the same run, by the faster of the two
libraries. The table is written to ``perf/training.md`` as well.

Measured and not adopted (CPU seconds of forward and backward passes of eight examples, interleaved, one thread, torch
2.13, a machine with other work):

``torch.compile`` of each block without attention, with dynamic shapes: nothing was compiled twice, but calling compiled
regions costs as much as fusing saves. Five batches of a 135M Llama cut to 4 layers took 6.32 s eagerly and 6.43 s
compiled, after 10 s of compiling; four of a Llama 192 wide in bf16 0.94 s and 0.92 s.

LoRA with ``W + BA`` formed once a pass instead of the side path: medians of nine passes of a 135M Llama cut to 3 layers
were 0.95 s and 1.01 s, the best 0.89 s and 0.85 s: no difference beyond the noise. A small Llama gained
5 % (best of four, 0.55 s and 0.59 s).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    PreTrainedTokenizerFast,
)

from luthier.config.computing import KernelsConfig
from luthier.config.training import TrainingConfig
from luthier.data.batching import plan_steps
from luthier.kernels.allocator import keep_freed_memory
from luthier.kernels.onednn_matmul import has_onednn, multiplying_by_onednn
from luthier.kernels.peak_memory import peak_bytes, reset_peak
from luthier.methods.base import Attached
from luthier.methods.registry import find_method, read_settings
from luthier.models.decoder import DecoderModel
from luthier.models.encoder_decoder import EncoderDecoderModel
from luthier.models.kernel_choice import choose_kernels
from luthier.models.language_model import LanguageModel
from luthier.objectives.cross_entropy import CrossEntropy
from luthier.records import Encoded
from luthier.training.log import read_log
from luthier.training.loop import train
from luthier.training.optimizer import learning_rate
from luthier.training.recipe import TrainingRecipe
from luthier.training.stream import shuffled_stream, training_set

HERE = Path(__file__).parent
RATE = {"full": 1e-4, "lora": 1e-3}
SHAPES: dict[str, dict[str, Any]] = {
    "small Llama": {
        "model_type": "llama",
        "vocab_size": 8192,
        "hidden_size": 256,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 688,
        "tie_word_embeddings": True,
    },
    "135M Llama": {
        "model_type": "llama",
        "vocab_size": 49152,
        "hidden_size": 576,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "intermediate_size": 1536,
        "tie_word_embeddings": True,
    },
    "270M Gemma 3": {
        "model_type": "gemma3_text",
        "vocab_size": 262144,
        "hidden_size": 640,
        "num_hidden_layers": 18,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 256,
        "intermediate_size": 2048,
        "sliding_window": 512,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
    },
    "T5-small": {"model_type": "t5", "dropout_rate": 0.0, "decoder_start_token_id": 0},
    "1B Llama": {
        "model_type": "llama",
        "vocab_size": 128256,
        "hidden_size": 2048,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 8192,
        "tie_word_embeddings": True,
    },
}
QUICK_STEPS = {"small Llama": 10, "135M Llama": 3, "270M Gemma 3": 2, "T5-small": 6, "1B Llama": 3}
"""Timed steps with ``--quick``: the small shapes' are short, and the first steps allocate memory."""
COLUMNS = (
    *("shape", "method", "who", "supervised tokens/s", "÷ best peer", "of the peak"),
    *("MiB at most", "÷ least peer", "loss differs by"),
)
OURS = ("luthier, torch's kernels", "luthier")
_CAUSAL = ("default", "grouped", "padding-free")
MODES = {"llama": _CAUSAL, "gemma3_text": _CAUSAL, "t5": ("default", "grouped")}


@dataclass(frozen=True, slots=True)
class Job:
    """One measurement.

    Attributes:
        shape: A key of ``SHAPES``.
        method: ``full`` or ``lora``.
        who: ``luthier``, the same ``by MKL``, or a mode of the peer.
        steps: Optimizer steps that are timed; one more goes before them.
        batch: Examples in a step.
        device: As torch spells it.
    """

    shape: str
    method: str
    who: str
    steps: int
    batch: int
    device: str


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a measurement.

    Attributes:
        seconds: Wall seconds of the timed steps.
        cpu_seconds: CPU seconds of the timed steps, over all threads.
        losses: Loss of every step.
        peak: Peak resident bytes (allocated bytes on a CUDA device) during training.
        before: Resident bytes just before training, with the model loaded and everything imported.
    """

    seconds: float
    cpu_seconds: float
    losses: list[float]
    peak: int
    before: int


def examples(shape: str, count: int) -> list[Encoded]:
    """Prompts of about 150 tokens and answers of about 30, of very uneven length; every answer ends the same way."""
    rng = np.random.default_rng(0)
    vocabulary = SHAPES[shape].get("vocab_size", 32128)
    found = []
    for index in range(count):
        asked = int(np.clip(rng.lognormal(np.log(130), 0.55), 16, 600))
        answered = int(np.clip(rng.lognormal(np.log(26), 0.5), 2, 120))
        ids = rng.integers(3, vocabulary, asked + answered).astype(np.int32)
        ids[-1] = 1
        found.append(Encoded(str(index), ids[:asked], ids[asked:]))
    return found


def build(job: Job) -> tuple[LanguageModel, Attached]:
    """Make the model of a shape from a seed, with its method attached."""
    settings = dict(SHAPES[job.shape])
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    auto: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    torch.manual_seed(0)
    module = auto.from_config(config).to(job.device)
    backend = Tokenizer(models.WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="</s>")
    kind: Any = EncoderDecoderModel if config.is_encoder_decoder else DecoderModel
    model: LanguageModel = kind(job.shape, Path(), "random", module, tokenizer, 2048)
    method = find_method(job.method)
    return model, method.attach(model, read_settings(method, {}, where="perf"), seed=0)


class Clock:
    """Records the time after every optimizer step of any trainer."""

    def __init__(self, device: str) -> None:
        self.marks: list[tuple[float, float]] = []
        self.device = device
        self.hook = register_optimizer_step_post_hook(self.record)

    def record(self, *_: object) -> None:
        """Record the time."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        self.marks.append((time.perf_counter(), time.process_time()))

    def since_first(self) -> tuple[float, float]:
        """Return the wall and CPU seconds from the end of the first step to that of the last."""
        (wall, cpu), (wall_end, cpu_end) = self.marks[0], self.marks[-1]
        return wall_end - wall, cpu_end - cpu


def measure(job: Job) -> Found:
    """Run one measurement in this process."""
    model, attached = build(job)
    config = TrainingConfig(steps=job.steps + 1, batch_size=job.batch, validations=0, checkpoint_seconds=1e9)
    items = examples(job.shape, (job.steps + 1) * job.batch)
    device = torch.device(job.device)
    runner = ours if job.who in OURS else theirs
    if job.who in OURS:
        keep_freed_memory()  # as the command line does
    if job.who == "luthier":
        model.kernels = choose_kernels(model.module, KernelsConfig())  # as loading a model does
    reset_peak(device)
    before = peak_bytes(device) or 0
    clock = Clock(job.device)
    with tempfile.TemporaryDirectory() as folder:
        losses = runner(job, model, attached, items, config, Path(folder))
    seconds, cpu_seconds = clock.since_first()
    return Found(seconds, cpu_seconds, losses, peak_bytes(device) or 0, before)


def ours(
    job: Job, model: LanguageModel, attached: Attached, items: Sequence[Encoded], config: TrainingConfig, folder: Path
) -> list[float]:
    """Train with Luthier; return the loss of every step."""
    config = config.model_copy(update={"learning_rate": RATE[job.method]})
    stream = shuffled_stream(training_set("perf", items), config, seed=0)
    train(model, attached, stream, TrainingRecipe(CrossEntropy(), config, 0), folder=folder)
    return [float(line["loss"] or 0) for line in read_log(folder / "log.jsonl")]


def theirs(
    job: Job, model: LanguageModel, attached: Attached, items: Sequence[Encoded], config: TrainingConfig, folder: Path
) -> list[float]:
    """Train with the peer in one of its modes; return the loss of every step."""
    # Imported here, so that what peers need does not count as Luthier's memory.
    import trl
    from datasets import Dataset
    from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments

    plan = plan_steps(len(items), config, seed=0)
    rows = []
    for step in range(plan.steps):
        chosen = [items[index] for index in plan.indices(step)]
        if job.who == "grouped":
            chosen.sort(key=lambda item: -len(item.prompt_ids) - len(item.target_ids))
        rows += [_row(item, model.encoder_decoder) for item in chosen]
    accumulated = max(1, job.batch // 4) if job.who == "grouped" else 1
    optimizer = torch.optim.AdamW(
        list(attached.trainable().values()), lr=RATE[job.method], betas=config.betas, eps=config.epsilon, weight_decay=0
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate(min(step, plan.steps - 1), plan.steps, 1.0, config)
    )
    common: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": plan.steps,
        "per_device_train_batch_size": job.batch // accumulated,
        "gradient_accumulation_steps": accumulated,
        "train_sampling_strategy": "sequential",
        "max_grad_norm": config.clip_norm,
        "gradient_checkpointing": False,
        "bf16": job.device == "cuda",
        "use_cpu": job.device == "cpu",
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "logging_steps": 10_000,
        "dataloader_pin_memory": False,
    }
    found: list[float] = []

    def recording(base: Any) -> Any:
        class Recording(base):  # type: ignore[misc]
            def training_step(self, *arguments: Any, **options: Any) -> torch.Tensor:
                loss: torch.Tensor = super().training_step(*arguments, **options)
                found.append(float(loss))
                return loss

        return Recording

    options: dict[str, Any] = {"model": model.module, "train_dataset": Dataset.from_list(rows)}
    options["optimizers"] = (optimizer, schedule)
    if model.encoder_decoder:
        if accumulated > 1:
            options["compute_loss_func"] = _summed_loss
        trainer = recording(Seq2SeqTrainer)(
            args=Seq2SeqTrainingArguments(**common), data_collator=_padded_pairs, **options
        )
    else:
        arguments = trl.SFTConfig(  # type: ignore[attr-defined]
            **common,
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
            padding_free=job.who == "padding-free",
        )
        trainer = recording(trl.SFTTrainer)(  # type: ignore[attr-defined]
            args=arguments, processing_class=model.tokenizer, **options
        )
    trainer.train()
    return [sum(found[start : start + accumulated]) for start in range(0, len(found), accumulated)]


def _row(item: Encoded, encoder_decoder: bool) -> dict[str, list[int]]:
    prompt, target = item.prompt_ids.tolist(), item.target_ids.tolist()
    if encoder_decoder:
        return {"input_ids": prompt, "labels": target}
    return {"input_ids": prompt + target, "labels": [-100] * len(prompt) + target}


def _summed_loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """T5 divides each pass by its own tokens, which is another loss when passes are accumulated: correct it."""
    logits = outputs["logits"].flatten(0, 1)
    total = torch.nn.functional.cross_entropy(logits, labels.flatten(), reduction="sum")
    loss: torch.Tensor = total / num_items_in_batch
    return loss


def _padded_pairs(rows: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Pad prompts and targets, as ``DataCollatorForSeq2Seq`` does, with a mask of prompts by length."""

    def padded(name: str, value: int) -> torch.Tensor:
        tensors = [torch.tensor(row[name]) for row in rows]
        return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value)

    mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(row["input_ids"])) for row in rows], batch_first=True)
    decoder = torch.nn.functional.pad(padded("labels", 0)[:, :-1], (1, 0))  # T5 starts with token 0
    return {
        "input_ids": padded("input_ids", 0),
        "attention_mask": mask.long(),
        "decoder_input_ids": decoder,
        "labels": padded("labels", -100),
    }


def needed_flops(job: Job) -> tuple[float, int]:
    """Arithmetic that the timed steps need, in floating-point operations, and their supervised tokens."""
    settings = dict(SHAPES[job.shape])
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    plan = plan_steps((job.steps + 1) * job.batch, TrainingConfig(steps=job.steps + 1, batch_size=job.batch), seed=0)
    items = examples(job.shape, plan.examples)
    timed = [items[index] for step in range(1, plan.steps) for index in plan.indices(step)]
    # Forward, gradients of activations, and gradients of weights: LoRA's own weights are few.
    passes = 3 if job.method == "full" else 2
    total, width = 0.0, config.hidden_size
    for item in timed:
        asked, answered = len(item.prompt_ids), len(item.target_ids)
        if config.is_encoder_decoder:
            inner = config.num_heads * config.d_kv
            own = 4 * width * inner + 2 * width * config.d_ff
            crossed = answered * 2 * width * inner + asked * 2 * width * inner + 2 * asked * answered * inner
            encoder = asked * own + 2 * asked * asked * inner
            decoder = answered * own + answered * answered * inner + crossed
            products = config.num_layers * (encoder + decoder)
        else:
            inner, keys = width, width * config.num_key_value_heads // config.num_attention_heads
            own = 2 * width * inner + 2 * width * keys + 3 * width * config.intermediate_size
            length = asked + answered - 1
            products = config.num_hidden_layers * (length * own + length * length * inner)
        total += 2 * passes * (products + answered * width * config.vocab_size)
    return total, sum(len(item.target_ids) for item in timed)


def matmul_peaks(clock: str, device: str) -> list[float]:
    """Floating-point operations a second of square matrix products: by torch alone, and by oneDNN if used."""
    alone = matmul_peak(clock, device)
    if device != "cpu" or not has_onednn():
        return [alone]
    with multiplying_by_onednn():
        return [alone, matmul_peak(clock, device)]


def matmul_peak(clock: str, device: str) -> float:
    """Floating-point operations a second of square matrix products: the best of several."""
    size, dtype = (1536, torch.float32) if device == "cpu" else (8192, torch.bfloat16)
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = 0.0
    for _ in range(8):
        wall, cpu = time.perf_counter(), time.process_time()
        left @ right
        if device == "cuda":
            torch.cuda.synchronize()
        seconds = time.process_time() - cpu if clock == "cpu" else time.perf_counter() - wall
        best = max(best, 2 * size**3 / seconds)
    return best


def in_process(job: Job) -> Found | str:
    """Run a measurement in a process of its own; return its result, or its last output if it failed."""
    command = [sys.executable, __file__, "--job", json.dumps(asdict(job))]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = ran.stdout.strip().splitlines()
    if ran.returncode or not lines:
        return (ran.stderr.strip().splitlines() or ["it ended without a word"])[-1]
    return Found(**json.loads(lines[-1]))


def compare(shape: str, method: str, given: argparse.Namespace, peaks: Sequence[float]) -> list[str]:
    """Measure a shape and a method with Luthier and all peers; return rows of the table."""
    modes = MODES[SHAPES[shape]["model_type"]]
    ours = OURS if len(peaks) > 1 else OURS[1:]
    steps = given.steps or (QUICK_STEPS[shape] if given.quick else 10)
    jobs = [Job(shape, method, who, steps, given.batch, given.device) for who in (*modes, *ours)]
    found: dict[str, Found] = {}
    rows = []
    for job in jobs:
        result = in_process(job)
        if isinstance(result, str):
            rows.append(f"| {shape} | {method} | {job.who} | it does not run: {result} | | | | | |")
        else:
            found[job.who] = result
            print(f"{shape}, {method}, {job.who}: {result.seconds:.1f} s", file=sys.stderr, flush=True)
    flops, tokens = needed_flops(jobs[0])
    peak = max(peaks)
    reference = found["default"]

    def spent(result: Found) -> float:
        return result.cpu_seconds if given.clock == "cpu" else result.seconds

    def off(result: Found) -> float:
        return max(abs(one - other) / other for one, other in zip(result.losses, reference.losses, strict=True))

    best = min(spent(result) for who, result in found.items() if who not in OURS and off(result) < 1e-3)
    least = min(result.peak for who, result in found.items() if who not in OURS and off(result) < 1e-3)
    for who, result in found.items():
        note = "" if off(result) < 1e-3 else " (not the same loss)"
        cells = (
            f"{tokens / spent(result):.1f}",
            f"{best / spent(result):.2f}",
            f"{flops / spent(result) / peak:.0%}",
            f"{result.peak / 2**20:.0f}",
            f"{result.peak / least:.2f}",
            f"{off(result):.1e}",
        )
        rows.append(f"| {shape} | {method} | {who}{note} | {' | '.join(cells)} |")
    for row in rows:
        print(row, flush=True)
    return rows


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few short steps, counted in CPU seconds")
    parser.add_argument("--only", default="", help="shapes whose name holds this word")
    parser.add_argument("--methods", default="full,lora")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clock", choices=("wall", "cpu"))
    parser.add_argument("--job", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.job:
        print(json.dumps(asdict(measure(Job(**json.loads(given.job))))))
        return
    given.batch = given.batch or (8 if given.quick else 16)
    given.clock = given.clock or ("cpu" if given.quick else "wall")
    shapes = [name for name in SHAPES if given.only.lower() in name.lower()]
    shapes = [name for name in shapes if name != "1B Llama" or given.device != "cpu"]
    threads = torch.get_num_threads()
    processor = torch.cuda.get_device_name() if given.device == "cuda" else f"{os.cpu_count()} cores"
    peaks = matmul_peaks(given.clock, given.device)
    rates = " by torch alone, by oneDNN ".join(f"{peak / 1e9:.0f} GFLOP/s" for peak in peaks)
    clock = "of the processor" if given.clock == "cpu" else "on the wall"
    steps = given.steps or ("3 to 10" if given.quick else 10)
    lines = [
        "# Training, side by side",
        "",
        f"`python perf/training.py{' --quick' if given.quick else ''}`: {steps} timed steps of {given.batch} "
        f"examples, {given.device} ({processor}, {threads} threads), torch {torch.__version__}, "
        f"Python {platform.python_version()}; seconds are {clock}. Matrix products: {rates}.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for shape in shapes:
        for method in given.methods.split(","):
            lines += compare(shape, method, given, peaks)
            (HERE / "training.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
