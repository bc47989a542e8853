"""ROUGE (Lin 2004): equal to rouge-score 0.1.2 to the last bit, and one or two hundred times as fast.

ROUGE-N counts the n-grams that prediction and reference share, ROUGE-L takes their longest common subsequence, and
ROUGE-Lsum does that line by line. All texts become token ids at once and are compared with array arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from unicodedata import unidata_version

import numpy as np

from luthier.errors import ConfigError
from luthier.metrics.metric import Details, FloatArray, Metric, mean_of, with_count
from luthier.metrics.overlap.lcs import lcs_lengths, union_hits
from luthier.metrics.overlap.ngrams import clipped_matches
from luthier.metrics.overlap.porter import stem
from luthier.metrics.overlap.token_ids import (
    IntArray,
    TokenSequences,
    in_chunks,
    join,
    lengths_of,
    number_separated_words,
    number_words,
    offsets_of,
)
from luthier.metrics.overlap.unicode_words import words
from luthier.records import Prediction

TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
MEASURES = ("precision", "recall", "f1")
TOKENISERS = ("rouge-score", "unicode")

_SEPARATORS = bytes(b for b in range(256) if b not in b"abcdefghijklmnopqrstuvwxyz0123456789")


def rouge(
    predictions: Sequence[str],
    references: Sequence[str | Sequence[str]],
    *,
    stemmer: bool = False,
    tokenize: str = TOKENISERS[0],
) -> FloatArray:
    """Score every prediction against its references.

    Args:
        predictions: n texts.
        references: For each one reference or several. With several, each ROUGE type takes the reference with the
            highest F1 of that type (the rule of rouge-score's ``score_multi``).
        stemmer: Compare word stems (Porter) instead of words; for English.
        tokenize: One of `TOKENISERS`: rouge-score's, which reads a–z and 0–9 only, or words of every script.

    Returns:
        float64 ``(n, 4, 3)``: ROUGE-1, -2, -L, -Lsum; precision, recall, F1; each 0 to 1.

    Raises:
        ValueError: The numbers of predictions and references differ, or a prediction has no reference.
    """
    if len(references) != len(predictions):
        raise ValueError(f"There are {len(predictions)} predictions and {len(references)} references.")
    if not predictions:
        return np.zeros((0, len(TYPES), len(MEASURES)))
    counts = np.array([1 if isinstance(r, str) else len(r) for r in references], dtype=np.int64)
    if not counts.all():
        raise ValueError(f"Prediction {int(counts.argmin())} has no reference.")
    flat = [text for r in references for text in ((r,) if isinstance(r, str) else r)]
    first = offsets_of(counts)
    sizes = lengths_of(predictions) + np.add.reduceat(lengths_of(flat), first[:-1])

    stems: dict[str, str] | None = {} if stemmer else None

    def work(part: slice) -> FloatArray:
        texts, wanted = predictions[part], flat[first[part.start] : first[part.stop]]
        tokens = tokenise_unicode([*texts, *wanted]) if tokenize == "unicode" else tokenise([*texts, *wanted], stems)
        return _score(tokens, counts[part])

    return np.concatenate(in_chunks(sizes, work))


def rouge_metric(*, stemmer: bool = False, tokenize: str = TOKENISERS[0]) -> Metric:
    """ROUGE-1, -2, -L and -Lsum: mean F1 over examples, with mean precision and recall as details.

    Raises:
        ConfigError: Stems are asked for of words that are not English.
    """
    if stemmer and tokenize != TOKENISERS[0]:
        raise ConfigError(f"Stems are those of English words, and tokenize={tokenize} is for others.", fix="Leave one.")

    def statistics(predictions: Sequence[Prediction]) -> FloatArray:
        texts, references = [p.text for p in predictions], [p.targets for p in predictions]
        return with_count(rouge(texts, references, stemmer=stemmer, tokenize=tokenize))

    def aggregate(sums: FloatArray) -> FloatArray:
        return mean_of(sums)[..., 2::3]

    def details(sums: FloatArray) -> Details:
        means = mean_of(sums).reshape(len(TYPES), len(MEASURES))
        return tuple(dict(zip(MEASURES, map(float, row), strict=True)) for row in means)

    options = f"stem:{'porter' if stemmer else 'no'}|reference:rouge-score-0.1.2"
    if tokenize != TOKENISERS[0]:
        options = f"stem:no|tok:{tokenize}-{unidata_version}"
    return Metric("rouge", TYPES, "rougeL", True, options, statistics, aggregate, details)


@dataclass(frozen=True)
class Tokens:
    """Tokenised texts, and the line of each token.

    Attributes:
        sequences: The tokens of each text, as ids.
        lines: Number of the line that holds each token, int64 ``(tokens,)``, counted through all texts; None where no
            text has a second line.
    """

    sequences: TokenSequences
    lines: IntArray | None

    def pick(self, which: IntArray) -> Tokens:
        """Return the texts ``which``, in that order."""
        lines = None if self.lines is None else TokenSequences(self.lines, self.sequences.offsets, 0).pick(which).ids
        return Tokens(self.sequences.pick(which), lines)

    def split(self, first: int) -> tuple[Tokens, Tokens]:
        """Return the first ``first`` texts, and the others."""
        cut = self.sequences.offsets[first]
        left, right = self.sequences.split(first)
        if self.lines is None:
            return Tokens(left, None), Tokens(right, None)
        return Tokens(left, self.lines[:cut]), Tokens(right, self.lines[cut:])


def tokenise(texts: Sequence[str], stems: dict[str, str] | None = None) -> Tokens:
    """Tokenise texts into lower-case sequences of ASCII letters and digits, as rouge-score does.

    Args:
        texts: The texts.
        stems: Cache of stems, to which new ones are added; None does not stem.
    """
    joined = "\0".join(texts)
    if joined.isascii():
        data, text_starts = join([joined.lower().encode("ascii")])[0], 1 + offsets_of(lengths_of(texts) + 1)
    else:  # Lower-casing can lengthen a text (İ), so the texts are encoded one by one.
        data, text_starts = join([text.lower().encode("ascii", "replace") for text in texts])
    found = number_separated_words(data, text_starts, _SEPARATORS)
    sequences = found.sequences
    if stems is not None:
        sequences = _stemmed(sequences, found.words(), stems)
    if 10 not in data:
        return Tokens(sequences, None)
    newlines = np.flatnonzero(np.frombuffer(data, np.uint8) == 10)
    return Tokens(sequences, np.searchsorted(newlines, found.starts).astype(np.int64))


def tokenise_unicode(texts: Sequence[str]) -> Tokens:
    """Tokenise texts into words of every script (`luthier.metrics.overlap.unicode_words`)."""
    lines = [[words(line) for line in text.split("\n")] for text in texts]
    sequences = number_words([list(chain.from_iterable(of_text)) for of_text in lines])
    if all(len(of_text) == 1 for of_text in lines):
        return Tokens(sequences, None)
    counts = [len(line) for of_text in lines for line in of_text]
    return Tokens(sequences, np.repeat(np.arange(len(counts)), counts).astype(np.int64))


def _stemmed(words: TokenSequences, vocabulary: Sequence[str], stems: dict[str, str]) -> TokenSequences:
    """Assign ids to words by their stems; rouge-score does not stem words of three letters or fewer."""
    for word in vocabulary:
        if word not in stems:
            stems[word] = stem(word) if len(word) > 3 else word
    numbers: dict[str, int] = {}
    number_of = np.array([numbers.setdefault(stems[word], len(numbers)) for word in vocabulary], dtype=np.int64)
    return TokenSequences(number_of[words.ids], words.offsets, len(numbers))


def _score(tokens: Tokens, counts: IntArray) -> FloatArray:
    """Score one chunk of n predictions, ``(n, 4, 3)``; of what follows, the next ``counts[i]`` are references of i."""
    n = len(counts)
    got, wanted = tokens.split(n)
    if counts.sum() == n:
        return _pair_scores(got, wanted)
    which = np.repeat(np.arange(n), counts)
    return _best_reference(_pair_scores(got.pick(which), wanted), which, counts)


def _pair_scores(got: Tokens, wanted: Tokens) -> FloatArray:
    """Score aligned pairs of texts, ``(pairs, 4, 3)``."""
    have, need = got.sequences.lengths, wanted.sequences.lengths
    matches = clipped_matches(got.sequences, [wanted.sequences], 2)
    longest = lcs_lengths(got.sequences, wanted.sequences)
    hits = np.stack([matches[:, 0], matches[:, 1], longest, longest], axis=1)
    by_line = np.flatnonzero(_several_lines(got) | _several_lines(wanted))
    if len(by_line):
        hits[by_line, 3] = union_hits(*_by_line(got.pick(by_line)), *_by_line(wanted.pick(by_line)))
    # A text of one token has no bigram; the reference implementation divides by max(bigrams, 1).
    sizes_got = np.maximum(np.stack([have, have - 1, have, have], axis=1), 1)
    sizes_wanted = np.maximum(np.stack([need, need - 1, need, need], axis=1), 1)
    precision, recall = hits / sizes_got, hits / sizes_wanted
    total = precision + recall
    f1 = np.where(total > 0, 2 * precision * recall / np.where(total > 0, total, 1), 0.0)
    return np.stack([precision, recall, f1], axis=-1)


def _several_lines(tokens: Tokens) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which texts have tokens on more than one line; for the others ROUGE-Lsum equals ROUGE-L."""
    first, last = tokens.sequences.offsets[:-1], tokens.sequences.offsets[1:] - 1
    filled = last >= first
    if tokens.lines is None or not len(tokens.lines):
        return np.zeros(len(first), dtype=bool)
    end = len(tokens.lines) - 1
    return np.asarray(filled & (tokens.lines[np.minimum(first, end)] != tokens.lines[np.maximum(last, 0)]))


def _by_line(tokens: Tokens) -> tuple[TokenSequences, TokenSequences]:
    """Return the texts, and their lines as separate texts (without lines that have no token)."""
    assert tokens.lines is not None
    text = np.repeat(np.arange(len(tokens.sequences.lengths)), tokens.sequences.lengths)
    new = (np.diff(text, prepend=-1) != 0) | (np.diff(tokens.lines, prepend=-1) != 0)
    offsets = np.append(np.flatnonzero(new), len(text)).astype(np.int64)
    return tokens.sequences, TokenSequences(tokens.sequences.ids, offsets, tokens.sequences.size)


def _best_reference(table: FloatArray, which: IntArray, counts: IntArray) -> FloatArray:
    """For each text and type, the scores against the first of the references with the highest F1."""
    n, first = len(counts), offsets_of(counts)[:-1]
    f1 = np.full((n, int(counts.max()), len(TYPES)), -1.0)
    f1[which, np.arange(len(which)) - first[which]] = table[:, :, 2]
    best = first[:, None] + f1.argmax(axis=1)  # (n, 4)
    return np.asarray(table[best, np.arange(len(TYPES))[None, :]])
