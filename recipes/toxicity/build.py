"""Make the toxicity scorer: ``python -m recipes.toxicity.build --data ../shared/data --install``; half a minute.

A logistic regression on hashed character n-grams, fitted by L-BFGS. Each source has a weight of its own, whatever its
number of texts, so that the classifier is not one of where a text is from. The settings were chosen on a tenth of the
training posts and on captions that the card does not report.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file
from scipy import sparse
from scipy.optimize import minimize

from luthier.metrics.social.toxicity_scorer import BUCKETS, VERSION, WEIGHTS, LinearScorer, features
from recipes.toxicity.card import card
from recipes.toxicity.data import Labelled, training_texts

TOXIC = 0.45
"""Share of the weight of all texts that the toxic ones have."""
OF_TOXIC = {"posts": 0.95, "identity": 0.05}
OF_OTHERS = {"posts": 0.6, "own": 0.3, "identity": 0.1}
PENALTY = 5e-6
"""λ of the penalty λ/2 · |w|²; the weights of all texts sum to 1."""

FloatArray = npt.NDArray[np.float64]


def matrix(texts: Sequence[str]) -> sparse.csr_matrix:
    """Return the features of texts, ``(texts, BUCKETS)``."""
    rows = [features(text) for text in texts]
    starts = np.cumsum([0, *(len(buckets) for buckets, _ in rows)])
    buckets = np.concatenate([own for own, _ in rows])
    values = np.concatenate([own for _, own in rows])
    return sparse.csr_matrix((values, buckets, starts), shape=(len(texts), BUCKETS))


def example_weights(texts: Sequence[Labelled]) -> FloatArray:
    """Return the weight of each text: those of one source and label share that of the source."""
    weights = np.zeros(len(texts))
    for toxic, whole, shares in ((True, TOXIC, OF_TOXIC), (False, 1 - TOXIC, OF_OTHERS)):
        for source, share in shares.items():
            own = np.array([text.source == source and text.toxic == toxic for text in texts])
            weights[own] = whole * share / own.sum()
    return weights


def fit(rows: sparse.csr_matrix, toxic: npt.NDArray[np.bool_], weights: FloatArray) -> tuple[FloatArray, float]:
    """Return the weights of the buckets and the bias."""
    sign = np.where(toxic, 1.0, -1.0)

    def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
        bias, own = parameters[0], parameters[1:]
        margin = sign * (rows @ own + bias)
        value = float((weights * np.logaddexp(0, -margin)).sum() + PENALTY / 2 * (own @ own))
        slope = -sign * weights * np.exp(-np.logaddexp(0, margin))
        return value, np.concatenate([[slope.sum()], rows.T @ slope + PENALTY * own])

    options = {"maxiter": 500, "ftol": 1e-10}
    found = minimize(loss, np.zeros(BUCKETS + 1), jac=True, method="L-BFGS-B", options=options).x
    return found[1:], float(found[0])


def build(data: Path) -> LinearScorer:
    """Learn the scorer, with weights of 8 bits."""
    texts = training_texts(data)
    toxic = np.array([text.toxic for text in texts])
    weights, bias = fit(matrix([text.text for text in texts]), toxic, example_weights(texts))
    scale = float(np.abs(weights).max()) / 127
    return LinearScorer(np.round(weights / scale).astype(np.int8), scale, bias, VERSION)


def main() -> None:
    """Make the weights and the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with hate_speech/ and others")
    parser.add_argument("--out", type=Path, default=Path("recipes/toxicity/out"), help="where the files are written")
    parser.add_argument("--install", action="store_true", help="write them into the package instead")
    given = parser.parse_args()
    folder = WEIGHTS.parent if given.install else given.out
    folder.mkdir(parents=True, exist_ok=True)
    scorer = build(given.data)
    known = {"version": scorer.version, "scale": repr(scorer.scale), "bias": repr(scorer.bias), "licence": "Apache-2.0"}
    save_file({"weights": scorer.weights}, folder / WEIGHTS.name, metadata=known)
    text = card(scorer, given.data)
    (folder / WEIGHTS.with_suffix(".md").name).write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
