"""Toxicity: what the metric counts, by hand with a scripted scorer, and what the shipped classifier can do."""

from __future__ import annotations

import csv
import gzip
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.errors import ConfigError
from luthier.metrics.metric import FloatArray
from luthier.metrics.registry import get_metric
from luthier.metrics.scoring import score_predictions
from luthier.metrics.social import toxicity
from luthier.metrics.social.toxicity_scorer import BUCKETS, WEIGHTS, clean, features, find_scorer, shipped_scorer
from luthier.records import Prediction

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"


def scripted(texts: Sequence[str]) -> FloatArray:
    """Texts are their own toxicity."""
    return np.array([float(text) for text in texts])


def sampled(identity: str, *texts: str) -> list[Prediction]:
    return [Prediction(identity, "t", text, ("x",)) for text in texts]


def test_share_and_expected_maximum_over_samples_by_hand() -> None:
    rows = [*sampled("1", "0.1", "0.9"), *sampled("2", "0.5", ""), *sampled("3", "0.2", "0.4"), *sampled("4", " ", "")]
    with mock.patch.object(toxicity, "find_scorer", return_value=scripted):
        metric = get_metric("toxicity")
        found = dict(zip(metric.outputs, metric.evaluate(metric.statistics(rows)).tolist(), strict=True))
    assert found["toxic_share"] == pytest.approx(2 / 5), "empty texts do not count"
    assert found["expected_max_toxicity"] == pytest.approx((0.9 + 0.5 + 0.4 + 0) / 4)
    assert found["max_toxicity_probability"] == pytest.approx(2 / 4)


def test_the_classifier_is_part_of_the_signature() -> None:
    score = score_predictions(sampled("1", "good morning") + sampled("2", "hello"), ["toxicity"])[0]
    assert score.value == 0
    assert "scorer:luthier-1-" in score.signature


def test_the_shipped_classifier_tells_insults_from_names_of_groups() -> None:
    scores = shipped_scorer()(
        [
            "you are a worthless piece of shit",
            "go to hell you stupid bitch",
            "My Muslim neighbour bakes bread.",
            "",
            "…",
        ]
    )
    assert (scores[:2] > 0.5).all()
    assert (scores[2:] < 0.5).all()
    assert scores[3:].tolist() == [0, 0]


def test_it_is_small_and_has_whole_numbers_for_weights() -> None:
    scorer = shipped_scorer()
    assert scorer.weights.dtype == np.int8
    assert scorer.weights.shape == (BUCKETS,)
    assert WEIGHTS.stat().st_size < 67_000


def test_features_by_hand() -> None:
    """`` ab `` has the n-grams `` ab``, ``ab ``, `` ab ``: three buckets of one each at length 1."""
    buckets, values = features("AB")
    assert len(buckets) == 3
    assert values == pytest.approx([3**-0.5] * 3)
    assert (buckets == features(" ab ")[0]).all()
    assert clean("RT @anna: see &amp; go https://x.y/z NOW") == " : see & go now "
    assert buckets.tolist() == sorted(int(bucket) for bucket in buckets)


@given(st.text(max_size=80))
def test_any_text_has_a_probability(text: str) -> None:
    (score,) = shipped_scorer()([text])
    assert 0 <= score <= 1


def test_hashes_do_not_change() -> None:
    """The weights would mean something else."""
    assert features("the cat")[0].tolist() == HASHES


HASHES: list[int] = [
    6611,
    9668,
    11876,
    12459,
    13093,
    14892,
    17934,
    27650,
    29959,
    31311,
    41971,
    42248,
    43505,
    45757,
    48948,
    50873,
    55891,
    60551,
]


@pytest.mark.skipif(not (DATA / "hate_speech").is_dir(), reason="../shared/data/hate_speech is absent")
def test_it_is_as_good_as_its_card_says_on_posts_that_it_has_not_seen() -> None:
    with (DATA / "hate_speech" / "labeled_data.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row["tweet"], row["class"] != "2") for row in csv.DictReader(file)]
    place = [int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) / 2**64 for text, _ in rows]
    unseen = [row for row, at in zip(rows, place, strict=True) if at >= 0.8]
    assert len(unseen) == 5087
    scores = shipped_scorer()([text for text, _ in unseen])
    toxic = np.array([label for _, label in unseen])
    ranks = scores.argsort().argsort() + 1.0
    area = (ranks[toxic].sum() - toxic.sum() * (toxic.sum() + 1) / 2) / (toxic.sum() * (~toxic).sum())
    assert area > 0.98
    assert ((scores >= 0.5) == toxic).mean() > 0.945
    with gzip.open(DATA / "multi30k" / "test_2016_flickr.en.gz", "rt", encoding="utf-8") as captions:
        assert (shipped_scorer()(captions.read().splitlines()) >= 0.5).mean() <= 0.022


def test_the_card_and_the_notice_ship_with_the_weights() -> None:
    card = WEIGHTS.with_suffix(".md").read_text(encoding="utf-8")
    assert "Copyright (c) 2017 Tom Davidson" in card
    assert "False positives" in card


Problem: TypeAlias = Literal["single_label_classification", "multi_label_classification"]


def classifier(folder: Path, labels: tuple[str, ...], problem: Problem) -> Path:
    """Write a small random classifier of transformers."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast  # type: ignore[attr-defined]

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "day", "idiot"]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(pieces))
    BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=16).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=32,
        num_attention_heads=2,
        num_hidden_layers=1,
        intermediate_size=16,
        initializer_range=0.8,
        max_position_embeddings=16,
        id2label=dict(enumerate(labels)),
        label2id={name: i for i, name in enumerate(labels)},
        problem_type=problem,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("labels", "problem"),
    [(("nothate", "hate"), "single_label_classification"), (("toxic", "obscene"), "multi_label_classification")],
)
def test_a_classifier_of_transformers_says_what_transformers_says(
    labels: tuple[str, ...], problem: Problem, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = classifier(tmp_path / "classifier", labels, problem)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = ["good day", "bad idiot", "idiot " * 40]
    at = 1 if problem.startswith("single") else 0
    with torch.no_grad():
        encoded = [tokenizer(text, truncation=True, return_tensors="pt") for text in texts]
        logits = [model(**own).logits[0].double() for own in encoded]
    shares = [own.softmax(-1) if at else own.sigmoid() for own in logits]
    assert find_scorer(str(folder))(texts) == pytest.approx([float(own[at]) for own in shares], abs=1e-6)
    metric = get_metric(f"toxicity:scorer={folder}")
    assert "scorer:classifier@" in metric.options


def test_a_classifier_of_something_else_is_refused(tmp_path: Path) -> None:
    folder = classifier(tmp_path / "classifier", ("negative", "positive"), "single_label_classification")
    with pytest.raises(ConfigError, match=r"None of the model's labels means toxic. It has 'negative', 'positive'"):
        find_scorer(str(folder))
