"""Measure DPO with LoRA against ``trl``'s DPOTrainer: the same pairs, tokens, batches, adapter, rate and loss.

    python perf/preferences.py                      # SmolLM2-135M if it was fetched, else stories260k; some minutes
    python perf/preferences.py --model FOLDER --steps 5

Every measurement runs in a process of its own, so that its peak memory is known; seconds are of the processor, from the
end of the first step to that of the last. The pairs are those of ``../shared/data/rasbt_instruction``.

``luthier``               a pair is a tree: what its two answers share is computed once
``luthier, rows``         each answer a row of its own
``trl``                   DPOTrainer as it comes: the reference in every step, activations recomputed
``trl, precomputed``      with ``precompute_ref_log_probs``
``trl, fast``             the same, with activations kept

Luthier's log-probabilities of the reference are computed once and kept; what that takes stands beside the steps, and so
does what ``trl`` computes before its first step.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import transformers
from perf.training import Clock
from torch import Tensor

from luthier.config.data import DataConfig
from luthier.config.training import TrainingConfig
from luthier.data.preferences import Pair
from luthier.evaluation.prepared_task import make_encoder
from luthier.kernels.allocator import keep_freed_memory
from luthier.kernels.peak_memory import peak_bytes, reset_peak
from luthier.methods.registry import find_method, read_settings
from luthier.models.language_model import LanguageModel
from luthier.models.load import load_model
from luthier.objectives.registry import find_objective
from luthier.records import Encoded
from luthier.tasks.loader import load_splits, load_task
from luthier.training.log import read_log
from luthier.training.loop import train
from luthier.training.optimizer import learning_rate
from luthier.training.recipe import TrainingRecipe
from luthier.training.reference import reference_logprobs
from luthier.training.stream import shuffled_stream, training_set
from luthier.user_path import cache_root

HERE = Path(__file__).parent
SHARED = HERE.resolve().parents[1] / "shared"
SMOLLM2 = cache_root() / "real" / "SmolLM2-135M-Instruct.Q4_1.gguf"
PREFERENCES = SHARED / "data" / "rasbt_instruction" / "preference-data.json"
OURS = ("luthier", "luthier, rows")
THEIRS = {
    "trl": {},
    "trl, precomputed": {"precompute_ref_log_probs": True},
    "trl, fast": {"precompute_ref_log_probs": True, "gradient_checkpointing": False},
}
RATE, BETA, BATCH = 5e-5, 0.1, 8


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a measurement.

    Attributes:
        seconds: CPU seconds of the timed steps.
        before: CPU seconds of the reference, before the first step.
        losses: Loss of every step.
        peak: Peak resident bytes.
    """

    seconds: float
    before: float
    losses: list[float]
    peak: int


def pairs_of(model: LanguageModel, count: int) -> list[Pair]:
    """Return the first pairs of the training split, as the model reads them without a chat template."""
    data = DataConfig(chat="never")
    task = load_task(str(PREFERENCES))
    examples = load_splits(task, data, seed=0).train
    records = find_objective("dpo", {}, where="perf").prepare(examples, make_encoder(model, task, data))
    found = [record for record in records if isinstance(record, Pair)]
    return found[:count]


def measure(who: str, name: str, steps: int) -> Found:
    """Run one measurement in this process."""
    keep_freed_memory()
    model = load_model(name, device="cpu")
    pairs = pairs_of(model, (steps + 1) * BATCH)
    config = TrainingConfig(
        steps=steps + 1, batch_size=BATCH, validations=0, checkpoint_seconds=1e9, learning_rate=RATE, micro_tokens=16384
    )
    reset_peak(torch.device("cpu"))
    clock = Clock("cpu")
    with tempfile.TemporaryDirectory() as folder:
        run = ours if who in OURS else theirs
        losses, before = run(who, model, pairs, config, Path(folder))
    return Found(clock.since_first()[1], before, losses, peak_bytes(torch.device("cpu")) or 0)


def ours(
    who: str, model: LanguageModel, pairs: Sequence[Pair], config: TrainingConfig, folder: Path
) -> tuple[list[float], float]:
    """Train with Luthier; return the loss of every step, and the CPU seconds of the reference."""
    if who == "luthier, rows":

        def rows(groups: Sequence[Sequence[Encoded]]) -> Tensor:
            return model.target_logprobs([own for group in groups for own in group])

        model.branch_logprobs = rows  # type: ignore[method-assign]
    recipe = TrainingRecipe(find_objective("dpo", {"beta": BETA}, where="perf"), config, 0)
    data = training_set("perf", pairs)
    started = time.process_time()
    reference = reference_logprobs(model, recipe, data.records, data.digest, out=folder)
    before = time.process_time() - started
    lora = find_method("lora")
    attached = lora.attach(model, read_settings(lora, {}, where="perf"), seed=0)
    stream = replace(shuffled_stream(data, config, seed=0), reference=reference)
    train(model, attached, stream, recipe, folder=folder)
    return [float(line["loss"] or 0) for line in read_log(folder / "log.jsonl")], before


def theirs(
    who: str, model: LanguageModel, pairs: Sequence[Pair], config: TrainingConfig, folder: Path
) -> tuple[list[float], float]:
    """Train with the peer; return the loss of every step, and the CPU seconds before the first one."""
    # Imported here, so that what the peer needs does not count as Luthier's memory.
    import trl
    from datasets import Dataset
    from peft import LoraConfig

    stream = shuffled_stream(training_set("perf", pairs), config, seed=0)
    ordered = [record for step in range(stream.steps) for record in stream.records(step)]
    rows = [
        {
            "prompt_ids": pair.chosen.prompt_ids.tolist(),
            "chosen_ids": pair.chosen.target_ids.tolist(),
            "rejected_ids": pair.rejected.target_ids.tolist(),
        }
        for pair in ordered
    ]
    losses: list[float] = []

    class Recording(trl.DPOTrainer):  # type: ignore[misc, name-defined]
        def training_step(self, *arguments: Any, **options: Any) -> torch.Tensor:
            loss: torch.Tensor = super().training_step(*arguments, **options)
            losses.append(float(loss))
            return loss

        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset  # tokens already

    settings: dict[str, Any] = dict(THEIRS[who])
    if "gradient_checkpointing" in settings and not hasattr(transformers.TrainingArguments, "gradient_checkpointing"):
        settings["activation_checkpointing"] = settings.pop("gradient_checkpointing")
    arguments = trl.DPOConfig(  # type: ignore[attr-defined]
        output_dir=str(folder),
        max_steps=stream.steps,
        per_device_train_batch_size=BATCH,
        train_sampling_strategy="sequential",
        learning_rate=RATE,
        beta=BETA,
        max_length=None,
        max_grad_norm=config.clip_norm or 0.0,
        use_cpu=True,
        bf16=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        logging_steps=10_000,
        dataloader_pin_memory=False,
        **settings,
    )
    trainer = Recording(
        model=model.module,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=model.tokenizer,
        peft_config=LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    weights = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    trainer.optimizer = torch.optim.AdamW(weights, lr=RATE, betas=config.betas, eps=config.epsilon, weight_decay=0)
    trainer.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
        trainer.optimizer, lambda step: learning_rate(min(step, stream.steps - 1), stream.steps, 1.0, config)
    )
    started = time.process_time()
    if settings.get("precompute_ref_log_probs"):
        trainer.get_train_dataloader()
    before = time.process_time() - started
    trainer.train()
    return losses, before


def in_process(who: str, model: str, steps: int) -> Found:
    """Run a measurement in a process of its own."""
    command = [sys.executable, __file__, "--job", who, "--model", model, "--steps", str(steps)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        sys.exit(f"{who} does not run: {(ran.stderr.strip().splitlines() or ['it ended without a word'])[-1]}")
    return Found(**json.loads(ran.stdout.strip().splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(SMOLLM2 if SMOLLM2.exists() else SHARED / "models" / "stories260k"))
    parser.add_argument("--steps", type=int, default=3, help="timed; one more goes before them")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not PREFERENCES.is_file():
        sys.exit(f"real data not present at {PREFERENCES}")
    if given.job:
        print(json.dumps(asdict(measure(given.job, given.model, given.steps))))
        return
    found = {who: in_process(who, given.model, given.steps) for who in (*OURS, *THEIRS)}
    lines = [
        "# Learning from preferences, side by side",
        "",
        f"`python perf/preferences.py`: DPO with LoRA, {Path(given.model).name}, {given.steps} timed steps of {BATCH} "
        f"pairs, CPU seconds, {torch.get_num_threads()} thread(s), torch {torch.__version__}, "
        f"Python {platform.python_version()}. Adapters begin with random weights of their own.",
        "",
        "| who | steps (s) | ÷ luthier | reference before (s) | peak (MiB) | luthier ÷ it | loss differs by |",
        "|---|---|---|---|---|---|---|",
    ]
    own, expected = found["luthier"], found["trl"].losses
    for who, one in found.items():
        off = max(abs(a - b) / b for a, b in zip(one.losses, expected, strict=True))
        cells = [f"{one.seconds:.1f}", f"{one.seconds / own.seconds:.2f}", f"{one.before:.1f}"]
        cells += [f"{one.peak / 2**20:.0f}", f"{own.peak / one.peak:.2f}", f"{off:.1e}"]
        lines.append(f"| {who} | {' | '.join(cells)} |")
    print("\n".join(lines))
    (HERE / "preferences.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
