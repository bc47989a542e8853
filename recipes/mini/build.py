"""Make `mini` from random weights: ``python -m recipes.mini.build --out recipes/mini/out``.

Stages, each resumed where a kill left it: tokenizer, pretraining on the plain text of ``recipes.tasks.corpus``,
instruction tuning on the built-in tasks that are not held out, drills in those that this does not teach, model card.
All trainings use Luthier's own loop.
With ``--install`` the result replaces ``src/luthier/models/mini``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import torch

from luthier.config.training import TrainingConfig
from luthier.kernels.allocator import keep_freed_memory
from luthier.methods.full import Full, FullSettings
from luthier.models.language_model import LanguageModel
from luthier.models.load import load_model
from luthier.objectives.cross_entropy import CrossEntropy, target_tokens
from luthier.objectives.objective import MicroBatch, Objective, mean_loss
from luthier.progress import say
from luthier.records import Encoded
from luthier.training.loop import train
from luthier.training.recipe import TrainingRecipe
from luthier.training.stream import shuffled_stream, training_set
from luthier.training.validation import Validation
from recipes.mini.architecture import CONTEXT, new_model, train_tokenizer
from recipes.mini.card import heldout_loss, score_table, stage_table, write_card
from recipes.mini.mixture import (
    DRILLS,
    FRESH,
    HELD_OUT,
    REPLAYED,
    WORDINGS,
    Drill,
    EachExampleAlike,
    as_examples,
    drill_mixture,
    training_mixture,
    validation_mixture,
)
from recipes.tasks.corpus import documents
from recipes.tasks.files import read_rows, write_rows

SEED = 20261121
TOKENIZER_SHARE = 4  # one document in four is enough to train the tokenizer
EMBEDDED = Path(__file__).resolve().parents[2] / "src" / "luthier" / "models" / "mini"

PRETRAINING = TrainingConfig(
    epochs=1,
    batch_size=32,
    micro_tokens=6144,
    learning_rate=2e-3,
    warmup=0.02,
    final_learning_rate_fraction=0.05,
    weight_decay=0.1,
    betas=(0.9, 0.95),
    validations=10,
    checkpoint_seconds=300,
)
INSTRUCTION = TrainingConfig(
    epochs=1,
    batch_size=32,
    micro_tokens=6144,
    learning_rate=1.5e-3,
    warmup=0.05,
    weight_decay=0.01,
    validations=6,
    checkpoint_seconds=300,
)

DRILL = INSTRUCTION.model_copy(update={"learning_rate": 1e-3, "final_learning_rate_fraction": 0.05, "validations": 1})


def corpus(out: Path) -> list[str]:
    """Return the documents of the plain text; they are made at the first call and read afterwards."""
    folder = out / "corpus"
    if not (folder / "train.jsonl.gz").exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_rows(folder / "train.jsonl.gz", [{"text": text} for text in documents()])
    return [str(row["text"]) for row in read_rows(folder / "train.jsonl.gz")]


def stage(folder: Path, make: Callable[[], LanguageModel]) -> Path:
    """Save the model that a stage makes, unless an earlier call has done so."""
    if not (folder / "config.json").exists():
        save(make(), folder)
    return folder


def make_base(out: Path) -> Path:
    """Train the tokenizer and write a model of random weights."""
    folder = out / "random"
    if not (folder / "config.json").exists():
        texts = corpus(out)
        say(f"corpus: {len(texts):,} documents, {sum(len(text.split()) for text in texts):,} words")
        tokenizer = train_tokenizer(texts[::TOKENIZER_SHARE])
        torch.manual_seed(SEED)
        tokenizer.save_pretrained(folder)
        new_model(len(tokenizer)).save_pretrained(folder)
    return folder


def pretrain(out: Path) -> Path:
    """Pretrain on the corpus, each document separately; one document in 200 is kept for validation."""

    def make() -> LanguageModel:
        model = load_model(str(make_base(out)), device=None, precision="bf16")
        read = as_examples(model, corpus(out))
        held_out, kept = read[::200], [document for number, document in enumerate(read) if number % 200]
        say(f"pretraining on {target_tokens(kept):,} tokens")
        fit(model, kept, held_out, PRETRAINING, out / "pretraining", "pretraining", CrossEntropy())
        return model

    return stage(out / "base", make)


def instruct(out: Path) -> Path:
    """Tune the pretrained model on the mixture of the built-in tasks that are not held out."""

    def make() -> LanguageModel:
        model = load_model(str(pretrain(out)), device=None, precision="bf16")
        examples = training_mixture(model, corpus(out), out / "fresh", seed=SEED)
        held_out = validation_mixture(model, seed=SEED)
        say(f"instruction tuning on {len(examples):,} examples")
        fit(model, examples, held_out, INSTRUCTION, out / "instruction", "instruction tuning", EachExampleAlike())
        return model

    return stage(out / "instructed", make)


def drill(out: Path, number: int) -> Path:
    """Continue with many more rows of the tasks that are learned last, on one thread because sentences are short."""

    def make() -> LanguageModel:
        before = drill(out, number - 1) if number else instruct(out)
        torch.set_num_threads(1)
        model = load_model(str(before), device=None, precision="bf16")
        examples = drill_mixture(model, corpus(out), out / f"rows-{number}", number=number, seed=SEED + 1 + number)
        held_out = validation_mixture(model, seed=SEED)
        say(f"drill {number} on {len(examples):,} examples")
        fit(model, examples, held_out, DRILL, out / f"drill-{number}", f"drill {number}", EachExampleAlike())
        return model

    return stage(out / f"drilled-{number}", make)


def finish(out: Path) -> Path:
    """Return the finished model, the result of the last drill."""
    return stage(out / "mini", lambda: load_model(str(drill(out, len(DRILLS) - 1)), device="cpu"))


def fit(
    model: LanguageModel,
    examples: list[Encoded],
    held_out: list[Encoded],
    config: TrainingConfig,
    work: Path,
    label: str,
    objective: Objective[Encoded],
) -> None:
    """Train every weight by Luthier's loop, keep those with the lowest validation loss, and record the cost."""
    work.mkdir(parents=True, exist_ok=True)
    parts = [held_out[start : start + 16] for start in range(0, len(held_out), 16)]
    batches = [MicroBatch(part, held_out) for part in parts]

    def validate() -> Validation:
        loss = mean_loss(CrossEntropy(), model, batches)
        say(f"{label}: validation loss {loss:.4f}")
        return Validation(loss, "validation_loss", loss, higher_is_better=False)

    attached = Full().attach(model, FullSettings(), seed=SEED)
    done = train(
        model,
        attached,
        shuffled_stream(training_set(label, examples), config, seed=SEED),
        TrainingRecipe(objective, config, SEED),
        folder=work,
        validate=validate,
        label=label,
    )
    assert done.best_score is not None
    facts = {
        "examples": len(examples),
        "tokens": target_tokens(examples),
        "steps": done.step,
        "validation_loss": -done.best_score,
        "seconds": done.seconds,
        "threads": torch.get_num_threads(),
    }
    (work / "facts.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def stages_of(out: Path) -> dict[str, str]:
    """Return the stages whose weights exist, in order, each with the sha256 of its weights."""
    names = ("base", "instructed", *(f"drilled-{number}" for number in range(len(DRILLS))), "mini")
    files = {name: out / name / "model.safetensors" for name in names}
    return {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items() if file.exists()}


def describe(out: Path, folder: Path, commit: str, again: Path | None = None) -> None:
    """Write the model card, with the scores that the finished model gets.

    Args:
        out: Where the stages are.
        folder: The finished model; the card goes there.
        commit: Of the sources that made it.
        again: Stages of a second run, which are compared with the first.
    """
    first = json.loads((out / "pretraining" / "facts.json").read_text())
    second = json.loads((out / "instruction" / "facts.json").read_text())
    drills = [json.loads((out / f"drill-{number}" / "facts.json").read_text()) for number in range(len(DRILLS))]
    model = load_model(str(folder))
    shape = model.module.config
    facts = {
        "layers": shape.num_hidden_layers,
        "width": shape.hidden_size,
        "heads": shape.num_attention_heads,
        "kv_heads": shape.num_key_value_heads,
        "parameters": f"{model.parameters:,}",
        "vocabulary": f"{model.vocabulary:,}",
        "context": CONTEXT,
        "pretraining_tokens": f"{first['tokens']:,}",
        "pretraining_steps": f"{first['steps']:,}",
        "pretraining_loss": f"{first['validation_loss']:.3f}",
        "instruction_examples": f"{second['examples']:,}",
        "replayed": f"{REPLAYED:,}",
        "wordings": WORDINGS,
        "fresh": f"{FRESH:,}",
        "instruction_steps": f"{second['steps']:,}",
        "instruction_loss": f"{second['validation_loss']:.3f}",
        "drill_examples": f"{sum(own['examples'] for own in drills):,}",
        "drill_steps": f"{sum(own['steps'] for own in drills):,}",
        "drilled": "; then ".join(map(_told, DRILLS)),
        "held_out": " and ".join(f"`{name}`" for name in sorted(HELD_OUT - {"plain_text"})),
        "minutes": f"{sum(own['seconds'] for own in (first, second, *drills)) / 60:.0f}",
        "threads": second["threads"],
        "seed": SEED,
        "commit": commit,
        "digest": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "stages": stage_table(stages_of(out), {} if again is None else stages_of(again)),
        "heldout_loss": f"{heldout_loss(model):.2f}",
        "uniform_loss": f"{math.log(model.vocabulary):.2f}",
        "scores": score_table(str(folder), out / "scores"),
    }
    write_card(folder, facts)


def _told(own: Drill) -> str:
    most = ", ".join(f"{count:,} rows of `{name}`" for name, count in own.rows.items())
    return f"{most} and {own.others:,} of each other task"


def save(model: LanguageModel, folder: Path) -> None:
    """Write weights in half precision, and the tokenizer, in the Hugging Face layout."""
    writing = folder.with_name(folder.name + ".writing")
    shutil.rmtree(writing, ignore_errors=True)
    model.module.half().save_pretrained(writing)
    model.tokenizer.save_pretrained(writing)
    model.module.float()
    for path in writing.iterdir():
        path.chmod(0o644)  # safetensors gives read access to the owner only
    writing.rename(folder)


def install(folder: Path) -> None:
    """Replace the embedded model."""
    shutil.rmtree(EMBEDDED, ignore_errors=True)
    shutil.copytree(folder, EMBEDDED)
    size = sum(path.stat().st_size for path in EMBEDDED.iterdir())
    say(f"installed {size / 1e6:.1f} MB at {EMBEDDED}")


def head() -> str:
    """Return the commit that is checked out; "unknown" outside a checkout."""
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=EMBEDDED, capture_output=True, text=True)
    return found.stdout.strip() or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("recipes/mini/out"))
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--commit", help="of the sources that train it, for the card; the one checked out if not given")
    parser.add_argument("--again", type=Path, help="what another run put out: the card says which stages are the same")
    arguments = parser.parse_args()
    if arguments.again and not stages_of(arguments.again):
        parser.error(f"--again {arguments.again}: no stage lies there, such as base/model.safetensors")
    keep_freed_memory()
    arguments.out.mkdir(parents=True, exist_ok=True)
    folder = finish(arguments.out)
    describe(arguments.out, folder, arguments.commit or head(), arguments.again)
    if arguments.install:
        install(folder)


if __name__ == "__main__":
    main()
