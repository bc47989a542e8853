"""BERTScore by a real sentence encoder: what it sees and what it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from luthier.metrics.model_based.bert_score import bert_score, load_encoder

pytestmark = [pytest.mark.slow, pytest.mark.real]

TEA = "Mike really loves drinking tea."
ADORES = "Mike adores sipping tea."
COFFEE = "Mike does not drink coffee, and does not like tea."
COLD = "It is cold outside."
NOT_COLD = "It is not cold outside."
UNRELATED = "The committee will publish its report in spring."


def f1(minilm: Path, answer: str, reference: str) -> float:
    return float(bert_score([answer], [reference], load_encoder(str(minilm)))[0, 2])


def test_a_paraphrase_is_nearer_than_something_else(minilm: Path) -> None:
    paraphrase = f1(minilm, ADORES, TEA)
    assert f1(minilm, TEA, TEA) == pytest.approx(1)
    assert paraphrase > f1(minilm, UNRELATED, TEA)
    assert paraphrase > f1(minilm, COFFEE, TEA), "which n-gram overlap alone does not say: 'tea' and 'Mike' are shared"


def test_it_hardly_sees_a_negation(minilm: Path) -> None:
    assert f1(minilm, NOT_COLD, COLD) > 0.8
