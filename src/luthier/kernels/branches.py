"""Answers after one prompt as a tree of tokens: what they share is computed once, in training too.

Everything but attention is computed for the tokens of the tree. For attention alone queries, keys and values are copied
out to whole rows, which attend as examples that lie end to end do; of each token of the tree one result is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

TokenIds: TypeAlias = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class TokenTree:
    """Rows of tokens in which a shared beginning stands once.

    Attributes:
        tokens: int32 ``(T,)``: those of the tree.
        positions: int64 ``(T,)``: the place of each in its row.
        rows: int64 ``(tokens of all rows,)``: where each token of the rows stands in the tree, row after row.
        first: int64 ``(T,)``: where each token of the tree stands first among those of the rows.
    """

    tokens: TokenIds
    positions: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]


def token_tree(groups: Sequence[Sequence[TokenIds]]) -> TokenTree:
    """Lay groups of rows out as trees, end to end.

    Args:
        groups: In each, a row shares with the one before it what both begin with.
    """
    tokens: list[TokenIds] = []
    positions: list[npt.NDArray[np.int64]] = []
    rows: list[npt.NDArray[np.int64]] = []
    first: list[npt.NDArray[np.int64]] = []
    size = total = 0
    for group in groups:
        before: TokenIds = np.empty(0, dtype=np.int32)
        places = np.empty(0, dtype=np.int64)
        for row in group:
            shared = common_prefix(before, row)
            own = np.arange(size, size + len(row) - shared)
            places = np.concatenate([places[:shared], own])
            tokens.append(row[shared:])
            positions.append(np.arange(shared, len(row)))
            first.append(np.arange(total + shared, total + len(row)))
            rows.append(places)
            size, total, before = size + len(own), total + len(row), row
    return TokenTree(np.concatenate(tokens), np.concatenate(positions), np.concatenate(rows), np.concatenate(first))


def common_prefix(one: TokenIds, other: TokenIds) -> int:
    """Return the length of the prefix that two rows share."""
    shorter = min(len(one), len(other))
    differs = np.flatnonzero(one[:shorter] != other[:shorter])
    return int(differs[0]) if len(differs) else shorter
