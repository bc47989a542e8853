"""Clipped n-gram matches: how many n-grams of a text are in its reference, none counted more often than it occurs there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from luthier.metrics.coding import Coded, IntArray, dense


def clipped_matches(got: Coded, wanted: Sequence[Coded], orders: int) -> IntArray:
    """Count matches of 1-grams to ``orders``-grams of each text.

    With several references an n-gram may match as often as it occurs in the one that has most of it (BLEU's rule).

    Args:
        got: n texts.
        wanted: One or more sets of n references, coded with the same integers; an empty text stands for none.
        orders: Longest n-gram.

    Returns:
        int64 ``(n, orders)``.
    """
    sides = [got, *wanted]
    n = len(got.lengths)
    ids = np.concatenate([side.ids for side in sides])
    text = np.concatenate([np.repeat(np.arange(n), side.lengths) for side in sides])
    left = np.concatenate([np.repeat(side.offsets[1:], side.lengths) - np.arange(len(side.ids)) for side in sides])
    side = np.repeat(np.arange(len(sides)), [len(s.ids) for s in sides])
    size = max(s.size for s in sides)
    matches = np.zeros((n, orders), dtype=np.int64)
    at = np.arange(len(ids))  # Where n-grams begin that may match.
    gram, count = text, n  # What the n-gram is up to its last token, and how many such there are.
    for order in range(orders):
        if order:
            room = left[at] > order
            at, gram = at[room], gram[room]
        if not len(at):
            break
        sorting, starts = dense(gram * size + ids[at + order], count * size)
        hits = _hits(side[at[sorting]], starts, len(sides))
        matches[:, order] = np.bincount(text[at[sorting[starts]]], weights=hits, minlength=n)
        # An n-gram matches only where its head does, so only those go on.
        run = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(at)))
        kept = hits[run] > 0
        at, gram, count = at[sorting[kept]], run[kept], len(starts)
    return matches


def _hits(side: IntArray, starts: IntArray, sides: int) -> IntArray:
    """Matches within each run of equal n-grams: ``side`` ``(grams,)`` says where each is from, 0 being the text."""
    total = np.diff(starts, append=len(side))
    if sides == 2:
        wanted = np.add.reduceat(side, starts)
        return np.minimum(total - wanted, wanted)
    most = np.zeros_like(starts)
    for reference in range(1, sides):
        np.maximum(most, np.add.reduceat((side == reference).astype(np.int64), starts), out=most)
    return np.minimum(np.add.reduceat((side == 0).astype(np.int64), starts), most)
