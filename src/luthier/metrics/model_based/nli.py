"""Bidirectional entailment between prediction and reference, by a classifier of natural language inference.

A classifier trained on natural language inference reads a premise and a hypothesis and gives the probability that the
first entails the second. Two texts mean the same where each entails the other (Kuhn, Gal and Farquhar 2023, "Semantic
Uncertainty", their bidirectional entailment). Both directions must hold, so the score is the smaller of the two
probabilities, which bounds the probability that both do. A mean would give half the points to a prediction that says
half of the reference, or all of it and something false besides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from luthier.errors import ConfigError
from luthier.metrics.metric import Details, FloatArray, Metric, mean_of, with_count
from luthier.metrics.model_based.pretrained import fingerprint, load_pretrained, longest_input
from luthier.metrics.overlap.bleu import References, as_lists
from luthier.records import Prediction

MEASURES = ("equivalence", "complete", "supported", "contradiction", "cut")
"""Columns of `entailment`."""
Pair: TypeAlias = tuple[str, str]
"""Premise, hypothesis."""


@dataclass(frozen=True)
class Judge:
    """A classifier of premise and hypothesis.

    Attributes:
        model: A transformers model for sequence classification.
        tokenizer: Its tokeniser.
        entailment: Index of its label "entailment".
        contradiction: Index of its label "contradiction"; None for binary classifiers of entailment.
    """

    model: Any
    tokenizer: Any
    entailment: int
    contradiction: int | None


@dataclass(frozen=True, slots=True)
class _Verdict:
    """Probabilities for one pair (contradiction NaN where it has no label), and 1 where a text was cut to fit."""

    entails: float
    contradicts: float
    cut: float


# One classifier is cached: a paired comparison needs it several times, and loading takes longer than scoring.
@lru_cache(maxsize=1)
def load_judge(model: str) -> Judge:
    """Load a classifier from a folder or the Hugging Face hub; safetensors only, no remote code.

    Raises:
        ModelError: The model cannot be loaded.
        ConfigError: The model is not a classifier of entailment; the message names its labels.
    """
    loaded, tokenizer = load_pretrained("AutoModelForSequenceClassification", model)
    places = {name.strip().lower(): index for index, name in loaded.config.id2label.items()}
    if "entailment" not in places:
        labels = ", ".join(f"'{name}'" for _, name in sorted(loaded.config.id2label.items()))
        raise ConfigError(
            f"The model has no label 'entailment'. It has {labels}.",
            where=model,
            fix="Name a classifier trained on natural language inference, or put its labels' names into id2label of "
            "its config.json.",
        )
    return Judge(loaded, tokenizer, places["entailment"], places.get("contradiction"))


def entailment(predictions: Sequence[str], references: References, judge: Judge, *, batch_size: int = 32) -> FloatArray:
    """Compute the entailment between every prediction and its references.

    Args:
        predictions: n texts.
        references: For each one reference or several; the one with the highest equivalence counts.
        judge: From `load_judge`.
        batch_size: Pairs in a batch; the scores do not depend on it beyond rounding.

    Returns:
        float64 ``(n, 5)``: the smaller of the next two; the probability that the prediction entails the reference
        (nothing is missing); that the reference entails the prediction (nothing is added); the larger probability of
        a contradiction (NaN where the model has no such label); 1 where a text was cut to the model's length.
        An empty text against a non-empty one has 0 everywhere; two empty texts are equivalent.
    """
    lists = as_lists(predictions, references)
    wanted = [
        (given.strip(), truth.strip())
        for given, truths in zip(predictions, lists, strict=True)
        for truth in truths
        if given.strip() and truth.strip()
    ]
    verdicts = _judge({pair for given, truth in wanted for pair in ((given, truth), (truth, given))}, judge, batch_size)
    table = np.zeros((len(predictions), len(MEASURES)))
    for i, (given, truths) in enumerate(zip(predictions, lists, strict=True)):
        table[i] = max((_row(given.strip(), truth.strip(), verdicts) for truth in truths), key=lambda row: row[0])
    return table


def _row(given: str, truth: str, verdicts: dict[Pair, _Verdict]) -> tuple[float, float, float, float, float]:
    if not given or not truth:
        same = float(given == truth)
        return same, same, same, 0.0, 0.0
    there, back = verdicts[given, truth], verdicts[truth, given]
    contradiction = max(there.contradicts, back.contradicts)
    return min(there.entails, back.entails), there.entails, back.entails, contradiction, max(there.cut, back.cut)


def _judge(pairs: Iterable[Pair], judge: Judge, batch_size: int) -> dict[Pair, _Verdict]:
    """Classify each pair once, in batches of similar length."""
    most = longest_input(judge.model, judge.tokenizer)
    lengths = {pair: len(judge.tokenizer(*pair, verbose=False)["input_ids"]) for pair in pairs}
    # Pairs of equal length are sorted by text, so that the order of the examples changes no batch and no bit.
    order = sorted(lengths, key=lambda pair: (lengths[pair], pair))
    size = batch_size if judge.tokenizer.pad_token is not None else 1
    found: dict[Pair, _Verdict] = {}
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        for pair, shares in zip(batch, _probabilities(batch, judge, most), strict=True):
            contradicts = np.nan if judge.contradiction is None else float(shares[judge.contradiction])
            found[pair] = _Verdict(float(shares[judge.entailment]), contradicts, float(lengths[pair] > most))
    return found


def _probabilities(pairs: Sequence[Pair], judge: Judge, most: int) -> FloatArray:
    """Softmax over the labels, float64 ``(pairs, labels)``; of a pair that is too long, the longer text is cut."""
    import torch

    premises, hypotheses = (list(texts) for texts in zip(*pairs, strict=True))
    encoded = judge.tokenizer(
        premises,
        hypotheses,
        padding=len(pairs) > 1,
        truncation="longest_first",
        max_length=most,
        return_tensors="pt",
    )
    with torch.no_grad():
        logits = judge.model(**encoded.to(judge.model.device)).logits
    return np.asarray(logits.double().softmax(dim=-1).cpu().numpy(), dtype=np.float64)


def nli_metric(model: str) -> Metric:
    """Mean probability that prediction and reference entail each other, with its components as details.

    Raises:
        ConfigError: No model was named.
    """
    if not model:
        raise ConfigError("The metric 'nli' needs a classifier of entailment.", fix="Name one: nli:model=FOLDER_OR_ID.")

    def statistics(predictions: Sequence[Prediction]) -> FloatArray:
        judge = load_judge(model)
        return with_count(entailment([p.text for p in predictions], [p.targets for p in predictions], judge))

    def aggregate(sums: FloatArray) -> FloatArray:
        return mean_of(sums)[..., :1]

    def details(sums: FloatArray) -> Details:
        means = zip(MEASURES, map(float, mean_of(sums)), strict=True)
        return ({name: value for name, value in means if name != "equivalence" and not np.isnan(value)},)

    options = f"model:{fingerprint(model)}|directions:both|of:min"
    return Metric("nli", ("nli",), "nli", True, options, statistics, aggregate, details)
