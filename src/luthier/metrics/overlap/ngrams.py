"""Clipped n-gram matches: each n-gram of a text counts at most as often as it occurs in the reference."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from luthier.metrics.overlap.token_ids import IntArray, TokenSequences, group_equal_keys


def clipped_matches(got: TokenSequences, wanted: Sequence[TokenSequences], orders: int) -> IntArray:
    """Count the matching n-grams of each text, for n from 1 to ``orders``.

    With several references an n-gram may match as often as it occurs in the one that has most of it (BLEU's rule).

    Args:
        got: n texts.
        wanted: One or more sets of n references, with the same token ids; an empty text means no reference.
        orders: Longest n-gram.

    Returns:
        int64 ``(n, orders)``.
    """
    sides = [got, *wanted]
    n, size = len(got.lengths), max(side.size for side in sides)
    ids = np.concatenate([side.ids for side in sides])
    lengths = np.concatenate([side.lengths for side in sides])
    text = np.repeat(np.tile(np.arange(n), len(sides)), lengths)
    ends = np.repeat(np.cumsum(lengths), lengths) if orders > 1 else lengths
    first = np.cumsum([len(side.ids) for side in sides])[:-1]  # Where each set of references begins in ids.
    matches = np.zeros((n, orders), dtype=np.int64)
    at = np.arange(len(ids))  # Where the n-grams that may still match begin.
    gram, count = text, n  # Id of the n-gram without its last token, and the number of such ids.
    known = np.ones(len(ids), dtype=bool)  # Tokens that occur on the other side, too.
    for order in range(orders):
        if order:
            # An n-gram matches only where its first n − 1 tokens and its last token do.
            inside = at + order < ends[at]
            at, gram = at[inside], gram[inside]
            alive = known[at + order]
            at, gram = at[alive], gram[alive]
        if not len(at):
            break
        sorting, starts = group_equal_keys(gram * size + ids[at + order], count * size)
        where = at[sorting]
        total = np.diff(starts, append=len(at))
        hits = _hits(where, starts, total, first)
        found = np.flatnonzero(hits)
        matches[:, order] = np.bincount(text[where[starts[found]]], weights=hits[found], minlength=n)
        at = where[np.repeat(hits > 0, total)]
        gram, count = np.repeat(np.arange(len(found)), total[found]), len(found)
        if not order:
            known = np.zeros(len(ids), dtype=bool)
            known[at] = True
    return matches


def _hits(where: IntArray, starts: IntArray, total: IntArray, first: IntArray) -> IntArray:
    """Count the matches within each run of equal n-grams.

    Args:
        where: Where each n-gram begins, ``(grams,)``, sorted by runs.
        starts: Where each run begins, ``(runs,)``.
        total: Length of each run, ``(runs,)``.
        first: Where each set of references begins.
    """
    ends = starts + total - 1
    # Of each run, the n-grams at or after the beginning of each set of references.
    behind = [np.diff(np.cumsum(where >= start)[ends], prepend=0) for start in first]
    most = behind[-1]
    for this, following in pairwise(behind):
        most = np.maximum(most, this - following)
    return np.asarray(np.minimum(total - behind[0], most))
