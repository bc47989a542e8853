"""Entailment by a classifier whose verdicts are set by hand, and by random ones that plain transformers computes."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from metric_rows import answered

from luthier.errors import ConfigError, ModelError
from luthier.metrics.model_based.nli import entailment, load_judge
from luthier.metrics.model_based.pretrained import fingerprint, longest_input
from luthier.metrics.registry import get_metric, metric_of_output
from luthier.metrics.scoring import score_predictions
from luthier.metrics.significance import paired_difference

WORDS = "mike really loves adores drinking sipping tea coffee does not drink cold outside it is ##s , .".split()  # noqa: SIM905
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
LABELS = {0: "CONTRADICTION", 1: "Neutral", 2: "Entailment"}
AFFIRMED = (0.05, 0.15, 0.80)
"""What the classifier set by hand says of any hypothesis without "not": contradiction, neutral, entailment."""
DENIED = (0.70, 0.20, 0.10)
"""What it says of a hypothesis with "not", whatever the premise."""


def _tokenizer(folder: Path, longest: int = 64) -> None:
    from transformers import BertTokenizerFast  # type: ignore[attr-defined]

    (folder / "vocab.txt").write_text("\n".join(PIECES))
    BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=longest).save_pretrained(folder)


def _bert(folder: Path, labels: Mapping[int, str], *, by_hand: bool, longest: int = 64) -> Path:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    _tokenizer(folder, longest)
    sizes: dict[str, Any] = (
        {"hidden_size": 2, "num_attention_heads": 1} if by_hand else {"hidden_size": 32, "num_attention_heads": 2}
    )
    config = BertConfig(
        vocab_size=len(PIECES),
        num_hidden_layers=1 if by_hand else 2,
        intermediate_size=4,
        initializer_range=0.5,
        max_position_embeddings=64,
        id2label=dict(labels),
        label2id={name: index for index, name in labels.items()},
        **sizes,
    )
    model = BertForSequenceClassification(config)
    if by_hand:
        _set_by_hand(model)
    model.save_pretrained(folder)
    return folder


def _set_by_hand(model: object) -> None:
    """Make every token (1, -1), and "not" in a hypothesis (-1, 1); let [CLS] look at "not" wherever there is one."""
    import torch

    weights = dict(model.named_parameters())  # type: ignore[attr-defined]
    ones = torch.tensor([1.0, -1.0])

    def fill(name: str, value: torch.Tensor | float) -> None:
        weights[name].copy_(torch.as_tensor(value).expand_as(weights[name]))

    with torch.no_grad():
        for name in weights:
            fill(name, 1.0 if name.endswith("LayerNorm.weight") else 0.0)
        fill("bert.embeddings.word_embeddings.weight", ones)
        weights["bert.embeddings.word_embeddings.weight"][PIECES.index("not")] = -ones
        weights["bert.embeddings.token_type_embeddings.weight"][0] = 10 * ones  # a premise's tokens are all alike
        layer = "bert.encoder.layer.0.attention"
        fill(f"{layer}.self.query.bias", torch.tensor([100.0, 0.0]))
        fill(f"{layer}.self.key.weight", -torch.eye(2))
        fill(f"{layer}.self.value.weight", torch.eye(2))
        fill(f"{layer}.output.dense.weight", 100 * torch.eye(2))
        fill("bert.pooler.dense.weight", torch.eye(2))
        high, low = torch.tensor(AFFIRMED).log(), torch.tensor(DENIED).log()
        weights["classifier.weight"][:, 0] = (high - low) / 2 / math.tanh(1)
        fill("classifier.bias", (high + low) / 2)


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _bert(tmp_path_factory.mktemp("hand"), LABELS, by_hand=True)


@pytest.fixture(scope="module")
def random_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _bert(tmp_path_factory.mktemp("bert"), LABELS, by_hand=False)


@pytest.fixture(scope="module")
def random_deberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

    folder = tmp_path_factory.mktemp("deberta")
    torch.manual_seed(0)
    _tokenizer(folder)
    sizes: Any = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    relative: Any = {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
    }
    names = {0: "entailment", 1: "neutral", 2: "contradiction"}
    config = DebertaV2Config(vocab_size=len(PIECES), initializer_range=0.5, type_vocab_size=0, **sizes, **relative)
    config.id2label, config.label2id = names, {name: index for index, name in names.items()}
    DebertaV2ForSequenceClassification(config).save_pretrained(folder)
    return folder


def _texts(n: int) -> list[str]:
    dice = random.Random(0)
    return [" ".join(dice.choices(WORDS[:-3], k=dice.randint(1, 12))) for _ in range(n)]


def test_what_is_missing_what_is_added_and_what_is_denied(by_hand: Path) -> None:
    judge = load_judge(str(by_hand))
    yes, no = "Mike does drink coffee", "Mike does not drink coffee"
    found = entailment([yes, yes, no, no], [yes, no, yes, no], judge)
    expected = [
        # equivalence, complete, supported, contradiction, cut
        [0.8, 0.8, 0.8, 0.05, 0],
        [0.1, 0.1, 0.8, 0.70, 0],  # the reference, as hypothesis, holds "not": it does not follow from the prediction
        [0.1, 0.8, 0.1, 0.70, 0],
        [0.1, 0.1, 0.1, 0.70, 0],
    ]
    assert found == pytest.approx(np.array(expected), abs=1e-6)


def test_the_best_of_several_references_counts_with_all_its_numbers(by_hand: Path) -> None:
    references = [["it is not cold", "it is cold outside"], ["it is not cold"]]
    found = entailment(["it is cold"] * 2, references, load_judge(str(by_hand)))
    assert found[:, 0] == pytest.approx([0.8, 0.1], abs=1e-6)
    assert found[:, 3] == pytest.approx([0.05, 0.7], abs=1e-6)


def test_an_empty_text_means_the_same_as_nothing_else(by_hand: Path) -> None:
    found = entailment(["", "tea", " \n", ""], ["tea", "", "", ["tea", " "]], load_judge(str(by_hand)))
    assert found[:2].tolist() == [[0, 0, 0, 0, 0]] * 2
    assert found[2:].tolist() == [[1, 1, 1, 0, 0]] * 2


@pytest.mark.parametrize("kind", ["random_bert", "random_deberta"])
def test_equal_to_plain_transformers(kind: str, request: pytest.FixtureRequest) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = request.getfixturevalue(kind)
    given, true = _texts(40)[:20], _texts(40)[20:]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    names = {name.lower(): index for index, name in model.config.id2label.items()}

    def shares(premise: str, hypothesis: str) -> list[float]:
        with torch.no_grad():
            logits = model(**tokenizer(premise, hypothesis, return_tensors="pt")).logits[0]
        found: list[float] = logits.softmax(-1).tolist()
        return found

    expected = []
    for one, other in zip(given, true, strict=True):
        there, back = shares(one, other), shares(other, one)
        entails, contradicts = names["entailment"], names["contradiction"]
        both = there[entails], back[entails]
        expected.append([min(both), *both, max(there[contradicts], back[contradicts]), 0.0])
    found = entailment(given, true, load_judge(str(folder)), batch_size=7)
    assert found == pytest.approx(np.array(expected), abs=1e-5)
    assert np.ptp(found[:, 0]) > 0.1, "the pairs are told apart"


@pytest.mark.parametrize("kind", ["random_bert", "random_deberta"])
def test_neither_batch_nor_order_matter(kind: str, request: pytest.FixtureRequest) -> None:
    judge = load_judge(str(request.getfixturevalue(kind)))
    given, true = _texts(60)[:30], _texts(60)[30:]
    whole = entailment(given, true, judge)
    assert entailment(given, true, judge, batch_size=1) == pytest.approx(whole, abs=1e-5)
    order = random.Random(1).sample(range(30), 30)
    shuffled = entailment([given[i] for i in order], [true[i] for i in order], judge)
    assert (shuffled == whole[order]).all(), "the same bits"


def test_a_text_too_long_is_cut_and_counted(random_bert: Path) -> None:
    long = " ".join(["tea"] * 70)
    rows = answered([long, "tea"], ["coffee", "tea"])
    score = score_predictions(rows, [f"nli:model={random_bert}"])[0]
    assert score.detail["cut"] == 0.5
    judge = load_judge(str(random_bert))
    # 64 positions hold [CLS], 60 words, [SEP], "coffee" and [SEP].
    cut = entailment([" ".join(["tea"] * 60)], ["coffee"], judge)
    assert cut[0, -1] == 0
    assert entailment([long], ["coffee"], judge)[0, :4] == pytest.approx(cut[0, :4], abs=1e-6)


def test_a_model_that_knows_no_contradiction_reports_none(tmp_path: Path) -> None:
    folder = _bert(tmp_path, {0: "entailment", 1: "not_entailment"}, by_hand=False)
    score = score_predictions(answered(["tea", "coffee"], ["coffee", "tea"]), [f"nli:model={folder}"])[0]
    assert set(score.detail) == {"complete", "supported", "cut"}
    assert np.isnan(entailment(["tea"], ["coffee"], load_judge(str(folder)))[0, 3])


def test_as_a_metric_with_interval_signature_and_paired_test(by_hand: Path) -> None:
    name = f"nli:model={by_hand}"
    yes, no = "it is cold", "it is not cold"
    good, bad = answered([yes] * 20, [yes] * 20), answered([no] * 10 + [yes] * 10, [yes] * 20)
    score = score_predictions(bad, [name])[0]
    assert score.metric == "nli"
    assert score.value == pytest.approx(0.45, abs=1e-6)  # half of them 0.1, half 0.8
    assert score.low < 0.45 < score.high
    assert score.detail == pytest.approx({"complete": 0.8, "supported": 0.45, "contradiction": 0.375, "cut": 0})
    assert score.signature.startswith(f"metric:nli|nrefs:1|model:{by_hand.name}@")
    assert "|directions:both|of:min|" in score.signature
    difference = paired_difference(bad, good, name)
    assert difference.value == pytest.approx(-0.35, abs=1e-6)
    assert difference.p_value < 0.01
    assert metric_of_output("nli") == "nli"


def test_the_signature_knows_the_weights(by_hand: Path, tmp_path: Path) -> None:
    before = fingerprint(str(_bert(tmp_path, LABELS, by_hand=False)))
    assert before == fingerprint(f"{tmp_path}/."), "however the folder is written"
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"id2label": {"0": "entailment", "1": "x", "2": "y"}}))
    assert fingerprint(str(tmp_path)) != before


def test_the_signature_of_a_hub_model_names_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = tmp_path / "models--somebody--judge" / "snapshots" / ("0123456789abcdef" * 3)[:40]
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (tmp_path / "models--somebody--judge" / "refs").mkdir()
    (tmp_path / "models--somebody--judge" / "refs" / "main").write_text(snapshot.name)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert fingerprint("somebody/judge") == "somebody/judge@0123456789ab"


def test_positions_that_roberta_never_uses_are_not_offered() -> None:
    from types import SimpleNamespace

    import torch
    from transformers import RobertaConfig, RobertaModel

    sizes: Any = {"hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = RobertaModel(RobertaConfig(vocab_size=9, max_position_embeddings=18, pad_token_id=1, **sizes))
    unbounded = SimpleNamespace(model_max_length=10**30)
    assert longest_input(model, unbounded) == 16
    model(torch.full((1, 16), 5))
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.full((1, 17), 5))
    assert longest_input(model, SimpleNamespace(model_max_length=12)) == 12


def test_wrong_models_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nli:model=FOLDER_OR_ID"):
        get_metric("nli")
    with pytest.raises(ModelError, match="The model cannot be loaded"):
        load_judge(str(tmp_path))
    folder = _bert(tmp_path, {0: "positive", 1: "negative", 2: "not_entailment"}, by_hand=False)
    with pytest.raises(ConfigError) as fault:
        load_judge(str(folder))
    assert "no label 'entailment'. It has 'positive', 'negative', 'not_entailment'." in str(fault.value)
    assert str(folder) in str(fault.value)
    assert "id2label" in fault.value.fix


def test_damaged_weights_are_told(tmp_path: Path) -> None:
    _bert(tmp_path, LABELS, by_hand=False)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelError, match="The model cannot be loaded"):
        load_judge(str(tmp_path))


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    import torch

    _bert(tmp_path, LABELS, by_hand=False)
    (tmp_path / "model.safetensors").unlink()
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_judge(str(tmp_path))


@pytest.mark.gpu
def test_the_accelerator_says_the_same(random_deberta: Path) -> None:
    from dataclasses import replace

    judge = load_judge(str(random_deberta))
    assert judge.model.device.type != "cpu"
    given, true = _texts(60)[:30], _texts(60)[30:]
    there = entailment(given, true, judge)
    here = entailment(given, true, replace(judge, model=judge.model.to("cpu")))
    load_judge.cache_clear()
    assert there == pytest.approx(here, abs=1e-5)
