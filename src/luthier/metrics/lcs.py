"""Longest common subsequences of many pairs of texts at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from luthier.metrics.coding import Coded, IntArray, offsets_of
from luthier.metrics.ngrams import clipped_matches

_WORD = 64
_MOST_CODES = 0x110000 - 0x800
# Pairs of lines compared at once: their bit tables then take at most some 30 MB.
_BLOCK = 32_768


def lcs_lengths(got: Coded, wanted: Coded) -> IntArray:
    """Length of the longest common subsequence of each pair of texts, int64 ``(pairs,)``.

    rapidfuzz computes it 64 tokens at a time (Hyyrö 2004); each token is handed to it as one character.
    """
    from rapidfuzz import process
    from rapidfuzz.distance import LCSseq

    if max(got.size, wanted.size) >= _MOST_CODES:
        return np.array([LCSseq.similarity(a, b) for a, b in zip(_lists(got), _lists(wanted), strict=True)])
    return np.asarray(
        process.cpdist(_strings(got), _strings(wanted), scorer=LCSseq.similarity, dtype=np.int64, workers=1)
    )


def _strings(texts: Coded) -> list[str]:
    """Each text as a string of one character a token."""
    points = (texts.ids + np.where(texts.ids >= 0xD800, 0x800, 0)).astype(np.uint32)  # Surrogates are no characters.
    whole = points.tobytes().decode("utf-32-le")
    bounds = texts.offsets.tolist()
    return [whole[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]


def _lists(texts: Coded) -> list[list[int]]:
    bounds = texts.offsets.tolist()
    return [texts.ids[a:b].tolist() for a, b in zip(bounds, bounds[1:], strict=False)]


def union_hits(got: Coded, got_lines: Coded, wanted: Coded, wanted_lines: Coded) -> IntArray:
    """ROUGE-Lsum's hits for each pair of texts, int64 ``(pairs,)``.

    A token of a reference line is hit when it lies in the longest common subsequence with any predicted line. Where
    several subsequences are longest, the one that rouge-score's backtracking finds is taken. A word is hit at most
    as often as the prediction has it.

    Args:
        got: The predicted texts.
        got_lines: Their lines; the same tokens, cut finer.
        wanted: The references.
        wanted_lines: Their lines.
    """
    hit = np.zeros(len(wanted.ids), dtype=bool)
    for line_wanted, line_got in _line_pairs(got, got_lines, wanted, wanted_lines):
        short = got_lines.lengths[line_got] <= _WORD
        for at in np.split(np.flatnonzero(short), range(_BLOCK, int(short.sum()), _BLOCK)):
            _mark_short(hit, wanted_lines, line_wanted[at], got_lines, line_got[at])
        for w, g in zip(line_wanted[~short].tolist(), line_got[~short].tolist(), strict=True):
            _mark_long(hit, wanted_lines, w, got_lines, g)
    before = offsets_of(hit.astype(np.int64))[wanted.offsets]
    return clipped_matches(got, [Coded(wanted.ids[hit], before, wanted.size)], 1)[:, 0]


def _line_pairs(
    got: Coded, got_lines: Coded, wanted: Coded, wanted_lines: Coded
) -> list[tuple[IntArray, IntArray]]:
    """Every reference line with every predicted line of the same pair of texts, as one block of two ``(line pairs,)``."""
    first_got = np.searchsorted(got_lines.offsets[:-1], got.offsets)
    first_wanted = np.searchsorted(wanted_lines.offsets[:-1], wanted.offsets)
    n_got, n_wanted = np.diff(first_got), np.diff(first_wanted)
    count = n_got * n_wanted
    pair = np.repeat(np.arange(len(count)), count)
    rank = np.arange(len(pair)) - np.repeat(offsets_of(count)[:-1], count)
    return [(first_wanted[pair] + rank // n_got[pair], first_got[pair] + rank % n_got[pair])]


def _mark_short(
    hit: npt.NDArray[np.bool_], wanted: Coded, w: IntArray, got: Coded, g: IntArray
) -> None:
    """Mark the reference tokens in the common subsequence of lines ``w`` and ``g``, the latter of at most 64 tokens.

    Row i of the table of Hyyrö's algorithm is one word of 64 bits: bit j is 0 where column j + 1 is one longer than
    column j. All line pairs go down the rows together, then back up along rouge-score's path together.
    """
    masks = _match_masks(wanted, w, got, g)  # uint64 (rows, line pairs)
    useful = masks.any(axis=0)
    masks, w, g = masks[:, useful], w[useful], g[useful]
    rows = np.empty((len(masks) + 1, len(w)), dtype=np.uint64)
    rows[0] = ~np.uint64(0)
    for i, mask in enumerate(masks):
        common = rows[i] & mask
        rows[i + 1] = (rows[i] + common) | (rows[i] - common)
    i, j = wanted.lengths[w], got.lengths[g]
    pair, start = np.arange(len(w)), wanted.offsets[w]
    while len(pair):
        # t[i][j] is the number of zeros among the first j bits of row i.
        below_left = j - 1 - _ones(rows[i, pair], j - 1)
        below_up = j - _ones(rows[i - 1, pair], j)
        match = (masks[i - 1, pair] >> (j - 1).astype(np.uint64)) & np.uint64(1) == 1
        hit[(start + i - 1)[match]] = True
        left = ~match & (below_left > below_up)
        i = i - ~left
        j = j - (match | left)
        going = (i > 0) & (j > 0)
        i, j, pair, start = i[going], j[going], pair[going], start[going]


def _ones(rows: npt.NDArray[np.uint64], bits: IntArray) -> IntArray:
    """Ones among the lowest ``bits`` (0 to 64) of each word."""
    # A shift by 64 is undefined, so shift in two steps.
    kept = ~((~np.uint64(0) << (bits // 2).astype(np.uint64)) << (bits - bits // 2).astype(np.uint64))
    return np.bitwise_count(rows & kept).astype(np.int64)


def _match_masks(wanted: Coded, w: IntArray, got: Coded, g: IntArray) -> npt.NDArray[np.uint64]:
    """For row i of each line pair, the positions in the predicted line that hold token i of the reference line."""
    rows, columns = wanted.pick(w), got.pick(g)
    masks = np.zeros((int(wanted.lengths[w].max(initial=0)), len(w)), dtype=np.uint64)
    ids = np.concatenate([rows.ids, columns.ids])
    pair = np.concatenate([np.repeat(np.arange(len(w)), rows.lengths), np.repeat(np.arange(len(g)), columns.lengths)])
    place = np.concatenate([_places(rows), _places(columns)])
    from luthier.metrics.coding import dense

    sorting, starts = dense(pair * wanted.size + ids, max(len(w), 1) * wanted.size)
    is_column = sorting >= len(rows.ids)
    bit = np.where(is_column, np.uint64(1) << place[sorting].astype(np.uint64), np.uint64(0))
    run_bits = np.add.reduceat(bit, starts) if len(starts) else bit
    run = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(sorting)))
    of_row = sorting[~is_column]
    masks[place[of_row], pair[of_row]] = run_bits[run[~is_column]]
    return masks


def _places(texts: Coded) -> IntArray:
    """Position of each token within its text, int64 ``(tokens,)``."""
    return np.arange(len(texts.ids)) - np.repeat(texts.offsets[:-1], texts.lengths)


def _mark_long(hit: npt.NDArray[np.bool_], wanted: Coded, w: int, got: Coded, g: int) -> None:
    """As `_mark_short` for one pair of lines of any length, with Python's unbounded integers as rows."""
    start = int(wanted.offsets[w])
    rows_of, columns = (
        wanted.ids[start : wanted.offsets[w + 1]].tolist(),
        got.ids[got.offsets[g] : got.offsets[g + 1]].tolist(),
    )
    masks: dict[int, int] = {}
    for j, token in enumerate(columns):
        masks[token] = masks.get(token, 0) | 1 << j
    full = (1 << len(columns)) - 1
    rows = [full]
    for token in rows_of:
        common = rows[-1] & masks.get(token, 0)
        rows.append(((rows[-1] + common) | (rows[-1] - common)) & full)
    i, j = len(rows_of), len(columns)
    while i and j:
        if masks.get(rows_of[i - 1], 0) >> (j - 1) & 1:
            hit[start + i - 1] = True
            i, j = i - 1, j - 1
        elif _zeros(rows[i], j - 1) > _zeros(rows[i - 1], j):
            j -= 1
        else:
            i -= 1


def _zeros(row: int, bits: int) -> int:
    return bits - (row & ((1 << bits) - 1)).bit_count()
