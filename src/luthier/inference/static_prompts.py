"""Grouping of contexts by shared prefix, for an engine that caches one prefix at a time.

A prompt that few others share is best computed once for its own targets; exemplars that all prompts share are best
computed once for all of them. Costs are counted in tokens.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from luthier.inference.prefix_tree import sort_key
from luthier.kernels.branches import common_prefix
from luthier.records import TokenIds

CALL = 12
"""Fixed cost of a call, in tokens: the weights pass through the processor once."""


@dataclass(frozen=True, slots=True)
class Group:
    """Contexts that are computed after one shared prefix.

    Attributes:
        shared: Length of the shared prefix, which is computed once; 0 for none. Each context is longer.
        rows: Places of the contexts among those given.
    """

    shared: int
    rows: tuple[int, ...]


def group(contexts: Sequence[TokenIds]) -> list[Group]:
    """Cut different contexts, each of at least one token, into groups with a low total cost."""
    order = sorted(range(len(contexts)), key=lambda index: sort_key(contexts[index]))
    return _cheapest(contexts, order)[1]


def _cheapest(contexts: Sequence[TokenIds], order: Sequence[int]) -> tuple[int, list[Group]]:
    """Return the cost of sorted contexts in tokens, and their groups."""
    lengths = [len(contexts[index]) for index in order]
    # What the first and last of sorted contexts share, all share; the last token of each is computed for its logits.
    shared = min(common_prefix(contexts[order[0]], contexts[order[-1]]), min(lengths) - 1) if len(order) > 1 else 0
    together = shared + sum(lengths) - len(lengths) * shared + CALL * len(set(lengths))
    branches = [list(own) for _, own in itertools.groupby(order, key=lambda index: int(contexts[index][shared]))]
    if len(branches) > 1:
        found = [_cheapest(contexts, branch) for branch in branches]
        apart = sum(cost for cost, _ in found)
        if apart < together:
            return apart, [own for _, groups in found for own in groups]
    return together, [Group(shared, tuple(order))]
