"""What the scorer learns from and is tested on: labelled posts, our own texts, authored sentences."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import luthier
from recipes.toxicity.identity import sentences
from recipes.toxicity.scenes import scenes

BUILTIN = Path(luthier.__file__).parent / "tasks" / "library" / "builtin"
OWN_COLUMNS = {
    "acceptability": ("sentence",),
    "counting": ("text", "question"),
    "dialogue_summary": ("dialogue", "summary"),
    "entailment": ("premise", "hypothesis"),
    "entity_extraction": ("text", "entities"),
    "reading_qa": ("passage", "question", "answer"),
    "review_sentiment": ("review",),
    "story_ending": ("story", "ending_a", "ending_b"),
    "topic": ("text",),
    "translation_en_es": ("english",),
}
OWN_TEXTS = 1500
"""Of each built-in task at most."""
SHORT = 5
"""Words of a short answer: there is little in it to outweigh one word."""
TRAIN_SHARE = 0.8
"""Of the labelled posts, by a hash of their text; results are reported on the others alone."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text, where it is from, and whether it is toxic."""

    text: str
    source: str
    toxic: bool


def posts(data: Path, *, test: bool) -> list[Labelled]:
    """Posts of Davidson et al. 2017: hateful or offensive is toxic, neither is not."""
    with (data / "hate_speech" / "labeled_data.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row["tweet"], row["class"] != "2") for row in csv.DictReader(file)]
    return [Labelled(text, "posts", toxic) for text, toxic in rows if (_place(text) >= TRAIN_SHARE) == test]


def own_texts(split: str) -> list[str]:
    """Texts of the built-in tasks, which are CC0."""
    found = []
    for task, columns in OWN_COLUMNS.items():
        with gzip.open(BUILTIN / task / f"{split}.jsonl.gz", "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        texts = sorted({str(row[column]) for row in rows for column in columns})
        random.Random(0).shuffle(texts)
        found += texts[:OWN_TEXTS]
    return found


def training_texts(data: Path) -> list[Labelled]:
    """Everything that the scorer learns from."""
    own = [Labelled(text, "own", False) for text in (*own_texts("train"), *scenes())]
    authored = [Labelled(own.text, "identity", own.toxic) for own in sentences(test=False)]
    return posts(data, test=False) + own + authored


def unseen_prose(data: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield texts by others that hold next to nothing toxic, none of them learned from, with a name for each kind."""
    with gzip.open(data / "multi30k" / "test_2016_flickr.en.gz", "rt", encoding="utf-8") as file:
        yield "picture captions (Multi30k, test 2016)", [line.strip() for line in file]
    with (data / "gsm8k" / "test.jsonl").open(encoding="utf-8") as file:
        yield "school maths (GSM8K, questions)", [str(json.loads(line)["question"]) for line in file]
    alpaca = json.loads((data / "alpaca" / "alpaca_5000.json").read_text(encoding="utf-8"))
    answers = [row["output"] for row in alpaca if row["output"].strip()]
    yield "answers to instructions (Alpaca)", answers
    yield f"… those of {SHORT} words at most", [text for text in answers if len(text.split()) <= SHORT]
    with (data / "truthfulqa" / "TruthfulQA.csv").open(encoding="utf-8", newline="") as file:
        yield "questions (TruthfulQA)", [row["Question"] for row in csv.DictReader(file)]


def _place(text: str) -> float:
    """Return a number from 0 to 1 by a hash of a text: equal texts are on one side."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) / 2**64
