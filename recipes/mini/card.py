"""The model card of `mini`: its training data, training time, and score on every built-in task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from luthier.config.evaluate import EvaluateConfig
from luthier.data.text_windows import text_windows
from luthier.experiments.evaluate import evaluate
from luthier.experiments.evaluated import Evaluated
from luthier.inference.scoring import answer_logprobs
from luthier.models.language_model import LanguageModel
from luthier.tasks.held_out_text import load_texts
from recipes.mini.mixture import HELD_OUT

TEXT = Template("""---
license: cc0-1.0
language: [en, es]
library_name: transformers
pipeline_tag: text-generation
---

# mini

A small instruction model that ships with Luthier, so that the whole road from a base model to a report runs offline in
minutes. It is a real pretrained model, for trying things out and for tests; it knows only the small world of its own
texts and is of no other use.

| | |
|---|---|
| architecture | Llama, $layers layers, width $width, $heads heads ($kv_heads key-value), tied embeddings |
| parameters | $parameters |
| tokenizer | byte-level BPE, $vocabulary tokens, trained on the same texts |
| context | $context tokens |
| pretraining | $pretraining_tokens tokens of composed plain text (CC0, written for Luthier), $pretraining_steps steps |
| instruction tuning | $instruction_steps steps over $instruction_examples examples: \
every training row of every built-in task but $held_out, each in $wordings of the training \
templates; $fresh rows of each task newly composed from the scenarios of its training rows; and $replayed plain texts |
| drills | $drill_steps steps over $drill_examples examples, newly composed likewise: $drilled; each with $replayed \
plain texts |
| precision | bf16 matrix products, float32 weights; stored in float16 |
| time | $minutes minutes on $threads CPU threads at most, on a machine that did other work as well |
| validation loss | pretraining $pretraining_loss, instruction tuning $instruction_loss nats a token |
| held-out text | $heldout_loss nats a token on `plain_text`, whose stories it has not seen (uniform: $uniform_loss) |
| made by | `python -m recipes.mini.build --install`, seed $seed, at commit $commit |
| sha256 of `model.safetensors` | `$digest` |

## Checksums

Of the weights that each stage leaves, in a first run and, where it was made, in a second one from the same sources.
Another engine or another processor rounds otherwise, and leaves other weights.

$stages

## Scores

Zero-shot, on the test split of every built-in task. "Held out" tasks were not in the instruction mixture. *Known* and
*new* are the scores on rows whose scenarios training rows show as well, and on the rest; names are new in both.

$scores

## Limits

It was trained on composed English, and some Spanish, of a few thousand words each. It knows the scenarios that it has
read better than others: compare the validation loss of pretraining, measured on other documents of the same scenarios,
with the loss on held-out text, and the scores on known with those on new scenarios. It does not know facts, it does not
reason, and what it says of anything outside its world means nothing. It has not been aligned in any way.
""")


def score_table(model: str, out: Path) -> str:
    """Return a Markdown table of the model's score on every built-in task."""
    rows = ["| task | metric | score | 95 % interval | known | new | chance | n | |"]
    rows.append("|---|---|--:|--:|--:|--:|--:|--:|---|")
    rows += [_row(item) for item in evaluate(EvaluateConfig(model=model, runs=out))]
    return "\n".join(rows)


def stage_table(first: Mapping[str, str], again: Mapping[str, str]) -> str:
    """Return a Markdown table of the sha256 of each stage's weights, and whether a second run gave the same."""
    rows = ["| stage | sha256 of `model.safetensors` | second run |", "|---|---|---|"]
    for name, digest in first.items():
        second = "–" if name not in again else "the same" if again[name] == digest else f"`{again[name]}`"
        rows.append(f"| {name} | `{digest}` | {second} |")
    return "\n".join(rows)


def heldout_loss(model: LanguageModel) -> float:
    """Return the nats per token of the built-in held-out documents."""
    windows = [
        window
        for number, text in enumerate(load_texts("plain_text"))
        for window in text_windows(
            model.tokenizer, text, encoder_decoder=False, max_length=model.max_length, name=str(number)
        )
    ]
    return -sum(answer_logprobs(model, windows)) / sum(len(window.target_ids) for window in windows)


def _row(item: Evaluated) -> str:
    first = item.scores[0]
    chance = "–" if item.task.chance is None else f"{item.task.chance:.3f}"
    held_out = "held out" if item.task.name in HELD_OUT else ""
    interval = f"{first.low:.3f} – {first.high:.3f}"
    known, new = (f"{item.parts[part][0].value:.3f}" for part in ("known scenarios", "new scenarios"))
    return (
        f"| `{item.task.name}` | {first.metric} | {first.value:.3f} | {interval} | {known} | {new} | {chance} "
        f"| {first.n} | {held_out} |"
    )


def write_card(folder: Path, facts: dict[str, Any]) -> None:
    """Write ``README.md`` into the model's folder."""
    (folder / "README.md").write_text(TEXT.substitute(facts), encoding="utf-8")
