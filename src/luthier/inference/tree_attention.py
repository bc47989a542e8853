"""A prefix tree in one forward pass: each token attends to the earlier tokens of its own row.

Small subtrees are blocks: attention within a block is one masked call, and blocks of similar length share a call. The
prefixes above the blocks are attended to by all tokens below them in one call each.
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
"""Maximum number of tokens of a subtree that forms one block."""
_ALIKE = 0.8
"""Minimum length of a block, as a share of the longest, to share a call with it."""
_SIDE_BY_SIDE = 4096
"""Maximum number of tokens in one call: gathering them takes memory."""


@dataclass(frozen=True)
class Group:
    """Blocks of similar length that share a call.

    Attributes:
        places: int64 ``(blocks, longest)``; a block's last place is repeated.
        real: bool of the same shape, or None when all are as long.
        mask: float32 ``(blocks, 1, longest, longest)`` to be added, or None where each token sees all before it.
    """

    places: Tensor
    real: Tensor | None
    mask: Tensor | None


@dataclass(frozen=True, slots=True)
class SharedPrefix:
    """A prefix: tokens ``[start, stop)``, to which all tokens ``[stop, end)`` attend."""

    start: int
    stop: int
    end: int


@dataclass
class TreeLayout:
    """What the tokens of a tree attend to.

    Attributes:
        groups: Of blocks; each token is in one.
        prefixes: Above the blocks.
        before: Keys and values to which all tokens attend.
        kept: Places whose keys and values are kept, int64; None for none.
        key_values: The kept ones, after the forward pass.
    """

    groups: list[Group]
    prefixes: list[SharedPrefix]
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
        for prefix in self.prefixes:
            own, below = slice(prefix.start, prefix.stop), slice(prefix.stop, prefix.end)
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
    """Return the attention layout of a tree for one forward pass.

    Args:
        tree: Its tokens.
        device: Where the model is.
        before: Keys and values to which all tokens attend.
        block: Maximum number of tokens of a subtree that forms one block.
    """
    chains: list[tuple[int, int]] = []
    bushes: list[tuple[int, int]] = []
    prefixes: list[SharedPrefix] = []
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
            prefixes.append(SharedPrefix(node.start, node.stop, node.end))
    groups = [_group(part, device, None) for part in _side_by_side(chains)]
    ends = tree.ends()
    groups += [_group(part, device, ends) for part in _side_by_side(bushes)]
    return TreeLayout(groups, prefixes, before)


def _side_by_side(blocks: Sequence[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Group blocks of similar length."""
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
        # A token attends to its ancestors; padding attends to itself.
        seen = (places[:, None, :] <= places[:, :, None]) & (places[:, :, None] < ends[places][:, None, :])
        seen &= real[:, None, :] | np.eye(places.shape[1], dtype=bool)[None]
        mask = torch.from_numpy(np.where(seen, 0.0, -np.inf).astype(np.float32)).to(device)[:, None]
    filled = None if real.all() else torch.from_numpy(real).to(device)
    return Group(torch.from_numpy(places).to(device), filled, mask)
