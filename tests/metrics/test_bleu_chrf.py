"""BLEU and chrF: worked by hand, and what sacrebleu says to 1e-9."""

from __future__ import annotations

import gzip
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.metrics.overlap.bleu import SMOOTHINGS, bleu, bleu_metric, bleu_of, bleu_statistics, sentence_bleu
from luthier.metrics.overlap.chrf import chrf, chrf_metric, chrf_of, chrf_statistics
from luthier.records import Prediction

LOCAL_TOKENISERS = ("13a", "intl", "none", "char", "zh")


def streams(references: list[list[str]]) -> Any:
    """The references as sacrebleu takes them, ``None`` where a text has fewer; its types do not say so."""
    most = max(map(len, references))
    return [[r[i] if i < len(r) else None for r in references] for i in range(most)]


def assert_equal_statistics(predictions: list[str], references: list[list[str]]) -> None:
    for tokenize in LOCAL_TOKENISERS:
        for lowercase in (False, True):
            reference = sacrebleu.BLEU(tokenize=tokenize, lowercase=lowercase, force=True)
            expected = reference._extract_corpus_statistics(predictions, streams(references))
            found = bleu_statistics(predictions, references, tokenize=tokenize, lowercase=lowercase)
            assert found.tolist() == [list(map(float, row)) for row in expected], tokenize
    for word_order in (0, 2):
        scorer = sacrebleu.CHRF(word_order=word_order)
        expected = scorer._extract_corpus_statistics(predictions, streams(references))
        found = chrf_statistics(predictions, references, word_order=word_order)
        # Where two references are equally good, either may be taken.
        values = [scorer._compute_f_score(row) for row in expected]
        assert chrf_of(found) == pytest.approx(values, abs=1e-9)


def test_bleu_by_hand() -> None:
    # 4 of 5 words, 2 of 4 bigrams, 0 of 3 trigrams and 0 of 2 four-grams match; the zeros are halved and halved again.
    expected = 100 * (4 / 5 * 2 / 4 * (1 / 2 / 3) * (1 / 4 / 2)) ** 0.25
    assert bleu(["It is very cold outside"], ["It is cold outside"]) == pytest.approx(expected)


def test_brevity_penalty_by_hand() -> None:
    # Four words, all right, for a reference of six: exp(1 - 6/4).
    assert bleu(["a b c d"], ["a b c d e f"]) == pytest.approx(100 * math.exp(-0.5))


def test_sentence_bleu_leaves_out_orders_that_are_too_long() -> None:
    assert sentence_bleu(["a b"], ["a b"]).tolist() == pytest.approx([100.0])
    assert bleu(["a b"], ["a b"]) == 0.0


def test_nearest_reference_length_and_the_shorter_of_equals() -> None:
    assert bleu_statistics(["a b c"], [["a b c d e", "a"]])[0, 1] == 1
    assert bleu_statistics(["a b c"], [["a b c d", "a"]])[0, 1] == 4


LATIN = [
    "a",
    "cat",
    "dog.",
    "1,000",
    "3.5",
    "22-",
    "-5",
    "(x)",
    "...",
    "..a",
    "$5",
    "5)",
    "(5",
    "don't",
    "x-\ny",
    "foo-",
]
MARKUP = ["&quot;", "&amp;lt;", "<skipped>", "\n", "\t", "\x1c", "\0", "-\n"]
WIDE = ["€9", "日本語", "。", "\u00a0", "\u2003", "\u0085", "é!", "٣.", "½", "\ud800", "„"]
PIECES = st.sampled_from([*LATIN, *MARKUP, *WIDE])
TEXTS = st.lists(st.tuples(PIECES, st.sampled_from(["", " ", "  "])).map("".join), max_size=14).map("".join)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TEXTS, st.lists(TEXTS, min_size=1, max_size=3)), min_size=1, max_size=6))
def test_equal_on_anything(pairs: list[tuple[str, list[str]]]) -> None:
    assert_equal_statistics([p for p, _ in pairs], [r for _, r in pairs])


@pytest.mark.slow
def test_equal_on_ten_thousand_pairs() -> None:
    rng = random.Random(3)
    words = [
        "a",
        "cat",
        "dog.",
        "1,000",
        "3.5",
        "x-y",
        "(5",
        "5)",
        "$5",
        "日本語",
        "\u00a0",
        "don't",
        "é!",
        "&quot;",
        "",
    ]
    texts = [" ".join(rng.choices(words, k=rng.choice([0, 4, 12, 30]))) for _ in range(30_000)]
    assert_equal_statistics(
        texts[:10_000], [list(pair) for pair in zip(texts[10_000:20_000], texts[20_000:], strict=True)]
    )


@pytest.mark.parametrize("smooth", SMOOTHINGS)
@pytest.mark.parametrize("effective", [False, True])
def test_smoothings_equal_sacrebleu(smooth: str, effective: bool) -> None:
    rng = random.Random(1)
    texts = [" ".join(rng.choices("abcde", k=rng.randint(0, 9))) for _ in range(400)]
    stats = bleu_statistics(texts[:200], texts[200:])
    expected = [
        sacrebleu.BLEU.compute_bleu(
            row[2:6].tolist(), row[6:].tolist(), int(row[0]), int(row[1]), smooth, None, effective_order=effective
        ).score
        for row in stats
    ]
    assert bleu_of(stats, smooth, effective_order=effective) == pytest.approx(expected, abs=1e-9)


def predictions_of(texts: list[str], references: list[list[str]]) -> list[Prediction]:
    return [Prediction(str(i), "t", t, tuple(r)) for i, (t, r) in enumerate(zip(texts, references, strict=True))]


def test_signatures_are_sacrebleus() -> None:
    texts, references = ["a b"], [["a b", "b"]]
    for metric, reference in (
        (bleu_metric(), sacrebleu.BLEU()),
        (bleu_metric(tokenize="intl", smooth="floor", lowercase=True), sacrebleu.BLEU(True, False, "intl", "floor")),
        (chrf_metric(word_order=2), sacrebleu.CHRF(word_order=2)),
    ):
        reference.corpus_score(texts, streams(references))
        assert metric.signature("2") == f"metric:{metric.name}|{reference.get_signature()}"


def test_details_are_sacrebleus() -> None:
    texts, references = ["the cat sat on a mat", "it is cold"], [["the cat sat on the mat"], ["it is very cold today"]]
    metric, expected = bleu_metric(), sacrebleu.BLEU().corpus_score(texts, streams(references))
    detail = metric.details(metric.statistics(predictions_of(texts, references)).sum(axis=0))[0]
    assert [detail[f"precision{n}"] for n in (1, 2, 3, 4)] == pytest.approx(expected.precisions)
    assert detail["brevity_penalty"] == pytest.approx(expected.bp)
    assert (detail["length"], detail["reference_length"]) == (expected.sys_len, expected.ref_len)


@pytest.mark.parametrize("system", ["PROMT-Rule-based.4735", "online-A.0", "uedin-nmt.4722"])
def test_equal_on_wmt17(shared_data: Path, system: str) -> None:
    folder = shared_data / "wmt17_en_de"
    texts = gzip.decompress((folder / f"newstest2017.{system}.en-de.txt.gz").read_bytes()).decode().splitlines()
    references = gzip.decompress((folder / "reference.txt.gz").read_bytes()).decode().splitlines()
    assert abs(bleu(texts, references) - sacrebleu.BLEU().corpus_score(texts, [references]).score) <= 1e-9
    few = slice(0, 500)
    expected = sacrebleu.BLEU(tokenize="intl").corpus_score(texts[few], [references[few]]).score
    assert abs(bleu(texts[few], references[few], tokenize="intl") - expected) <= 1e-9
    expected = sacrebleu.CHRF(word_order=2).corpus_score(texts[few], [references[few]]).score
    assert abs(chrf(texts[few], references[few], word_order=2) - expected) <= 1e-9


def test_aggregate_takes_many_resamples_at_once() -> None:
    stats = bleu_statistics(["a b c d e", "a b", "c"], ["a b c d f", "a c", "c"])
    weights = np.array([[1.0, 1, 1], [2, 1, 0], [0, 0, 3]])
    metric = bleu_metric()
    one_by_one = [float(bleu_of(w @ stats, "exp")) for w in weights]
    assert metric.evaluate(stats, weights)[:, 0].tolist() == pytest.approx(one_by_one)
