"""chrF and chrF++ (Popović 2015, 2017): equal to sacrebleu."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from string import punctuation

import numpy as np

from luthier.metrics.metric import FloatArray, Metric, divide
from luthier.metrics.overlap.bleu import References, as_lists
from luthier.metrics.overlap.ngrams import clipped_matches
from luthier.metrics.overlap.token_ids import (
    IntArray,
    TokenSequences,
    in_chunks,
    lengths_of,
    number_characters,
    number_words,
    offsets_of,
    replace_words,
)
from luthier.metrics.overlap.tokenisers import split_words
from luthier.records import Prediction

CHAR_ORDER = 6
BETA = 2
_PUNCTUATION = frozenset(punctuation)
# Every character is a token here, so chunks are smaller than for words.
_CHUNK = 30_000


def chrf(predictions: Sequence[str], references: References, *, word_order: int = 0, lowercase: bool = False) -> float:
    """Corpus chrF (``word_order=0``) or chrF++ (``word_order=2``), 0 to 100.

    Args:
        predictions: n texts.
        references: For each one reference or several; the one with the highest chrF counts.
        word_order: Longest word n-gram, in addition to the character n-grams.
        lowercase: Lower-case everything first.
    """
    stats = chrf_statistics(predictions, references, word_order=word_order, lowercase=lowercase)
    return float(chrf_of(stats.sum(axis=0)))


def chrf_statistics(
    predictions: Sequence[str], references: References, *, word_order: int = 0, lowercase: bool = False
) -> FloatArray:
    """Count the n-grams of each order in the prediction, the reference and both: float64 ``(n, 3 · orders)``.

    Character n-grams stand before word n-grams.

    Raises:
        ValueError: The numbers of predictions and references differ, or a prediction has no reference.
    """
    lists = as_lists(predictions, references)
    if not lists:
        return np.zeros((0, 3 * (CHAR_ORDER + word_order)))
    counts = np.array([len(texts) for texts in lists], dtype=np.int64)
    flat = [text for texts in lists for text in texts]
    first = offsets_of(counts)
    sizes = lengths_of(predictions) + np.add.reduceat(lengths_of(flat), first[:-1])

    def work(part: slice) -> FloatArray:
        texts = [*predictions[part], *flat[first[part.start] : first[part.stop]]]
        return _statistics([text.lower() for text in texts] if lowercase else texts, counts[part], word_order)

    return np.concatenate(in_chunks(sizes, work, limit=_CHUNK))


def _statistics(texts: Sequence[str], counts: IntArray, word_order: int) -> FloatArray:
    """Statistics of one chunk; ``texts`` are n predictions, then the references, ``counts[i]`` of prediction i."""
    n = len(counts)
    which = np.repeat(np.arange(n), counts)
    parts = [_order_statistics(number_characters(["".join(text.split()) for text in texts]), which, n, CHAR_ORDER)]
    if word_order:
        parts.append(_order_statistics(_chrf_words(texts), which, n, word_order))
    table = np.hstack(parts)
    if len(table) == n:
        return table
    value = np.full((n, int(counts.max())), -1.0)
    first = offsets_of(counts)[:-1]
    value[which, np.arange(len(which)) - first[which]] = chrf_of(table)
    return np.asarray(table[first + value.argmax(axis=1)])


def _order_statistics(tokens: TokenSequences, which: IntArray, n: int, orders: int) -> FloatArray:
    got, wanted = tokens.pick(which), tokens.pick(n + np.arange(len(which)))
    common = clipped_matches(got, [wanted], orders)
    have = np.maximum(got.lengths[:, None] - np.arange(orders), 0)
    need = np.maximum(wanted.lengths[:, None] - np.arange(orders), 0)
    # sacrebleu does not count the prediction's n-grams of an order that the reference does not have.
    have = np.where(need > 0, have, 0)
    return np.stack([have, need, common], axis=-1).reshape(len(which), 3 * orders).astype(np.float64)


def _chrf_words(texts: Sequence[str]) -> TokenSequences:
    """Split off one punctuation mark at the end of each word, or else at its start."""
    if any("\0" in text for text in texts):
        return number_words([[part for word in text.split() for part in _without_mark(word)] for text in texts])
    words, vocabulary = split_words(texts)
    return replace_words(words, [_without_mark(word) for word in vocabulary])


def _without_mark(word: str) -> list[str]:
    if len(word) > 1 and word[-1] in _PUNCTUATION:
        return [word[:-1], word[-1]]
    if len(word) > 1 and word[0] in _PUNCTUATION:
        return [word[0], word[1:]]
    return [word]


def chrf_of(sums: FloatArray) -> FloatArray:
    """Compute chrF in percent from summed statistics: ``(..., 3 · orders)`` → ``(...)``."""
    got, wanted, common = sums[..., 0::3], sums[..., 1::3], sums[..., 2::3]
    counted = (got > 0) & (wanted > 0)
    order = counted.sum(-1).astype(np.float64)
    precision = divide(np.where(counted, divide(common, got, 0.0), 0.0).sum(-1), order, 0.0)
    recall = divide(np.where(counted, divide(common, wanted, 0.0), 0.0).sum(-1), order, 0.0)
    factor = BETA**2
    return divide(100 * (1 + factor) * precision * recall, factor * precision + recall, 0.0)


def chrf_metric(*, word_order: int = 0, lowercase: bool = False) -> Metric:
    """Corpus chrF (``word_order=0``) or chrF++ (``word_order=2``), 0 to 100."""

    def statistics(predictions: Sequence[Prediction]) -> FloatArray:
        texts, references = [p.text for p in predictions], [p.targets for p in predictions]
        return chrf_statistics(texts, references, word_order=word_order, lowercase=lowercase)

    def aggregate(sums: FloatArray) -> FloatArray:
        return chrf_of(sums)[..., None]

    case = "lc" if lowercase else "mixed"
    options = f"case:{case}|eff:yes|nc:{CHAR_ORDER}|nw:{word_order}|space:no|version:{version('sacrebleu')}"
    name = "chrf" + "+" * word_order
    return Metric("chrf", (name,), name, True, options, statistics, aggregate, scale=100.0)
