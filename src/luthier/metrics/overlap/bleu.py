"""BLEU (Papineni et al. 2002): equal to sacrebleu, with its tokenisers, smoothings and signature."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TypeAlias

import numpy as np

from luthier.metrics.metric import Details, FloatArray, Metric, divide
from luthier.metrics.overlap.ngrams import clipped_matches
from luthier.metrics.overlap.token_ids import IntArray, TokenSequences, in_chunks, lengths_of
from luthier.metrics.overlap.tokenisers import Tokeniser, make_tokeniser, tokenise
from luthier.records import Prediction

SMOOTHINGS = ("exp", "floor", "add-k", "none")
ORDER = 4
_SMOOTH_VALUE = {"floor": 0.1, "add-k": 1.0}
References: TypeAlias = Sequence[str | Sequence[str]]


def bleu(
    predictions: Sequence[str],
    references: References,
    *,
    tokenize: str = "13a",
    smooth: str = "exp",
    lowercase: bool = False,
) -> float:
    """Corpus BLEU, 0 to 100.

    Args:
        predictions: n texts.
        references: For each one reference or several.
        tokenize: One of `luthier.metrics.overlap.tokenisers.TOKENISERS`.
        smooth: One of `SMOOTHINGS`: how a precision of 0 is replaced.
        lowercase: Lower-case everything first.
    """
    stats = bleu_statistics(predictions, references, tokenize=tokenize, lowercase=lowercase)
    return float(bleu_of(stats.sum(axis=0), smooth))


def sentence_bleu(
    predictions: Sequence[str], references: References, *, tokenize: str = "13a", smooth: str = "exp"
) -> FloatArray:
    """BLEU of each sentence, float64 ``(n,)``, without the orders for which the sentence is too short."""
    return bleu_of(bleu_statistics(predictions, references, tokenize=tokenize), smooth, effective_order=True)


def bleu_statistics(
    predictions: Sequence[str], references: References, *, tokenize: str = "13a", lowercase: bool = False
) -> FloatArray:
    """Compute the columns: length, reference length, matches and totals of 1- to 4-grams; float64 ``(n, 10)``.

    The reference length is that of the reference nearest in length, the shorter one of two that are equally near.

    Raises:
        ValueError: The numbers of predictions and references differ, or a prediction has no reference.
    """
    lists = as_lists(predictions, references)
    if not lists:
        return np.zeros((0, 2 + 2 * ORDER))
    tokeniser = make_tokeniser(tokenize)
    sizes = lengths_of(predictions) + np.array([sum(map(len, texts)) for texts in lists], dtype=np.int64)

    def work(part: slice) -> FloatArray:
        return _statistics(predictions[part], lists[part], tokeniser, lowercase=lowercase)

    return np.concatenate(in_chunks(sizes, work))


def _statistics(
    predictions: Sequence[str], lists: Sequence[Sequence[str]], tokeniser: Tokeniser, *, lowercase: bool
) -> FloatArray:
    """Statistics of one chunk, ``(n, 10)``."""
    n, most = len(predictions), max(map(len, lists))
    # Sets of references of n texts each; where an example has fewer, an empty text matches nothing.
    sets = [[texts[r] if r < len(texts) else "" for texts in lists] for r in range(most)]
    missing = np.array([[r >= len(texts) for texts in lists] for r in range(most)], dtype=bool)
    tokens = tokenise([*predictions, *chain.from_iterable(sets)], tokeniser, lowercase=lowercase)
    got, *wanted = (tokens.pick(np.arange(n) + side * n) for side in range(1 + most))
    have = got.lengths[:, None]
    totals = np.maximum(have - np.arange(ORDER), 0)
    columns = [have, _reference_lengths(got, wanted, missing), clipped_matches(got, wanted, ORDER), totals]
    return np.hstack(columns).astype(np.float64)


def as_lists(predictions: Sequence[str], references: References) -> list[Sequence[str]]:
    """Return the references as one list per example.

    Raises:
        ValueError: The numbers of predictions and references differ, or a prediction has no reference.
    """
    if len(predictions) != len(references):
        raise ValueError(f"There are {len(predictions)} predictions and {len(references)} references.")
    lists = [(r,) if isinstance(r, str) else r for r in references]
    for i, texts in enumerate(lists):
        if not texts:
            raise ValueError(f"Prediction {i} has no reference.")
    return lists


def _reference_lengths(
    got: TokenSequences, wanted: Sequence[TokenSequences], missing: np.ndarray[tuple[int, int], np.dtype[np.bool_]]
) -> IntArray:
    lengths = np.stack([side.lengths for side in wanted])  # (references, n)
    gap = np.abs(lengths - got.lengths)
    # The nearest first; among equally near ones the shorter first.
    rank = np.where(missing, np.iinfo(np.int64).max, gap * (lengths.max(initial=0) + 1) + lengths)
    return np.take_along_axis(lengths, rank.argmin(axis=0)[None], axis=0).T


def _smoothed(sums: FloatArray, smooth: str) -> tuple[FloatArray, FloatArray]:
    """Matches and totals, each ``(..., 4)``, with add-k's additions."""
    right, total = sums[..., 2 : 2 + ORDER], sums[..., 2 + ORDER :]
    if smooth != "add-k":
        return right, total
    more = np.array([0.0] + [_SMOOTH_VALUE[smooth]] * (ORDER - 1))
    return right + more, total + more


def precisions(sums: FloatArray, smooth: str) -> FloatArray:
    """Smoothed n-gram precisions in percent, ``(..., 10)`` → ``(..., 4)``; 0 from the first order without n-grams."""
    right, total = _smoothed(sums, smooth)
    missed = (right == 0) & (total > 0)
    found = divide(100.0 * right, total, 0.0)
    if smooth == "exp":
        halved = divide(np.full_like(total, 100.0), 2.0 ** np.cumsum(missed, axis=-1) * total, 0.0)
        found = np.where(missed, halved, found)
    elif smooth == "floor":
        found = np.where(missed, divide(np.full_like(total, 100.0 * _SMOOTH_VALUE[smooth]), total, 0.0), found)
    reached = np.cumprod(total > 0, axis=-1)
    return np.asarray(np.where(sums[..., 2 : 2 + ORDER].any(-1, keepdims=True), found * reached, 0.0))


def brevity_penalty(sums: FloatArray) -> FloatArray:
    """``min(1, exp(1 - reference length / length))``, ``(..., 10)`` → ``(...)``; 0 for an empty output."""
    got, wanted = sums[..., 0], sums[..., 1]
    return np.where(got >= wanted, 1.0, np.where(got > 0, np.exp(1 - divide(wanted, got, 0.0)), 0.0))


def bleu_of(sums: FloatArray, smooth: str, *, effective_order: bool = False) -> FloatArray:
    """BLEU in percent from summed statistics ``(..., 10)`` → ``(...)``.

    Args:
        sums: Sums of `bleu_statistics`.
        smooth: One of `SMOOTHINGS`.
        effective_order: Leave out the orders for which the text is too short (sentence BLEU).
    """
    found = precisions(sums, smooth)
    # sacrebleu uses this value for the logarithm of 0.
    logs = np.where(found > 0, np.log(np.where(found > 0, found, 1.0)), -9999999999.0)
    if effective_order:
        order = np.maximum(np.cumprod(_smoothed(sums, smooth)[1] > 0, axis=-1).sum(-1), 1)
        logs = np.where(np.arange(ORDER) < order[..., None], logs, 0.0)
    else:
        order = np.full(found.shape[:-1], ORDER)
    any_right = sums[..., 2 : 2 + ORDER].any(-1)
    return np.asarray(np.where(any_right, brevity_penalty(sums) * np.exp(logs.sum(-1) / order), 0.0))


def bleu_metric(*, tokenize: str = "13a", smooth: str = "exp", lowercase: bool = False) -> Metric:
    """Corpus BLEU, 0 to 100, with its four precisions, brevity penalty and lengths as details."""

    def statistics(predictions: Sequence[Prediction]) -> FloatArray:
        texts, references = [p.text for p in predictions], [p.targets for p in predictions]
        return bleu_statistics(texts, references, tokenize=tokenize, lowercase=lowercase)

    def aggregate(sums: FloatArray) -> FloatArray:
        return bleu_of(sums, smooth)[..., None]

    def per_example(stats: FloatArray) -> FloatArray:
        return bleu_of(stats, smooth, effective_order=True)[..., None]

    def details(sums: FloatArray) -> Details:
        found = {f"precision{n + 1}": float(p) for n, p in enumerate(precisions(sums, smooth))}
        lengths = {"length": float(sums[0]), "reference_length": float(sums[1])}
        return ({**found, "brevity_penalty": float(brevity_penalty(sums)), **lengths},)

    value = f"[{_SMOOTH_VALUE[smooth]:.2f}]" if smooth in _SMOOTH_VALUE else ""
    case = "lc" if lowercase else "mixed"
    options = f"case:{case}|eff:no|tok:{tokenize}|smooth:{smooth}{value}|version:{_version()}"
    return Metric(
        "bleu", ("bleu",), "bleu", True, options, statistics, aggregate, details, per_example=per_example, scale=100.0
    )


def _version() -> str:
    from importlib.metadata import version

    return version("sacrebleu")
