"""A run's folder as ``luthier compare`` leaves it, made of seeded numbers and no model."""

from __future__ import annotations

import itertools
import json
import math
import random
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from luthier.metrics.prediction_log import write_predictions
from luthier.records import Example, Prediction, Score
from luthier.results.change import Change
from luthier.results.records import (
    ArmCosts,
    ArmResult,
    Pair,
    Recommendation,
    RetentionResult,
    RunCosts,
    RunResults,
    write_json,
)
from luthier.results.summaries import (
    DataSummary,
    Environment,
    Execution,
    ModelSummary,
    RowCounts,
    TaskSummary,
    TrainingSummary,
)

PARAMETERS = 1_540_096
NASTY = '</script><img src=x onerror="alert(1)"> & <b>bold</b> \u2028 ]]> | pipe'


@dataclass(frozen=True)
class Sketch:
    """What one invented arm is like."""

    name: str
    method: str | None
    shots: int
    trainable: int
    score: float
    forgets: float
    seconds: float
    prompt_tokens: float


SKETCHES = (
    Sketch("zero_shot", None, 0, 0, 0.142, 0, 0, 148.2),
    Sketch("one_shot", None, 1, 0, 0.171, 0, 0, 301.7),
    Sketch("few_shot", None, 4, 0, 0.188, 0, 0, 492.4),
    Sketch("full", "full", 0, PARAMETERS, 0.331, -0.093, 212.4, 148.2),
    Sketch("lora", "lora", 0, 32_768, 0.324, -0.021, 148.9, 148.2),
    Sketch("biases", "selective", 0, 9_216, 0.262, -0.008, 131.0, 148.2),
    Sketch("prompt_tuning", "prompt_tuning", 0, 2_048, 0.214, 0.002, 187.3, 164.2),
)


@dataclass(frozen=True)
class Reported:
    """A run's folder, what it found, and its report."""

    run: Path
    results: RunResults
    html: str
    markdown: str


RETAINED = (("sst2", "accuracy", 0.81, 0.5), ("boolq", "accuracy", 0.64, 0.5), ("wmt17_en_de", "bleu", 14.2, None))
METRICS = (("rougeL", 1.0), ("rouge1", 1.24), ("rouge2", 0.46), ("bleu", 31.0))


def many(count: int) -> tuple[Sketch, ...]:
    """Return arms with long names, of all kinds."""
    name = "a_rather_long_name_that_somebody_gave_to_an_arm_{}"
    return tuple(replace(SKETCHES[k % len(SKETCHES)], name=name.format(k)) for k in range(count))


def score(metric: str, value: float, half: float, n: int = 200) -> Score:
    """Return a score with a symmetric interval."""
    signature = f"metric:{metric}|version:0.1.0|stem:yes|tokenizer:rouge|split:test|shots:0|prompt:9f2c41aa"
    return Score(metric, value, n, value - half, value + half, signature)


def change(value: float, half: float, n: int = 200) -> Change:
    """Return a difference that is significant where its interval leaves out zero."""
    significant = abs(value) > half
    return Change(value, value - half, value + half, 0.0004 if significant else 0.31, n, significant)


def _retained(sketch: Sketch, dice: random.Random) -> tuple[RetentionResult, ...]:
    items = []
    for task, metric, before, chance in RETAINED:
        unit = 30.0 if metric == "bleu" else 1.0
        moved = unit * (sketch.forgets * dice.uniform(0.4, 1.6) + dice.gauss(0, 0.004))
        pair = score(metric, before, 0.05 * unit), score(metric, before + moved, 0.05 * unit)
        scale = 100.0 if metric == "bleu" else 1.0
        items.append(RetentionResult(task, metric, True, chance, *pair, change(moved, 0.03 * unit), scale))
    return tuple(items)


def _token_loss(sketch: Sketch) -> RetentionResult:
    moved = -2.4 * sketch.forgets + 0.004
    before, after = score("token_loss", 2.413, 0.03), score("token_loss", 2.413 + moved, 0.03)
    return RetentionResult("plain_text", "token_loss", False, None, before, after, change(moved, 0.015), None)


def arm(sketch: Sketch, first: Sketch | None = None) -> ArmResult:
    """Turn a sketch into a result."""
    dice = random.Random(sketch.name)
    tuned = sketch.method is not None
    return ArmResult(
        name=sketch.name,
        method=sketch.method,
        shots=sketch.shots,
        seed=0,
        settings={"rank": 8, "alpha": 16, "target_modules": ["q_proj", "v_proj"]} if sketch.method == "lora" else {},
        training=TrainingSummary(learning_rate=3e-4, epochs=3, batch_size=16) if tuned else None,
        trainable_parameters=sketch.trainable,
        stored_bytes=sketch.trainable * 4,
        prompt_tokens=sketch.prompt_tokens,
        shots_used=(min(sketch.shots, 2), sketch.shots),
        steps=75 if tuned else 0,
        best_step=60 if tuned else None,
        scores=tuple(score(m, sketch.score * k, 0.016 * k) for m, k in METRICS),
        retained=_retained(sketch, dice) if tuned else (),
        token_loss=_token_loss(sketch) if tuned else None,
        against_first=change(sketch.score - first.score, 0.019) if first else None,
        predictions=f"predictions/{sketch.name}.jsonl",
        curve=f"curves/{sketch.name}.jsonl" if tuned else "",
        notes=("31 of 200 requests held fewer than 4 exemplars: the context is full.",) if sketch.shots > 1 else (),
    )


TASK = TaskSummary(
    name="dialogue_summary",
    version="1",
    description="Summarise a short dialogue in one sentence.",
    primary="rougeL",
    metrics=("rougeL", "rouge1", "rouge2", "bleu"),
    splits={"train": 400, "validation": 64, "test": 200},
    citation="Gliwa et al., 2019, SAMSum Corpus",
    licence="CC BY-NC-ND 4.0",
)
DATA = DataSummary(
    train_cut=11,
    train_dropped=3,
    validation_cut=1,
    report=RowCounts(rows=674, found={"train": 410, "validation": 64, "test": 200}, duplicates=7, overlaps=2),
)


ENVIRONMENT = Environment(
    system="Linux x86_64",
    processor="Some processor at 2.4 GHz",
    cores=2,
    device="cpu",
    python="3.12.4",
    versions={"torch": "2.9.0", "peft": "0.19.1"},
    commit="362f90b5a1c9",
)
EXECUTION = Execution("luthier compare demo.yaml --seeds 3", "2026-11-26T22:01:07+00:00", "2026-11-26T22:09:55+00:00")


def results(sketches: tuple[Sketch, ...] = SKETCHES, **over: Any) -> RunResults:
    """Return what a comparison of these arms found."""
    first = sketches[0]
    arms = tuple(arm(sketch, None if sketch is first else first) for sketch in sketches)
    pairs = tuple(
        Pair(b.name, a.name, change(b.score - a.score, 0.019)) for a, b in itertools.combinations(sketches, 2)
    )
    sentence = (
        "Use lora: its rougeL of 0.324 is not distinguishable from the best (full, 0.331), it trains 2.1 % of the "
        "parameters, and it forgets 0.9 points where full forgets 5.2."
    )
    fields: dict[str, Any] = {
        "luthier": "0.1.0",
        "run": "dialogue_summary-mini-3f9a",
        "config": {"model": "mini", "task": "dialogue_summary", "seed": 0, "training": {"epochs": 3, "batch_size": 16}},
        "model": ModelSummary("mini", "sha256:5b0e8d5f3f9a", "decoder", PARAMETERS, 4096, 512),
        "task": TASK,
        "data": DATA,
        "threads": 2,
        "environment": ENVIRONMENT,
        "arms": arms,
        "pairs": pairs,
        "recommendation": Recommendation(sentence, "lora", True),
    }
    return RunResults(**(fields | over))


def costs(sketches: tuple[Sketch, ...] = SKETCHES) -> RunCosts:
    """Return what these arms cost; nothing is known of the training of arms that do not train."""
    return RunCosts(
        "cpu (2 cores)",
        2,
        {
            s.name: ArmCosts(
                training_seconds=s.seconds or None,
                supervised_tokens_per_second=2410.0 if s.method else None,
                peak_memory_bytes=402_653_184 + s.trainable * 16,
                evaluation_seconds=31.2,
                generation_tokens_per_second=1873.4 / (1 + s.shots / 4),
                seconds_per_request=0.156,
                request_seconds=0.412 if s.method == "lora" else 0.297,
                merged_request_seconds=0.297 if s.method in ("full", "selective", "lora") else None,
            )
            for s in sketches
        },
        EXECUTION,
    )


PEOPLE = ("Amanda", "Jerry", "Hannah", "Tom", "Mia", "Eric", "Olga", "Kai")
DEEDS = (
    "baked cookies and will bring some tomorrow",
    "cannot find the key of the bicycle shed",
    "will be 20 minutes late because the train stands still",
    "wants to borrow the red tent for the weekend",
    "has passed the driving test at the third attempt",
)


def examples(count: int) -> list[Example]:
    """Return rendered rows of a dialogue task."""
    made = []
    for index in range(count):
        dice = random.Random(index)
        one, two = dice.sample(PEOPLE, 2)
        deed = dice.choice(DEEDS)
        dialogue = f"{one}: Hi {two}, are you there?\n{two}: Yes, what is it?\n{one}: You know, {one} {deed}!\n" * 2
        prompt = f"Summarise the dialogue.\n\n{dialogue}\nSummary:"
        target = f"{one} tells {two} that {one} {deed}."
        made.append(Example(f"dialogue-{index:04d}", "dialogue_summary", "plain", prompt, (target,)))
    return made


def _answer(sketch: Sketch, example: Example) -> Prediction:
    dice = random.Random(sketch.name + example.id)
    words = example.targets[0].split()
    kept = [word for word in words if dice.random() < min(0.98, sketch.score * 2.8)]
    text = " ".join(kept) if dice.random() > 0.02 else ""
    if example.id.endswith("0003"):
        text = NASTY
    tokens = len(text) // 4 + 1
    return Prediction(
        example.id, example.task, text, example.targets, prompt_tokens=148, generated_tokens=tokens, seconds=0.156
    )


def chosen(sketch: Sketch, count: int, *, known: float = 2.0) -> list[Prediction]:
    """Return answers to a choice task by an arm that is right more often the higher its score, and too sure of it.

    Args:
        sketch: The arm.
        count: Answers.
        known: How much surer than right the arm is; 1 is calibrated.
    """
    made = []
    for index in range(count):
        dice = random.Random(f"{sketch.name} {index}")
        logit = abs(dice.gauss(6 * sketch.score, 1.0))
        right = dice.random() < 1 / (1 + math.exp(-logit / known))
        no, yes = (-math.log1p(math.exp(sign * logit)) for sign in (1, -1))
        target = "yes" if right else "no"
        choices, values, lengths = ("no", "yes"), (no, yes), (2, 2)
        made.append(
            Prediction(
                f"q-{index:04d}",
                "boolq",
                "yes",
                (target,),
                choices=choices,
                choice_logprobs=values,
                choice_tokens=lengths,
                finish="choice",
            )
        )
    return made


def add_choices(folder: Path, sketches: tuple[Sketch, ...], count: int = 200) -> None:
    """Turn a run's logs into those of a choice task."""
    (folder / "predictions" / "examples.jsonl").write_text("", encoding="utf-8")
    for sketch in sketches:
        write_predictions(folder / "predictions" / f"{sketch.name}.jsonl", chosen(sketch, count))


def curve(sketch: Sketch, steps: int = 75) -> list[dict[str, float | str]]:
    """Return the lines of a training log."""
    dice = random.Random(sketch.name)
    floor = 3.4 - 4 * sketch.score
    lines: list[dict[str, float | str]] = []
    for step in range(1, steps + 1):
        loss = floor + 1.6 * math.exp(-step / 18) + dice.gauss(0, 0.06)
        line: dict[str, float | str] = {
            "step": step,
            "loss": loss,
            "learning_rate": 3e-4 * (1 - step / steps),
            "gradient_norm": 0.8 + dice.random() / 4,
            "tokens_per_second": 2400 + dice.gauss(0, 30),
            "memory_bytes": 4.1e8,
        }
        if step % max(1, steps // 5) == 0:
            line["validation_loss"] = floor + 0.05 + 1.6 * math.exp(-step / 18)
            line["validation_score"] = sketch.score * (1 - math.exp(-step / 20))
            line["validation_metric"] = "rougeL"
        lines.append(line)
    return lines


def _write_lines(path: Path, records: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def build(folder: Path, sketches: tuple[Sketch, ...] = SKETCHES, rows: int = 200, **over: Any) -> RunResults:
    """Write a whole run into a folder and return its results."""
    folder.mkdir(parents=True, exist_ok=True)
    found = results(sketches, **over)
    write_json(folder / "results.json", found)
    write_json(folder / "costs.json", costs(sketches))
    made = examples(rows)
    _write_lines(folder / "predictions" / "examples.jsonl", [asdict(example) for example in made])
    for sketch in sketches:
        _write_lines(folder / "predictions" / f"{sketch.name}.jsonl", [asdict(_answer(sketch, e)) for e in made])
        if sketch.method:
            _write_lines(folder / "curves" / f"{sketch.name}.jsonl", curve(sketch))
    return found
