"""Longest common subsequences of many pairs of texts at once."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from luthier.metrics.overlap.ngrams import clipped_matches
from luthier.metrics.overlap.token_ids import IntArray, TokenSequences, group_equal_keys, offsets_of

_WORD = 64
_MOST_CHARACTERS = 0x110000 - 0x800
# Pairs of lines compared at once: their bit tables then take at most some 30 MB.
_BLOCK = 32_768


def lcs_lengths(got: TokenSequences, wanted: TokenSequences) -> IntArray:
    """Length of the longest common subsequence of each pair of texts, int64 ``(pairs,)``.

    rapidfuzz computes it 64 tokens at a time (Hyyrö 2004); each token is handed to it as one character.
    """
    from rapidfuzz import process
    from rapidfuzz.distance import LCSseq

    if max(got.size, wanted.size) >= _MOST_CHARACTERS:
        return np.array([LCSseq.similarity(a, b) for a, b in zip(_lists(got), _lists(wanted), strict=True)])
    return np.asarray(
        process.cpdist(_strings(got), _strings(wanted), scorer=LCSseq.similarity, dtype=np.int64, workers=1)
    )


def _strings(texts: TokenSequences) -> list[str]:
    """Each text as a string of one character a token."""
    points = (texts.ids + np.where(texts.ids >= 0xD800, 0x800, 0)).astype(np.uint32)  # Surrogates are no characters.
    whole = points.tobytes().decode("utf-32-le")
    bounds = texts.offsets.tolist()
    return [whole[a:b] for a, b in pairwise(bounds)]


def _lists(texts: TokenSequences) -> list[list[int]]:
    bounds = texts.offsets.tolist()
    return [texts.ids[a:b].tolist() for a, b in pairwise(bounds)]


def union_hits(
    got: TokenSequences, got_lines: TokenSequences, wanted: TokenSequences, wanted_lines: TokenSequences
) -> IntArray:
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
    lines = _Lines.of(got, got_lines, wanted, wanted_lines)
    hit = np.zeros(len(wanted.ids), dtype=bool)
    pairs_before = offsets_of(lines.facing)
    block = pairs_before[1:] // _BLOCK
    bounds = [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), len(lines.facing)]
    for first, last in pairwise(bounds):
        _mark_short(hit, lines, first, last)
    for line in np.flatnonzero(got_lines.lengths > _WORD).tolist():
        text = int(lines.got_text[line])
        for against in np.flatnonzero(lines.wanted_text == text).tolist():
            _mark_long(hit, wanted_lines, against, got_lines, line)
    before = offsets_of(hit.astype(np.int64))[wanted.offsets]
    return clipped_matches(got, [TokenSequences(wanted.ids[hit], before, wanted.size)], 1)[:, 0]


@dataclass(frozen=True)
class _Lines:
    """The lines of pairs of texts, and where their tokens match.

    An *entry* says that a predicted line (of at most 64 tokens) has a certain token, and in which places.

    Attributes:
        wanted: The reference lines.
        wanted_text: Text of each reference line.
        got_text: Text of each predicted line.
        got_length: Tokens of each predicted line.
        first_line: First predicted line of each text.
        facing: Predicted lines that face each reference line.
        first_entry: First entry that matches each reference token, and behind the last, ``(tokens,)`` each.
        end_entry: Entry behind the last that matches each reference token.
        entry_line: Predicted line of each entry.
        entry_mask: Places in that line, uint64.
    """

    wanted: TokenSequences
    wanted_text: IntArray
    got_text: IntArray
    got_length: IntArray
    first_line: IntArray
    facing: IntArray
    first_entry: IntArray
    end_entry: IntArray
    entry_line: IntArray
    entry_mask: npt.NDArray[np.uint64]

    @staticmethod
    def of(
        got: TokenSequences, got_lines: TokenSequences, wanted: TokenSequences, wanted_lines: TokenSequences
    ) -> _Lines:
        """Find the entries of all texts at once."""
        n, size, tokens = len(got.lengths), max(got.size, wanted.size), len(got.ids)
        text = np.repeat(np.tile(np.arange(n), 2), np.concatenate([got.lengths, wanted.lengths]))
        sorting, starts = group_equal_keys(text * size + np.concatenate([got.ids, wanted.ids]), n * size)
        run = np.empty(len(sorting), dtype=np.int64)
        run[sorting] = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(sorting)))
        place, line = _places(got_lines), np.repeat(np.arange(len(got_lines.lengths)), got_lines.lengths)
        # Predicted tokens by word, then by line.
        by_word = sorting[sorting < tokens]
        by_word = by_word[got_lines.lengths[line[by_word]] <= _WORD]
        key = run[by_word] * (len(got_lines.lengths) + 1) + line[by_word]
        entries = np.flatnonzero(np.diff(key, prepend=-1))
        bits = np.uint64(1) << place[by_word].astype(np.uint64)
        of_run = np.searchsorted(run[by_word][entries], np.arange(len(starts) + 1))
        first_line = np.searchsorted(got_lines.offsets[:-1], got.offsets).astype(np.int64)
        wanted_text = np.searchsorted(wanted.offsets, wanted_lines.offsets[:-1], side="right") - 1
        wanted_run = run[tokens:]
        return _Lines(
            wanted=wanted_lines,
            wanted_text=wanted_text,
            got_text=np.searchsorted(got.offsets, got_lines.offsets[:-1], side="right") - 1,
            got_length=got_lines.lengths,
            first_line=first_line,
            facing=np.diff(first_line)[wanted_text],
            first_entry=of_run[wanted_run],
            end_entry=of_run[wanted_run + 1],
            entry_line=line[by_word][entries],
            entry_mask=np.add.reduceat(bits, entries) if len(entries) else bits,
        )


@dataclass(frozen=True)
class _Matches:
    """Line pairs that share a token.

    Attributes:
        masks: For row i of each line pair, the places of the predicted line with token i of the reference line;
            uint64 ``(rows, pairs)``.
        start: Where the reference line begins among the reference tokens, ``(pairs,)``.
        rows: Tokens of the reference line, ``(pairs,)``.
        columns: Tokens of the predicted line, ``(pairs,)``.
    """

    masks: npt.NDArray[np.uint64]
    start: IntArray
    rows: IntArray
    columns: IntArray


def _matches(lines: _Lines, first: int, last: int) -> _Matches:
    """Matches of the reference lines from ``first`` to before ``last`` with the lines that face them."""
    offsets = lines.wanted.offsets
    tokens = np.arange(offsets[first], offsets[last])
    line = np.repeat(np.arange(first, last), lines.wanted.lengths[first:last])
    count = lines.end_entry[tokens] - lines.first_entry[tokens]
    at = np.repeat(np.arange(len(tokens)), count)
    entry = np.arange(len(at)) + np.repeat(lines.first_entry[tokens] - offsets_of(count)[:-1], count)
    pair_of_line = offsets_of(lines.facing[first:last])
    first_facing = lines.first_line[lines.wanted_text[first:last]]
    pair = (pair_of_line[:-1] - first_facing)[line[at] - first] + lines.entry_line[entry]
    used = np.zeros(pair_of_line[-1], dtype=bool)
    used[pair] = True
    column = np.cumsum(used) - 1
    pairs = np.flatnonzero(used)
    of_line = np.searchsorted(pair_of_line, pairs, side="right") - 1
    masks = np.zeros((int(lines.wanted.lengths[first:last].max(initial=0)), len(pairs)), dtype=np.uint64)
    masks[(tokens - offsets[line])[at], column[pair]] = lines.entry_mask[entry]
    got_line = first_facing[of_line] + pairs - pair_of_line[of_line]
    wanted_line = first + of_line
    return _Matches(masks, offsets[wanted_line], lines.wanted.lengths[wanted_line], lines.got_length[got_line])


def _mark_short(hit: npt.NDArray[np.bool_], lines: _Lines, first: int, last: int) -> None:
    """Mark the reference tokens in the common subsequences of some reference lines with predicted lines of ≤ 64 tokens.

    Row i of the table of Hyyrö's algorithm is one word of 64 bits: bit j is 0 where column j + 1 is one longer than
    column j. All line pairs go down the rows together, then back up along rouge-score's path together: along a match
    if there is one, else to the left if the table is lower above, else up.
    """
    found = _matches(lines, first, last)
    masks, start, i, j = found.masks, found.start, found.rows, found.columns
    rows = np.empty((len(masks) + 1, masks.shape[1]), dtype=np.uint64)
    rows[0] = ~np.uint64(0)
    for row, mask in enumerate(masks):
        common = rows[row] & mask
        rows[row + 1] = (rows[row] + common) | (rows[row] - common)
    pair = np.arange(masks.shape[1])
    length = _zeros(rows[i, pair], j)
    while len(pair):
        matched = (masks[i - 1, pair] >> (j - 1).astype(np.uint64)) & np.uint64(1) == 1
        hit[(start + i - 1)[matched]] = True
        left = ~matched & (_zeros(rows[i - 1, pair], j) < length)
        length = length - matched
        i = i - ~left
        j = j - (matched | left)
        going = length > 0
        i, j, pair, start, length = i[going], j[going], pair[going], start[going], length[going]


def _zeros(rows: npt.NDArray[np.uint64], bits: IntArray) -> IntArray:
    """Zeros among the lowest ``bits`` (1 to 64) of each word: the table's value in column ``bits``."""
    unseen = (64 - bits).astype(np.uint64)
    return np.asarray(np.bitwise_count(~rows << unseen), dtype=np.int64)


def _places(texts: TokenSequences) -> IntArray:
    """Position of each token within its text, int64 ``(tokens,)``."""
    return np.arange(len(texts.ids)) - np.repeat(texts.offsets[:-1], texts.lengths)


def _mark_long(hit: npt.NDArray[np.bool_], wanted: TokenSequences, w: int, got: TokenSequences, g: int) -> None:
    """As `_mark_short` for one pair of lines of any length, with Python's unbounded integers as rows."""
    start = int(wanted.offsets[w])
    wanted_ids: list[int] = wanted.ids[start : wanted.offsets[w + 1]].tolist()
    got_ids: list[int] = got.ids[got.offsets[g] : got.offsets[g + 1]].tolist()
    masks: dict[int, int] = {}
    for place, token in enumerate(got_ids):
        masks[token] = masks.get(token, 0) | 1 << place
    full = (1 << len(got_ids)) - 1
    rows = [full]
    for token in wanted_ids:
        common = rows[-1] & masks.get(token, 0)
        rows.append(((rows[-1] + common) | (rows[-1] - common)) & full)
    i, j = len(wanted_ids), len(got_ids)
    length = j - rows[i].bit_count()
    while length:
        if masks.get(wanted_ids[i - 1], 0) >> (j - 1) & 1:
            hit[start + i - 1] = True
            i, j, length = i - 1, j - 1, length - 1
        elif j - (rows[i - 1] & ((1 << j) - 1)).bit_count() < length:
            j -= 1
        else:
            i -= 1
