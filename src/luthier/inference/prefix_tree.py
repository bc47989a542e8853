"""Rows of tokens as a prefix tree: a shared prefix is stored once.

Nodes lie in the order of a walk from the root, each before its children, so that a node's descendants are a contiguous
range of places: which tokens attend to a token is a comparison of two numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from luthier.kernels.branches import common_prefix
from luthier.records import TokenIds

Places: TypeAlias = npt.NDArray[np.int64]
MIN_SHARED = 4
"""Minimum length of a shared prefix that becomes a node: attending to one more node costs about three tokens."""


@dataclass(frozen=True, slots=True)
class Node:
    """A run of tokens that all rows below it share.

    Attributes:
        parent: Its place among the nodes, or -1.
        start: Place of its first token.
        stop: Place after its last token.
        end: Place after the last token of all its descendants.
        depth: Tokens of a row before its first.
    """

    parent: int
    start: int
    stop: int
    end: int
    depth: int


@dataclass(frozen=True)
class PrefixTree:
    """Rows as a prefix tree.

    Attributes:
        tokens: int32 ``(tokens,)``, node after node.
        positions: int64 ``(tokens,)``: tokens of its row before each token.
        nodes: Each before its children.
        leaves: The node in which each row ends.
    """

    tokens: TokenIds
    positions: Places
    nodes: tuple[Node, ...]
    leaves: tuple[int, ...]

    def places(self, row: int, first: int, last: int) -> Places:
        """Return the places of tokens ``[first, last)`` of a row."""
        parts: list[Places] = []
        index = self.leaves[row]
        while index >= 0:
            node = self.nodes[index]
            low, high = max(first, node.depth), min(last, node.depth + node.stop - node.start)
            if low < high:
                parts.append(np.arange(low, high) + (node.start - node.depth))
            index = node.parent
        return np.concatenate(parts[::-1]) if parts else np.zeros(0, dtype=np.int64)

    def ends(self) -> Places:
        """Return for each token the place after the last one that attends to it: int64 ``(tokens,)``."""
        found = np.zeros(len(self.tokens), dtype=np.int64)
        for node in self.nodes:
            found[node.start : node.stop] = node.end
        return found


def sort_key(row: TokenIds) -> bytes:
    """Return a sort key that puts rows with a shared prefix next to each other."""
    return row.astype(">u4").tobytes()


def build_prefix_tree(rows: Sequence[TokenIds], *, skip: int = 0, min_shared: int = MIN_SHARED) -> PrefixTree:
    """Lay rows out as a tree.

    Args:
        rows: In any order; each longer than ``skip``.
        skip: First tokens of every row, the same in all, that are left out.
        min_shared: Tokens in common that make a node; fewer are repeated.
    """
    order = sorted(range(len(rows)), key=lambda index: sort_key(rows[index]))
    ordered = [rows[index] for index in order]
    alike = [0, *(common_prefix(one, other) for one, other in itertools.pairwise(ordered))]
    drawn: list[tuple[int, int, int, int]] = []  # parent, start, stop, depth
    pieces: list[TokenIds] = []
    leaves = [0] * len(rows)
    place = 0
    left = [(0, len(rows), skip, -1)]  # rows [low, high), which share `depth` tokens and stand below `parent`
    while left:
        low, high, depth, parent = left.pop()
        shared = min(alike[low + 1 : high], default=len(ordered[low]))
        same = shared == len(ordered[high - 1])  # sorted: then all of them are the shared tokens
        if shared > depth and (same or shared - depth >= min_shared):
            piece = ordered[low][depth:shared]
            drawn.append((parent, place, place + len(piece), depth))
            pieces.append(piece)
            place, depth, parent = place + len(piece), shared, len(drawn) - 1
        if same:
            for row in range(low, high):
                leaves[order[row]] = parent
            continue
        cuts = [low, *(row for row in range(low + 1, high) if alike[row] == shared), high]
        left += [(one, other, depth, parent) for one, other in itertools.pairwise(cuts)][::-1]
    return _finished(drawn, pieces, leaves)


def _finished(drawn: list[tuple[int, int, int, int]], pieces: list[TokenIds], leaves: list[int]) -> PrefixTree:
    ends = [stop for _, _, stop, _ in drawn]
    for index in range(len(drawn) - 1, -1, -1):
        parent = drawn[index][0]
        if parent >= 0:
            ends[parent] = max(ends[parent], ends[index])
    nodes = tuple(
        Node(parent, start, stop, end, depth) for (parent, start, stop, depth), end in zip(drawn, ends, strict=True)
    )
    tokens = np.concatenate(pieces).astype(np.int32)
    positions = np.concatenate([np.arange(node.stop - node.start) + node.depth for node in nodes])
    return PrefixTree(tokens, positions, nodes, tuple(leaves))
