"""Make `mini` from nothing: ``python -m recipes.mini.build --out recipes/mini/out``.

Stages, each resumed where a kill left it: tokenizer, pretraining on the plain text of ``recipes.tasks.corpus``,
instruction tuning on the built-in tasks that are not held out, two drills in those that this does not teach, a
mean of what the drills left, model card. All trainings use Luthier's own loop.
With ``--install`` the result replaces ``src/luthier/models/mini``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from luthier.allocator import keep_freed_memory
from luthier.config import TrainingConfig
from luthier.data.batching import plan_steps
from luthier.methods.full import Full, FullSettings
from luthier.models.language_model import LanguageModel
from luthier.models.load import load_model
from luthier.progress import say
from luthier.records import Encoded
from luthier.training.loop import Validation, train
from luthier.training.objectives import Objective, cross_entropy, mean_loss, supervised_tokens
from recipes.mini.architecture import CONTEXT, new_model, train_tokenizer
from recipes.mini.card import heldout_loss, score_table, write_card
from recipes.mini.mixture import (
    DRILLS,
    FRESH,
    HELD_OUT,
    REPLAYED,
    WORDINGS,
    as_examples,
    drill_mixture,
    each_example_alike,
    training_mixture,
    validation_mixture,
)
from recipes.tasks.corpus import documents
from recipes.tasks.files import read_rows, write_rows

SEED = 20261121
TOKENIZER_SHARE = 4  # one document in so many is enough to train the tokenizer on
EMBEDDED = Path(__file__).resolve().parents[2] / "src" / "luthier" / "models" / "mini"

PRETRAINING = TrainingConfig(
    epochs=1,
    batch_size=32,
    micro_tokens=6144,
    learning_rate=2e-3,
    warmup=0.02,
    final=0.05,
    precision="bf16",
    weight_decay=0.1,
    betas=(0.9, 0.95),
    evaluations=10,
    checkpoint_seconds=300,
)
INSTRUCTION = TrainingConfig(
    epochs=1,
    batch_size=32,
    micro_tokens=6144,
    learning_rate=1.5e-3,
    precision="bf16",
    warmup=0.05,
    weight_decay=0.01,
    evaluations=6,
    checkpoint_seconds=300,
)

OF_THE_LAST = 0.45
DRILL = INSTRUCTION.model_copy(update={"learning_rate": 1e-3, "final": 0.05, "evaluations": 1})


def corpus(out: Path) -> list[str]:
    """The documents of the plain text; made at the first call and then read."""
    folder = out / "corpus"
    if not (folder / "train.jsonl.gz").exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_rows(folder / "train.jsonl.gz", [{"text": text} for text in documents()])
    return [str(row["text"]) for row in read_rows(folder / "train.jsonl.gz")]


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
    """Pretrain on the corpus, each document by itself; one document in 200 is kept for validation."""
    folder = out / "base"
    if (folder / "config.json").exists():
        return folder
    model = load_model(str(make_base(out)), device=None)
    read = as_examples(model, corpus(out))
    held_out, kept = read[::200], [document for number, document in enumerate(read) if number % 200]
    say(f"pretraining on {supervised_tokens(kept):,} tokens")
    fit(model, kept, held_out, PRETRAINING, out / "pretraining", "pretraining")
    save(model, folder)
    return folder


def instruct(out: Path) -> Path:
    """Tune the pretrained model on the mixture of the built-in tasks that are not held out."""
    folder = out / "instructed"
    if (folder / "config.json").exists():
        return folder
    model = load_model(str(pretrain(out)), device=None)
    examples = training_mixture(model, corpus(out), out / "fresh", seed=SEED)
    held_out = validation_mixture(model, seed=SEED)
    say(f"instruction tuning on {len(examples):,} examples")
    fit(model, examples, held_out, INSTRUCTION, out / "instruction", "instruction tuning", each_example_alike)
    save(model, folder)
    return folder


def drill(out: Path, number: int) -> Path:
    """Go on with many more rows of the tasks that are learned last, on one thread: sentences are short."""
    folder = out / f"drilled-{number}"
    if (folder / "config.json").exists():
        return folder
    torch.set_num_threads(1)
    model = load_model(str(drill(out, number - 1) if number else instruct(out)), device=None)
    examples = drill_mixture(model, corpus(out), out / f"rows-{number}", number=number, seed=SEED + 1 + number)
    held_out = validation_mixture(model, seed=SEED)
    say(f"drill {number} on {len(examples):,} examples")
    fit(model, examples, held_out, DRILL, out / f"drill-{number}", f"drill {number}", each_example_alike)
    save(model, folder)
    return folder


def join(out: Path) -> Path:
    """Interpolate between the weights after the first drill and after the last, which forgot part of what came before.

    Their mean keeps more of both than either has (Wortsman et al. 2022, arXiv:2203.05482); the share was chosen on the
    validation splits, among 0, 0.3, 0.45, 0.6, 0.75 and 1.
    """
    folder = out / "mini"
    if (folder / "config.json").exists():
        return folder
    last = load_model(str(drill(out, len(DRILLS) - 1)), device="cpu").module.float().state_dict()
    model = load_model(str(drill(out, 0)), device="cpu")
    first = model.module.float().state_dict()
    model.module.load_state_dict({name: torch.lerp(first[name], last[name], OF_THE_LAST) for name in first})
    save(model, folder)
    return folder


def fit(
    model: LanguageModel,
    examples: list[Encoded],
    held_out: list[Encoded],
    config: TrainingConfig,
    work: Path,
    label: str,
    objective: Objective = cross_entropy,
) -> None:
    """Train every weight by Luthier's loop, keep those with the lowest validation loss, and note what it took."""
    work.mkdir(parents=True, exist_ok=True)
    batches = [held_out[start : start + 16] for start in range(0, len(held_out), 16)]

    def validate() -> Validation:
        loss = mean_loss(model, batches)
        say(f"{label}: validation loss {loss:.4f}")
        return Validation(loss, "validation_loss", loss, higher_is_better=False)

    attached = Full().attach(model, FullSettings(), seed=SEED)
    plan = plan_steps(len(examples), config, seed=SEED)
    assert config.learning_rate is not None
    done = train(
        model,
        attached,
        examples,
        plan,
        config,
        peak_learning_rate=config.learning_rate,
        seed=SEED,
        folder=work,
        validate=validate,
        objective=objective,
        label=label,
    )
    assert done.best_score is not None
    facts = {
        "examples": len(examples),
        "tokens": supervised_tokens(examples),
        "steps": done.step,
        "validation_loss": -done.best_score,
        "seconds": done.seconds,
        "threads": torch.get_num_threads(),
    }
    (work / "facts.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def describe(out: Path, folder: Path) -> None:
    """Write the model card, with the scores that the finished model gets."""
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
        "drill_examples": " and ".join(f"{own['examples']:,}" for own in drills),
        "drill_steps": " and ".join(f"{own['steps']:,}" for own in drills),
        "drilled": ", then ".join(_of_drill(drilled, others) for drilled, others in DRILLS),
        "of_the_last": f"{OF_THE_LAST:.0%}",
        "held_out": " and ".join(f"`{name}`" for name in sorted(HELD_OUT - {"plain_text"})),
        "minutes": f"{sum(own['seconds'] for own in (first, second, *drills)) / 60:.0f}",
        "threads": second["threads"],
        "seed": SEED,
        "digest": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "heldout_loss": f"{heldout_loss(model):.2f}",
        "uniform_loss": f"{math.log(model.vocabulary):.2f}",
        "scores": score_table(str(folder), out / "scores"),
    }
    write_card(folder, facts)


def _of_drill(drilled: Mapping[str, int], others: int) -> str:
    most = ", ".join(f"{count:,} rows of `{name}`" for name, count in drilled.items())
    return f"{most} and {others:,} of each other task"


def save(model: LanguageModel, folder: Path) -> None:
    """Write weights in half precision, and the tokenizer, in the Hugging Face layout."""
    writing = folder.with_name(folder.name + ".writing")
    shutil.rmtree(writing, ignore_errors=True)
    model.module.half().save_pretrained(writing)
    model.tokenizer.save_pretrained(writing)
    model.module.float()
    for path in writing.iterdir():
        path.chmod(0o644)  # safetensors writes for the owner alone
    writing.rename(folder)


def install(folder: Path) -> None:
    """Replace the embedded model."""
    shutil.rmtree(EMBEDDED, ignore_errors=True)
    shutil.copytree(folder, EMBEDDED)
    size = sum(path.stat().st_size for path in EMBEDDED.iterdir())
    say(f"installed {size / 1e6:.1f} MB at {EMBEDDED}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("recipes/mini/out"))
    parser.add_argument("--install", action="store_true")
    arguments = parser.parse_args()
    keep_freed_memory()
    arguments.out.mkdir(parents=True, exist_ok=True)
    folder = join(arguments.out)
    describe(arguments.out, folder)
    if arguments.install:
        install(folder)


if __name__ == "__main__":
    main()
