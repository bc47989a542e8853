"""Contamination: by hand, and on public sets that are known to share items."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import pytest

from luthier.evaluation.contamination import item_text, overlap, training_text, words
from luthier.records import Example, Turn

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is absent")
LETTERS = "a b c d e f g h i j k l m n o p q r s t u v w x y z"


def test_the_share_of_thirteen_grams_by_hand() -> None:
    # 17 words have 5 n-grams of 13; the training text holds the first 16 words, and so 4 of them: 0.8 is enough.
    item, training = LETTERS[: 2 * 17], f"before {LETTERS[: 2 * 16]} after"
    found = overlap([item], [training])
    assert found.shares == (0.8,)
    assert found.verdicts == ("dirty",)
    found = overlap([LETTERS[: 2 * 18]], [training])
    assert found.shares[0] == pytest.approx(4 / 6)
    assert found.verdicts == ("clean",)


def test_short_items_are_judged_by_eight_grams_and_shorter_ones_not_at_all() -> None:
    found = overlap(
        ["One two three, four five six seven EIGHT!", "one two three"], ["one two three four five six seven eight"]
    )
    assert math.isnan(found.shares[1])
    assert list(found.verdicts) == ["dirty", "unknown"]
    assert (found.dirty, found.unknown) == (1, 1)


def test_n_grams_do_not_run_from_one_training_text_into_the_next() -> None:
    assert overlap(["a b c d e f g h"], ["a b c d", "e f g h"]).dirty == 0


def test_the_wording_that_many_items_share_does_not_count() -> None:
    wording = "please read the text and answer the question that"
    items = [f"{wording} follows {' '.join(f'{word}{i}' for word in LETTERS.split())}" for i in range(20)]
    found = overlap(items, [wording + " follows"])
    assert set(found.shares) == {0.0}
    assert overlap([wording] * 20, [wording]).verdicts == ("unknown",) * 20


def test_what_an_item_is_and_what_is_learned() -> None:
    example = Example(
        "1", "t", "plain", "Say: the text. Answer:", ("yes",), input_span=(5, 14), turns=(Turn("before", "reply"),)
    )
    assert item_text(example) == "the text."
    assert words(training_text(example)) == ["before", "reply", "say", "the", "text", "answer", "yes"]


def read(*parts: str) -> list[dict[str, str]]:
    path = DATA.joinpath(*parts)
    text = path.read_bytes().decode("utf-8")
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    if path.suffix == ".csv":
        return list(csv.DictReader(io.StringIO(text, newline="")))
    head, *lines = text.splitlines()
    return [dict(zip(head.split("\t"), line.split("\t"), strict=False)) for line in lines]


def pairs(*parts: str) -> list[str]:
    return [f"{row['sentence1']} {row['sentence2']}" for row in read(*parts)]


@needs_data
def test_rte_of_glue_holds_131_of_the_277_items_of_rte_of_superglue() -> None:
    items = [f"{row['premise']} {row['hypothesis']}" for row in read("superglue", "RTE", "val.jsonl")]
    found = overlap(items, pairs("glue", "RTE", "train.tsv"))
    assert (len(items), found.dirty, found.unknown) == (277, 131, 0)


@needs_data
def test_wnli_holds_73_of_the_104_passages_of_wsc_by_13_grams_and_7_more_that_are_too_short_for_them() -> None:
    items = [row["text"] for row in read("superglue", "WSC", "val.jsonl")]
    found = overlap(items, pairs("glue", "WNLI", "train.tsv"))
    long = [verdict for item, verdict in zip(items, found.verdicts, strict=True) if len(words(item)) >= 13]
    assert (len(items), long.count("dirty")) == (104, 73)
    assert (found.dirty, len(items) - len(long)) == (80, 7)


@needs_data
def test_alpaca_holds_none_of_gsm8k_mmlu_and_truthfulqa() -> None:
    rows = json.loads((DATA / "alpaca" / "alpaca_5000.json").read_text(encoding="utf-8"))
    training = [" ".join((row["instruction"], row["input"], row["output"])) for row in rows]
    mmlu = [
        row["question"] for path in (DATA / "mmlu" / "test").glob("*.csv") for row in read("mmlu", "test", path.name)
    ]
    items = {
        "gsm8k": [row["question"] for row in read("gsm8k", "test.jsonl")],
        "mmlu": mmlu,
        "truthfulqa": [row["Question"] for row in read("truthfulqa", "TruthfulQA.csv")],
    }
    assert {name: len(own) for name, own in items.items()} == {"gsm8k": 1319, "mmlu": 14042, "truthfulqa": 817}
    assert {name: overlap(own, training).dirty for name, own in items.items()} == {
        "gsm8k": 0,
        "mmlu": 0,
        "truthfulqa": 0,
    }
