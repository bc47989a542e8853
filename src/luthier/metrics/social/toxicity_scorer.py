"""What gives a text its toxicity: a small classifier that ships with Luthier, or one of transformers by name.

Ours is a logistic regression on hashed character 3- to 5-grams with 8-bit weights, 64 KiB in all. ``recipes/toxicity``
made it; ``toxicity.md`` beside the weights says what it is good for and where it is wrong.
"""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from luthier.errors import ConfigError
from luthier.files.digests import file_digest
from luthier.metrics.metric import FloatArray
from luthier.metrics.model_based.pretrained import fingerprint, load_pretrained, longest_input

WEIGHTS = Path(__file__).parent / "toxicity.safetensors"
SHIPPED = "shipped"
"""The name of the classifier that ships with Luthier."""
VERSION = "1"
"""Of the classifier that ships; the file says the same."""
BUCKETS = 1 << 16
SIZES = (3, 4, 5)
"""Lengths of the character n-grams."""
_NOT_WORDS = re.compile(r"https?://\S+|www\.\S+|@\w+|\brt\b|&\w+;|&#\d+;")
_BLANKS = re.compile(r"\s+")
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_LABELS = ("toxic", "toxicity", "hate", "offensive", "label_1")
"""Labels of a classifier that mean toxic, from the clearest to the vaguest."""
Scorer: TypeAlias = Callable[[Sequence[str]], FloatArray]
"""Texts ``(n,)`` to the probability that each is toxic, float64 ``(n,)``."""


@dataclass(frozen=True)
class LinearScorer:
    """The weights of a logistic regression on hashed n-grams.

    Attributes:
        weights: int8 ``(BUCKETS,)``.
        scale: What a weight of 1 is worth.
        bias: Of the regression.
        version: Of the recipe.
    """

    weights: npt.NDArray[np.int8]
    scale: float
    bias: float
    version: str

    def __call__(self, texts: Sequence[str]) -> FloatArray:
        """Score texts; one without a letter or digit has the probability 0."""
        return np.array([self._score(text) for text in texts], dtype=np.float64)

    def _score(self, text: str) -> float:
        buckets, values = features(text)
        if not len(buckets):
            return 0.0
        logit = self.bias + self.scale * float(self.weights[buckets].astype(np.float64) @ values)
        return float(1 / (1 + np.exp(-logit)))


def clean(text: str) -> str:
    """Lower-case a text without addresses, mentions and entities, and put a blank at both ends.

    What only tweets have would tell where a text is from and not what it says.
    """
    words = _NOT_WORDS.sub(" ", html.unescape(text).lower())
    return f" {_BLANKS.sub(' ', words).strip()} "


def features(text: str) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Return the buckets of a text's character n-grams, and ``log(1 + count)`` of each at length 1 (L2)."""
    cleaned = clean(text)
    codes = np.array([ord(letter) for letter in cleaned], dtype=np.uint64)
    if not any(letter.isalnum() for letter in cleaned):
        return np.zeros(0, np.int64), np.zeros(0)
    hashed = [_hashes(codes, size) for size in SIZES if len(codes) >= size]
    buckets, counts = np.unique(np.concatenate(hashed), return_counts=True)
    values = np.log1p(counts.astype(np.float64))
    return buckets.astype(np.int64), values / np.sqrt(values @ values)


def _hashes(codes: npt.NDArray[np.uint64], size: int) -> npt.NDArray[np.uint64]:
    """Hash every n-gram of a size: a polynomial of its characters modulo 2**64, and then its highest bits."""
    value = np.full(len(codes) - size + 1, np.uint64(size))
    for place in range(size):
        value = (value ^ codes[place : len(codes) - size + 1 + place]) * _MULTIPLIER
        value ^= value >> np.uint64(29)
    return value >> np.uint64(64 - 16)


@functools.cache
def shipped_scorer() -> LinearScorer:
    """Load the classifier that ships with Luthier."""
    from safetensors import safe_open

    with safe_open(WEIGHTS, framework="numpy") as file:
        known = file.metadata()
        assert known["version"] == VERSION
        return LinearScorer(file.get_tensor("weights"), float(known["scale"]), float(known["bias"]), known["version"])


def find_scorer(name: str) -> Scorer:
    """Return the classifier that ships with Luthier ("" or ``shipped``), or one of transformers by folder or id.

    Raises:
        ModelError: The model cannot be loaded.
        ConfigError: None of its labels means toxic.
    """
    return shipped_scorer() if name in ("", SHIPPED) else _load_classifier(name)


def scorer_signature(name: str) -> str:
    """Return what a toxicity depends on: the classifier and its version."""
    if name in ("", SHIPPED):
        return f"luthier-{VERSION}-{file_digest(WEIGHTS)[:8]}"
    return fingerprint(name)


# One classifier is cached: every scenario needs it, and loading takes longer than scoring.
@functools.lru_cache(maxsize=1)
def _load_classifier(model: str) -> Scorer:
    loaded, tokenizer = load_pretrained("AutoModelForSequenceClassification", model)
    labels = {str(name).strip().lower(): index for index, name in loaded.config.id2label.items()}
    at = next((labels[name] for name in _LABELS if name in labels), None)
    if at is None:
        known = ", ".join(f"'{name}'" for name in labels)
        fix = f"Name a classifier with one of the labels {', '.join(_LABELS)}."
        raise ConfigError(f"None of the model's labels means toxic. It has {known}.", where=model, fix=fix)
    several = getattr(loaded.config, "problem_type", None) == "multi_label_classification" or len(labels) == 1
    return functools.partial(_classify, loaded, tokenizer, at, several)


def _classify(model: Any, tokenizer: Any, at: int, several: bool, texts: Sequence[str]) -> FloatArray:
    """Probability of one label: alone where a text may have several, else among all. Long texts are cut at the end."""
    import torch

    most = longest_input(model, tokenizer)
    found = np.zeros(len(texts))
    for i, text in enumerate(texts):
        encoded = tokenizer(text, truncation=True, max_length=most, return_tensors="pt")
        with torch.no_grad():
            logits = model(**encoded.to(model.device)).logits[0].double()
        found[i] = float(logits[at].sigmoid() if several else logits.softmax(dim=-1)[at])
    return found
