"""Log-probabilities of given targets by a decoder: a prefix that prompts share is computed once.

The rows of a call are sorted, so that their order does not matter, and cut into forward passes of a given number of
tokens; a prefix shared with the previous pass is not computed again, since its keys and values are kept.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from luthier.inference.custom_attention import KeyValues, forward_layout, virtual_key_values
from luthier.inference.prefix_tree import MIN_SHARED, Places, build_prefix_tree, sort_key
from luthier.inference.tree_attention import BLOCK, lay_out
from luthier.kernels.branches import common_prefix
from luthier.kernels.fused_cross_entropy import is_plain
from luthier.models.language_model import LanguageModel
from luthier.records import Encoded, TokenIds

TargetScores: TypeAlias = tuple[Tensor, Tensor]
"""Of each target token: float32 log-probability (nats), and bool, whether it is the likeliest."""
MIN_KEPT = 32
"""Minimum length of a prefix shared with the previous pass whose keys and values are kept."""
_BUSY = 512
_MOST_ON_CPU = 1024
_BYTES = 32 * 2**20
"""Bytes of float32 logits that are held at a time."""


@dataclass(frozen=True, slots=True)
class Row:
    """The input tokens of one example, and where its targets are predicted.

    Attributes:
        index: Of the example.
        tokens: Prompt and target without its last token.
        first: Place in the row at which the first target is predicted.
        targets: int32 ``(targets,)``.
    """

    index: int
    tokens: TokenIds
    first: int
    targets: TokenIds


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward pass.

    Attributes:
        rows: With a shared prefix.
        skip: Length of the prefix that earlier passes have computed.
    """

    rows: tuple[Row, ...]
    skip: int


def tree_logprobs(
    model: LanguageModel, batch: Sequence[Encoded], budget: int, *, own_output_layer: bool = False, block: int = BLOCK
) -> TargetScores:
    """Score the targets of a batch.

    Args:
        model: A decoder.
        batch: In any order.
        budget: Tokens in one forward pass at most; a longer row is a pass of its own.
        own_output_layer: Compute the logits by the model's own head, where it is more than a matrix product.
        block: Maximum number of tokens of a subtree that forms one block of attention.

    Returns:
        Of every target token, example after example in the order of the batch.
    """
    examples = batch if model.soft_prompt is None else model.soft_prompt.before_each(batch)
    bounds = np.cumsum([0, *(len(item.target_ids) for item in examples)])
    logs = torch.empty(int(bounds[-1]), dtype=torch.float32)
    likeliest = torch.empty(len(logs), dtype=torch.bool)
    rows = _rows(examples)
    passes = plan_passes(rows, min(budget, most_in_pass(model.device)))
    virtual = virtual_key_values(model)
    before = virtual
    with model.answering(count_tokens([row.tokens for row in rows])):
        for number, step in enumerate(passes):
            following = passes[number + 1].skip if number + 1 < len(passes) else 0
            found, before = _run(model, step, before, following, own_output_layer=own_output_layer, block=block)
            place = 0
            for row in step.rows:
                into = slice(int(bounds[row.index]), int(bounds[row.index + 1]))
                source = slice(place, place + len(row.targets))
                logs[into], likeliest[into] = found[0][source], found[1][source]
                place += len(row.targets)
            before = before if following else virtual
    return logs, likeliest


def _rows(examples: Sequence[Encoded]) -> list[Row]:
    return [
        Row(
            index,
            np.concatenate([item.prompt_ids, item.target_ids])[:-1].astype(np.int32),
            len(item.prompt_ids) - 1,
            item.target_ids,
        )
        for index, item in enumerate(examples)
    ]


def most_in_pass(device: torch.device) -> int:
    """Return the most tokens of a pass that are worth it: on a CPU, hidden states of more leave its cache."""
    return _MOST_ON_CPU if device.type == "cpu" else sys.maxsize


def plan_passes(rows: Sequence[Row], budget: int) -> list[Pass]:
    """Cut rows into forward passes, independently of the order of the rows."""
    ordered = sorted(rows, key=lambda row: (sort_key(row.tokens), row.first, row.targets.tobytes()))
    passes: list[Pass] = []
    taken: list[Row] = []
    size = skip = 0
    for place, row in enumerate(ordered):
        alike = common_prefix(ordered[place - 1].tokens, row.tokens) if place else 0
        own = len(row.tokens) - alike + MIN_SHARED  # short shared prefixes may be repeated
        lowered = _worth_keeping(min(skip, alike, row.first))
        more = own + (skip - lowered if taken else 0)
        if taken and (size + more > budget or (size >= _BUSY and skip - lowered >= MIN_KEPT)):
            passes.append(Pass(tuple(taken), skip))
            taken = []
        if not taken:
            skip = _worth_keeping(min(alike, row.first))
            taken, size = [row], len(row.tokens) - skip
            continue
        size += own + skip - lowered
        skip = lowered
        taken.append(row)
    if taken:
        passes.append(Pass(tuple(taken), skip))
    return passes


def _worth_keeping(tokens: int) -> int:
    return tokens if tokens >= MIN_KEPT else 0


def count_tokens(rows: Sequence[TokenIds]) -> int:
    """Return the total number of tokens of the rows, with prefixes shared by sorted neighbours counted once."""
    ordered = sorted(rows, key=sort_key)
    shared = sum(common_prefix(one, other) for one, other in itertools.pairwise(ordered))
    return sum(len(row) for row in ordered) - shared


def _run(
    model: LanguageModel, step: Pass, before: KeyValues, following: int, *, own_output_layer: bool, block: int
) -> tuple[TargetScores, KeyValues]:
    """Score one pass; also return the keys and values of the prefix of the next one."""
    virtual = model.virtual_tokens if model.soft_prompt and model.soft_prompt.cache else 0
    known = before.first(virtual + step.skip) if before.tokens else before
    tree = build_prefix_tree([row.tokens for row in step.rows], skip=step.skip)
    layout = lay_out(tree, model.device, known, block=block)
    if following > step.skip:
        layout.kept = torch.from_numpy(tree.places(len(step.rows) - 1, step.skip, following)).to(model.device)
    asked = [tree.places(index, row.first, len(row.tokens)) for index, row in enumerate(step.rows)]
    places, pairs = np.unique(np.concatenate(asked), return_inverse=True)
    targets = np.concatenate([row.targets for row in step.rows])
    positions = torch.from_numpy(tree.positions + virtual).to(model.device)
    wanted = torch.from_numpy(places).to(model.device)
    head = model.module.get_output_embeddings()
    if own_output_layer or not is_plain(head):
        logits = forward_layout(model, tree.tokens, positions, layout, logits_to_keep=wanted).logits[0]  # (S, V)
    else:
        hidden = forward_layout(model, tree.tokens, positions, layout).last_hidden_state[0][wanted]  # (S, D)
        with model.precision():
            return _in_pieces(hidden, head, pairs, targets), _path(known, layout.key_values, virtual + following)
    return _in_pieces(logits, lambda part: part, pairs, targets), _path(known, layout.key_values, virtual + following)


def _path(known: KeyValues, more: KeyValues, tokens: int) -> KeyValues:
    return known.then(more) if more.keys else known.first(tokens) if known.tokens else known


def _in_pieces(states: Tensor, head: Any, pairs: Places, targets: TokenIds) -> TargetScores:
    """Score pairs of a state and a target, without holding the logits of all states at once.

    Args:
        states: ``(states, size)``.
        head: States to logits.
        pairs: int64 ``(targets,)``, which state predicts each target.
        targets: int32 ``(targets,)``.
    """
    logs = torch.empty(len(targets), dtype=torch.float32)
    likeliest = torch.empty(len(targets), dtype=torch.bool)
    order = np.argsort(pairs, kind="stable")
    ordered = pairs[order]
    step = 1
    start = 0
    while start < len(states):
        logits = head(states[start : start + step]).float()  # (step, V)
        low, high = np.searchsorted(ordered, [start, start + len(logits)])
        mine = order[low:high]
        rows = torch.from_numpy(pairs[mine] - start).to(logits.device)
        wanted = torch.from_numpy(targets[mine].astype(np.int64)).to(logits.device)
        chosen = logits[rows, wanted] - logits.logsumexp(dim=1)[rows]
        logs[mine] = chosen.cpu()
        likeliest[mine] = (logits.argmax(dim=1)[rows] == wanted).cpu()
        start += len(logits)
        step = max(1, _BYTES // (4 * logits.shape[1]))
    return logs, likeliest
