"""ROUGE: worked by hand, and to the last bit what rouge-score says."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.stem.porter import PorterStemmer
from rouge_score import rouge_scorer

from luthier.metrics.overlap.porter import stem
from luthier.metrics.overlap.rouge import TYPES, rouge

Table = npt.NDArray[np.float64]


def reference_rouge(predictions: list[str], references: list[str | list[str]], *, stemmer: bool) -> Table:
    scorer = rouge_scorer.RougeScorer(list(TYPES), use_stemmer=stemmer)
    rows = []
    for text, truth in zip(predictions, references, strict=True):
        scores = scorer.score(truth, text) if isinstance(truth, str) else scorer.score_multi(truth, text)
        rows.append([[s.precision, s.recall, s.fmeasure] for s in scores.values()])
    return np.array(rows)


def largest_difference(predictions: list[str], references: list[str | list[str]]) -> float:
    return max(
        float(
            np.abs(
                rouge(predictions, references, stemmer=s) - reference_rouge(predictions, references, stemmer=s)
            ).max()
        )
        for s in (False, True)
    )


def of(prediction: str, reference: str, name: str) -> tuple[float, float]:
    row = rouge([prediction], [reference])[0, TYPES.index(name)]
    return round(float(row[0]), 4), round(float(row[1]), 4)


def test_inserted_word_costs_precision_only() -> None:
    # "It is cold outside" has all of its 4 words, in order, among the 5 of the prediction.
    assert of("It is very cold outside", "It is cold outside", "rougeL") == (0.8, 1.0)
    assert of("It is very cold outside", "It is cold outside", "rouge1") == (0.8, 1.0)
    assert of("It is very cold outside", "It is cold outside", "rouge2") == (0.5, 0.6667)


def test_repeated_word_is_clipped() -> None:
    # "cold" stands once in the reference, so that it counts once.
    assert of("cold cold cold cold", "It is cold outside", "rouge1") == (0.25, 0.25)


def test_shuffled_words_are_seen_by_bigrams_and_by_order_only() -> None:
    assert of("outside cold it is", "It is cold outside", "rouge1") == (1.0, 1.0)
    assert of("outside cold it is", "It is cold outside", "rouge2") == (0.3333, 0.3333)
    assert of("outside cold it is", "It is cold outside", "rougeL") == (0.5, 0.5)


def test_a_negation_hardly_costs_anything() -> None:
    assert of("It is not cold outside", "It is cold outside", "rouge1") == (0.8, 1.0)


def test_lines_may_change_places_in_lsum() -> None:
    prediction, reference = "it rains\nwe stay", "we stay\nit rains"
    assert of(prediction, reference, "rougeL") == (0.5, 0.5)
    assert of(prediction, reference, "rougeLsum") == (1.0, 1.0)


def test_each_type_takes_its_own_best_reference() -> None:
    references = ["cold it outside is", "it is warm"]
    table = rouge(["it is cold outside"], [references])[0]
    assert table[0].tolist() == [1.0, 1.0, 1.0]  # From the first reference: all words.
    assert table[1, 0] == pytest.approx(1 / 3)  # From the second: the bigram "it is".


def test_nothing_against_nothing_is_zero_and_no_error() -> None:
    assert not rouge(["", "...", "a"], ["a", "", "..."]).any()
    assert rouge([], []).shape == (0, 4, 3)


def test_wrong_numbers_are_told() -> None:
    with pytest.raises(ValueError, match="2 predictions and 1 references"):
        rouge(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="Prediction 1 has no reference"):
        rouge(["a", "b"], [["a"], []])


ALPHABET = st.sampled_from(
    [
        "a",
        "b",
        "cold",
        "running",
        "Runs",
        "flies",
        "İzmir",
        "K",
        "ſ",
        "é",
        "日本",
        "22",
        "3.5",
        "x-y",
        "\n",
        "\n\n",
        " ",
        ", ",
        "\0",
    ]
)
TEXTS = st.one_of(st.text(max_size=40), st.lists(ALPHABET, max_size=60).map(" ".join), st.lists(ALPHABET).map("".join))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(TEXTS, st.one_of(TEXTS, st.lists(TEXTS, min_size=1, max_size=3))), min_size=1, max_size=8))
def test_equal_on_anything(pairs: list[tuple[str, str | list[str]]]) -> None:
    assert largest_difference([p for p, _ in pairs], [r for _, r in pairs]) == 0.0


def random_text(rng: random.Random, most: int) -> str:
    words = ["a", "the", "cold", "running", "runs", "1", "22", "x-y", "élan", "\n", "Ünder", "İ", "organisation"]
    return rng.choice([" ", "\n", ""]).join(rng.choices(words, k=rng.randint(0, most)))


def test_equal_on_lines_longer_than_a_machine_word() -> None:
    rng = random.Random(5)
    texts = [
        "\n".join(" ".join(rng.choices("abcdefghij", k=k)) for k in rng.choices([3, 64, 65, 150], k=3))
        for _ in range(24)
    ]
    assert largest_difference(texts[:12], list(texts[12:])) == 0.0


@pytest.mark.slow
def test_equal_on_ten_thousand_pairs() -> None:
    rng = random.Random(7)
    lengths = [rng.choice([3, 10, 30]) for _ in range(9_960)] + [600] * 40
    predictions = [random_text(rng, k) for k in lengths]
    references: list[str | list[str]] = [
        random_text(rng, k) if rng.random() < 0.8 else [random_text(rng, k) for _ in range(3)] for k in lengths
    ]
    assert largest_difference(predictions, references) == 0.0


def test_equal_on_dialogsum(shared_data: Path) -> None:
    rows = [json.loads(line) for line in (shared_data / "dialogsum" / "test.jsonl").read_text().splitlines()][:200]
    for system, others in ((1, (2, 3)), (2, (3, 1)), (3, (1, 2))):
        predictions = [row[f"summary{system}"] for row in rows]
        assert largest_difference(predictions, [[row[f"summary{o}"] for o in others] for row in rows]) == 0.0


def test_equal_on_dialogues_of_many_lines(shared_data: Path) -> None:
    rows = [json.loads(line) for line in (shared_data / "dialogsum" / "test.jsonl").read_text().splitlines()][:13]
    dialogues = [row["dialogue"] for row in rows]
    assert largest_difference(dialogues[:-1], list(dialogues[1:])) == 0.0


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("flies", "fli"),
        ("dies", "die"),
        ("agreed", "agre"),
        ("hopping", "hop"),
        ("relational", "relat"),
        ("news", "news"),
    ],
)
def test_stems(word: str, expected: str) -> None:
    assert stem(word) == expected


ENDINGS = re.findall(
    r"\w+",
    """ational tional enci anci izer bli alli entli eli ousli ization ation ator alism iveness fulness ousness aliti
    iviti biliti fulli logi icate ative alize iciti ical ful ness al ance ence er ic able ible ant ement ment ent ion
    ou ism ate iti ous ive ize e ll s sses ies ss eed ed ing ied y at bl iz""",
)


def test_stems_equal_nltk() -> None:
    rng = random.Random(0)
    words = {"".join(rng.choices("aeioubtrslyzwx1", k=rng.randint(0, 6))) + rng.choice(ENDINGS) for _ in range(20_000)}
    reference = PorterStemmer()
    assert [w for w in words if stem(w) != reference.stem(w)] == []
