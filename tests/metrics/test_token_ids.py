"""Texts as sequences of integers, on which the fast metrics are built."""

from __future__ import annotations

import os
import random
from collections import Counter

import numpy as np
import pytest

from luthier.metrics.overlap import lcs
from luthier.metrics.overlap.lcs import lcs_lengths
from luthier.metrics.overlap.ngrams import clipped_matches
from luthier.metrics.overlap.token_ids import (
    TokenSequences,
    group_equal_keys,
    in_chunks,
    number_characters,
    number_words,
    offsets_of,
    replace_words,
)


def numbered(*texts: str) -> list[TokenSequences]:
    """Texts of one-letter words, numbered together, one text each."""
    whole = number_words([list(text) for text in texts])
    return [whole.pick(np.array([i])) for i in range(len(texts))]


@pytest.mark.parametrize("bound", [10, 2**61])
def test_sorting_packed_or_not_gives_the_same(bound: int) -> None:
    keys = np.array([3, 1, 3, 0, 1], dtype=np.int64)
    order, starts = group_equal_keys(keys, bound)
    assert order.tolist() == [3, 1, 4, 0, 2]
    assert starts.tolist() == [0, 1, 3]
    assert [part.tolist() for part in group_equal_keys(keys[:0], bound)] == [[], []]


def test_pick_may_repeat_and_leave_out() -> None:
    texts = number_words([["a", "b"], [], ["c"]])
    picked = texts.pick(np.array([2, 0, 0, 1]))
    assert picked.ids.tolist() == [2, 0, 1, 0, 1]
    assert picked.lengths.tolist() == [1, 2, 2, 0]


def test_words_become_tokens() -> None:
    words = TokenSequences(np.array([1, 0, 1]), np.array([0, 2, 3]), 2)
    tokens = replace_words(words, [["x"], ["y", "z"]])
    assert tokens.lengths.tolist() == [3, 2]
    assert tokens.ids.tolist() == [1, 2, 0, 1, 2]


def test_characters_of_all_planes_and_lone_surrogates() -> None:
    texts = number_characters(["aé", "", "🙂\ud800a"])
    assert texts.lengths.tolist() == [2, 0, 3]
    assert (texts.ids[0], texts.size) == (texts.ids[4], 4)


def test_chunks_keep_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = np.array([5, 1, 9, 9, 1, 1, 20, 0])
    parts = in_chunks(sizes, lambda part: list(range(len(sizes)))[part], limit=10)
    assert [i for part in parts for i in part] == list(range(8))
    assert len(parts) > 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    assert in_chunks(sizes, lambda part: list(range(len(sizes)))[part], limit=10) == parts


def test_clipped_matches_equal_counting() -> None:
    rng = random.Random(2)
    for _ in range(200):
        texts = ["".join(rng.choices("abc", k=rng.randint(0, 12))) for _ in range(3)]
        got, *wanted = numbered(*texts)
        for n in (1, 2, 3):
            grams = [Counter(text[i : i + n] for i in range(len(text) - n + 1)) for text in texts]
            most = grams[1] | grams[2]
            assert clipped_matches(got, wanted, 3)[0, n - 1] == (grams[0] & most).total()


def test_subsequences_of_vocabularies_beyond_unicode(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = numbered("abcbdab", "bdcaba")
    assert lcs_lengths(first, second).tolist() == [4]
    monkeypatch.setattr(lcs, "_MOST_CHARACTERS", 1)
    assert lcs_lengths(first, second).tolist() == [4]


def test_tokens_numbered_like_surrogates_are_kept_apart() -> None:
    ids = np.array([0xD7FF, 0xD800, 0xDFFF, 0xE000])
    text = TokenSequences(ids, offsets_of(np.array([4])), 0x10000)
    turned = TokenSequences(ids[::-1], offsets_of(np.array([4])), 0x10000)
    assert lcs_lengths(text, text).tolist() == [4]
    assert lcs_lengths(text, turned).tolist() == [1]
