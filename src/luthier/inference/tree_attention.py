"""A prefix tree in one forward pass: each token sees the tokens of its own row that stand before it.

Small subtrees are blocks: attention within a block is one call behind a mask, blocks of like length side by side. What
blocks have above them, the trunks, is attended to by all that stands below in one call each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from luthier.inference.custom_attention import KeyValues, add_keys, attend_to_all, attention
from luthier.inference.prefix_tree import Places, PrefixTree

BLOCK = 256
"""Tokens of a subtree at most that makes one block."""
_ALIKE = 0.8
"""Blocks at least this long, in the longest's lengths, stand side by side."""
_SIDE_BY_SIDE = 4096
"""Tokens side by side at most: gathering them takes memory."""


@dataclass(frozen=True)
class Group:
    """Blocks of like length, side by side.

    Attributes:
        places: int64 ``(blocks, longest)``; a block's last place is repeated.
        real: bool of the same shape, or None when all are as long.
        mask: float32 ``(blocks, 1, longest, longest)`` to be added, or None where each token sees all before it.
    """

    places: Tensor
    real: Tensor | None
    mask: Tensor | None


@dataclass(frozen=True, slots=True)
class Trunk:
    """Tokens ``[start, stop)`` that all tokens ``[stop, end)`` see."""

    start: int
    stop: int
    end: int


@dataclass
class TreeLayout:
    """What the tokens of a tree attend to.

    Attributes:
        groups: Of blocks; each token is in one.
        trunks: What stands above them.
        before: Keys and values that all tokens see.
        kept: Places whose keys and values are to be kept, int64; None for none.
        key_values: Those, once the model has been run.
    """

    groups: list[Group]
    trunks: list[Trunk]
    before: KeyValues
    kept: Tensor | None = None
    key_values: KeyValues = field(default_factory=KeyValues)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """See :class:`~luthier.inference.custom_attention.Layout`."""
        if self.kept is not None:
            self.key_values.keys[layer] = key[self.kept].transpose(0, 1).contiguous()  # (KV, kept, D)
            self.key_values.values[layer] = value[self.kept].transpose(0, 1).contiguous()
        out = torch.empty(query.shape, dtype=torch.float32, device=query.device)
        logs = out.new_empty(query.shape[:2])
        for group in self.groups:
            self._within(group, query, key, value, scale, (out, logs))
        for trunk in self.trunks:
            own, below = slice(trunk.start, trunk.stop), slice(trunk.stop, trunk.end)
            found = attend_to_all(query[below], key[own].transpose(0, 1), value[own].transpose(0, 1), scale)
            add_keys(out[below], logs[below], *found)
        if self.before.tokens:
            add_keys(out, logs, *attend_to_all(query, self.before.keys[layer], self.before.values[layer], scale))
        return out

    def _within(
        self, group: Group, query: Tensor, key: Tensor, value: Tensor, scale: float, into: tuple[Tensor, Tensor]
    ) -> None:
        q, k, v = (tensor[group.places].transpose(1, 2) for tensor in (query, key, value))  # (B, H, L, D)
        out, logs = attention(q, k, v, scale, causal=group.mask is None, mask=group.mask)
        places = group.places.flatten() if group.real is None else group.places[group.real]
        for whole, part in zip(into, (out.transpose(1, 2), logs.transpose(1, 2)), strict=True):
            whole[places] = part.flatten(0, 1) if group.real is None else part[group.real]


def lay_out(tree: PrefixTree, device: torch.device, before: KeyValues, *, block: int = BLOCK) -> TreeLayout:
    """Lay a tree out for one forward pass.

    Args:
        tree: Its tokens.
        device: Where the model is.
        before: Keys and values that all tokens see.
        block: Tokens of a subtree at most that makes one block.
    """
    chains: list[tuple[int, int]] = []
    bushes: list[tuple[int, int]] = []
    trunks: list[Trunk] = []
    inside = 0
    for node in tree.nodes:
        if node.start < inside:
            continue  # in the block of a node above
        if node.end - node.start <= block and node.end > node.stop:
            bushes.append((node.start, node.end))
            inside = node.end
            continue
        chains.append((node.start, node.stop))
        if node.end > node.stop:
            trunks.append(Trunk(node.start, node.stop, node.end))
    groups = [_group(part, device, None) for part in _side_by_side(chains)]
    ends = tree.ends()
    groups += [_group(part, device, ends) for part in _side_by_side(bushes)]
    return TreeLayout(groups, trunks, before)


def _side_by_side(blocks: Sequence[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Put blocks of like length together."""
    parts: list[list[tuple[int, int]]] = []
    for block in sorted(blocks, key=lambda block: (block[0] - block[1], block)):
        longest = parts[-1][0][1] - parts[-1][0][0] if parts else 0
        if (
            parts
            and block[1] - block[0] >= _ALIKE * longest
            and (len(parts[-1]) + 1) * longest <= max(_SIDE_BY_SIDE, longest)
        ):
            parts[-1].append(block)
        else:
            parts.append([block])
    return parts


def _group(blocks: Sequence[tuple[int, int]], device: torch.device, ends: Places | None) -> Group:
    starts, stops = (np.array(side)[:, None] for side in zip(*blocks, strict=True))  # (B, 1)
    counted = starts + np.arange((stops - starts).max())[None, :]  # (B, L)
    real = counted < stops
    places = np.minimum(counted, stops - 1)
    mask = None
    if ends is not None:
        # A token sees those before it whose descendants it is among; what only fills up sees itself.
        seen = (places[:, None, :] <= places[:, :, None]) & (places[:, :, None] < ends[places][:, None, :])
        seen &= real[:, None, :] | np.eye(places.shape[1], dtype=bool)[None]
        mask = torch.from_numpy(np.where(seen, 0.0, -np.inf).astype(np.float32)).to(device)[:, None]
    filled = None if real.all() else torch.from_numpy(real).to(device)
    return Group(torch.from_numpy(places).to(device), filled, mask)
