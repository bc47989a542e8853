"""Batches of about the same size, none of them padded."""

from __future__ import annotations

import pytest

from luthier.data.batching import plan_even_batches


@pytest.mark.parametrize(
    ("lengths", "most", "sizes"),
    [
        ([5, 5, 5, 5], 20, [20]),
        ([5, 5, 5, 5], 10, [10, 10]),
        ([5, 5, 5, 5], 19, [10, 10]),  # not 15 and 5
        ([9, 1, 1, 1], 6, [9, 3]),  # what is longer than the limit has a batch of its own
        ([9, 9, 1], 6, [9, 9, 1]),
        ([4, 4, 4], 6, [4, 4, 4]),  # two batches would do for 12 tokens, and no two items fit together
        ([7], 1, [7]),
    ],
)
def test_batches_are_few_and_even(lengths: list[int], most: int, sizes: list[int]) -> None:
    batches = plan_even_batches(lengths, most)
    assert [sum(lengths[index] for index in batch) for batch in batches] == sizes
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))


def test_items_are_longest_first_within_a_batch() -> None:
    assert plan_even_batches([3, 9, 6, 9], 100) == [(1, 3, 2, 0)]
