"""Golden training losses: a dozen tiny models times the methods, four optimizer steps each.

``golden_losses.json`` was recorded with the code of commit cf797bd. A change that should not change numbers leaves it
untouched. After a change that is meant to change them, record it anew, and say why in the commit::

    PYTHONPATH=src:tests OMP_NUM_THREADS=1 python tests/training/golden_losses.py

Floating-point numbers are stored as ``float.hex()``, which keeps every bit. The file also holds a fingerprint of what
the last bits depend on besides the code: the versions of the numerical packages, the processor, and the threads.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from pathlib import Path
from typing import Any, TypeAlias

import peft
import torch
import transformers

from luthier.config.computing import KernelsConfig
from luthier.config.training import TrainingConfig
from luthier.methods.registry import find_method, read_settings
from luthier.models.load import load_model
from luthier.objectives.cross_entropy import CrossEntropy
from luthier.training.log import read_log
from luthier.training.loop import train
from luthier.training.recipe import TrainingRecipe
from luthier.training.stream import shuffled_stream, training_set
from tiny_models import encoded, tiny_folder, write_folder

Steps: TypeAlias = list[tuple[float, float]]
"""The loss, in nats per supervised token, and the gradient norm before clipping, of each optimizer step."""

RECORDED = Path(__file__).with_suffix(".json")
SEED = 5
THREADS = 1

MODELS = (
    *("llama", "qwen3", "gemma3", "mistral", "gpt2", "gpt_neox", "bloom", "opt"),
    *("t5", "t5-untied", "bart", "mbart"),
)
METHODS: dict[str, tuple[str, float, dict[str, Any]]] = {
    "full": ("full", 3e-3, {}),
    "selective": ("selective", 3e-3, {"last": 1}),
    "lora": ("lora", 1e-2, {"rank": 2, "dropout": 0.1}),
    "adapter": ("adapter", 1e-2, {"bottleneck": 4, "dropout": 0.1}),
    "prompt_tuning": ("prompt_tuning", 0.02, {"virtual_tokens": 5}),
    "prefix_tuning": ("prefix_tuning", 0.03, {"virtual_tokens": 5}),
    "ia3": ("peft", 3e-2, {"peft_type": "IA3"}),
}
"""Method, peak learning rate and settings, by the name of the case."""
REFUSED = {("mbart", "ia3")}
"""``peft`` has no list of mBART's layers for IA3."""
TRAINING: dict[str, dict[str, Any]] = {
    "": {},
    "small_micro_batches": {"micro_tokens": 24},
    "activation_checkpointing": {"activation_checkpointing": True},
}
"""Further training options, by the end of the name of the case."""

# Lengths (prompt, target) are uneven, so that padding, packing and the order of micro-batches matter.
SHORT = encoded(41, [(6, 4), (13, 2), (3, 7), (17, 5), (5, 1), (8, 3), (4, 6), (10, 9)])
LONG = encoded(42, [(70, 20), (41, 9), (90, 30), (55, 14), (23, 40), (64, 8), (38, 17), (81, 25)])
WIDE = {"hidden_size": 128, "intermediate_size": 256, "head_dim": 32}
"""A Llama whose matrix products, over the long examples, are large enough for oneDNN's kernels."""

CASES: tuple[str, ...] = (
    *(f"{model} {method}" for model in MODELS for method in METHODS if (model, method) not in REFUSED),
    *(
        f"{model} {method} {option}"
        for model in ("llama", "t5")
        for method in ("full", "lora")
        for option in TRAINING
        if option
    ),
    "llama-wide full",
    "llama-wide lora",
)
"""Model, method and further training options of each case."""


def train_case(case: str, folder: Path) -> Steps:
    """Train a fresh model for four steps; return the loss and the gradient norm of each step.

    All calls of Luthier's own functions stand here.
    """
    architecture, name, option = [*case.split(), ""][:3]
    method_name, rate, settings = METHODS[name]
    wide = architecture == "llama-wide"
    examples = LONG if wide else SHORT
    source = write_folder(folder / "model", "llama", **WIDE) if wide else tiny_folder(architecture)
    # The wide model's kernels are those of the recording, and not what is the fastest here and now.
    kernels = KernelsConfig(matmul="onednn", attention="pieces") if wide else KernelsConfig()
    model = load_model(str(source), device="cpu", kernels=kernels)
    method = find_method(method_name)
    attached = method.attach(model, read_settings(method, settings, where="golden losses"), seed=SEED)
    config = TrainingConfig(
        learning_rate=rate,
        steps=4,
        batch_size=4,
        schedule="cosine",
        warmup=0.25,
        weight_decay=0.01,
        epsilon=1e-3,
        **TRAINING[option],
    )
    stream = shuffled_stream(training_set(case, examples), config, seed=SEED)
    train(model, attached, stream, TrainingRecipe(CrossEntropy(), config, SEED), folder=folder / "run")
    lines = [line for line in read_log(folder / "run" / "log.jsonl") if "loss" in line]
    return [(float(line["loss"] or 0), float(line["gradient_norm"] or 0)) for line in lines]


def fingerprint() -> dict[str, str | int]:
    """Return what the last bits depend on besides the code."""
    processor: dict[str, str] = {}
    if (cpuinfo := Path("/proc/cpuinfo")).is_file():
        for line in cpuinfo.read_text(encoding="utf-8").split("\n\n", 1)[0].splitlines():
            key, _, value = line.partition(":")
            processor[key.strip()] = value.strip()
    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        **{
            f"cpu_{key.replace(' ', '_')}": processor.get(key, "unknown")
            for key in ("vendor_id", "model name", "cpu family", "model", "cache size")
        },
        "threads": THREADS,
        "platform": f"{platform.system()} {platform.machine()}",
    }


def record() -> None:
    """Train every case and write the file anew."""
    torch.set_num_threads(THREADS)
    losses = {}
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            steps = train_case(case, Path(folder))
        losses[case] = [{"loss": loss.hex(), "gradient_norm": norm.hex()} for loss, norm in steps]
    content = {"recorded_on": fingerprint(), "losses": losses}
    RECORDED.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    argparse.ArgumentParser(description="Record the golden losses anew.").parse_args()
    record()
