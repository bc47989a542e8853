"""BERTScore on a small random encoder: what the package bert-score says, and what must hold with any model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from metric_rows import answered

from luthier.errors import ConfigError, ModelError
from luthier.metrics.model_based.bert_score import bert_score, load_encoder
from luthier.metrics.registry import get_metric
from luthier.metrics.scoring import score_predictions

WORDS = "mike really loves adores drinking sipping tea coffee does not drink cold outside it is ##s , .".split()  # noqa: SIM905
GIVEN = ["Mike really loves drinking tea", "it is not cold outside.", "tea", "coffee, tea, coffee unknownword"]
TRUE = ["Mike adores sipping tea", "it is cold outside", "tea", "Mike does not drink coffee"]


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast  # type: ignore[attr-defined]

    folder = tmp_path_factory.mktemp("encoder")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(pieces))
    BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    torch.manual_seed(0)
    sizes: Any = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
    }
    BertModel(BertConfig(vocab_size=len(pieces), max_position_embeddings=64, **sizes)).save_pretrained(folder)
    return folder


def test_equal_to_bert_score(encoder_folder: Path) -> None:
    package = pytest.importorskip("bert_score")
    for layer in (1, 3):
        expected = package.score(GIVEN, TRUE, model_type=str(encoder_folder), num_layers=layer, use_fast_tokenizer=True)
        found = bert_score(GIVEN, TRUE, load_encoder(str(encoder_folder), layer))
        assert found == pytest.approx(np.stack([part.numpy() for part in expected], axis=1), abs=1e-5)


def test_equal_to_bert_score_with_several_references(encoder_folder: Path) -> None:
    package = pytest.importorskip("bert_score")
    references = [[t, g] for t, g in zip(TRUE, reversed(TRUE), strict=True)]
    expected = package.score(GIVEN, references, model_type=str(encoder_folder), num_layers=2, use_fast_tokenizer=True)
    found = bert_score(GIVEN, references, load_encoder(str(encoder_folder), 2))
    assert found == pytest.approx(np.stack([part.numpy() for part in expected], axis=1), abs=1e-5)


def test_the_same_text_scores_one_and_nothing_scores_zero(encoder_folder: Path) -> None:
    found = bert_score(["tea", "", "tea"], ["tea", "tea", " "], load_encoder(str(encoder_folder)))
    assert found[0] == pytest.approx([1, 1, 1])
    assert not found[1:].any()


def test_the_batch_does_not_matter(encoder_folder: Path) -> None:
    encoder = load_encoder(str(encoder_folder))
    assert bert_score(GIVEN, TRUE, encoder, batch_size=1) == pytest.approx(bert_score(GIVEN, TRUE, encoder), abs=1e-5)


def test_as_a_metric(encoder_folder: Path) -> None:
    score = score_predictions(answered(GIVEN, TRUE), [f"bertscore:model={encoder_folder}:layer=2"])[0]
    assert score.metric == "bertscore"
    assert score.low <= score.value <= score.high
    assert set(score.detail) == {"precision", "recall", "f1"}
    assert f"model:{encoder_folder.name}@" in score.signature
    assert "|layer:2|idf:no|" in score.signature


def test_wrong_settings_are_told(encoder_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="bertscore:model=FOLDER_OR_ID"):
        get_metric("bertscore")
    with pytest.raises(ConfigError, match="'x' is no layer"):
        get_metric(f"bertscore:model={encoder_folder}:layer=x")
    with pytest.raises(ModelError, match="from 0 to 3"):
        load_encoder(str(encoder_folder), 7)
    with pytest.raises(ModelError, match="The model cannot be loaded"):
        load_encoder(str(tmp_path))
