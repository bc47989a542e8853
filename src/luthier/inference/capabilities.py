"""What a model has shown that it can be asked: a fast way is used only where it gives the model's own numbers.

Each loaded model is tried on a few examples that begin alike, again whenever its parts have changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from luthier.inference.encoder_once import encoder_once_logprobs
from luthier.inference.kv_slots import KVSlots
from luthier.inference.tree_scoring import tree_logprobs
from luthier.models.decoder import DecoderModel
from luthier.models.encoder_decoder import EncoderDecoderModel
from luthier.models.language_model import LanguageModel
from luthier.models.verification import FAULTS, agree, trying
from luthier.records import Encoded

_HEAD, _ASKED, _ANSWERED = 34, (6, 3), (2, 2)
"""Tokens of what the examples begin with, of each question, of each answer."""
_Shape: TypeAlias = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What may be asked of a model.

    Attributes:
        tree: Scores a tree of prefixes in one pass.
        own_head: Only with its own head.
        slots: Generates from slots.
        encoder_once: Scores targets after prompts encoded once.
    """

    tree: bool = False
    own_head: bool = False
    slots: bool = False
    encoder_once: bool = False


def capabilities_of(model: LanguageModel) -> Capabilities:
    """Return what may be asked of a model as it is now; it is tried at the first call and when its parts changed.

    Trying reads some four hundred tokens.
    """
    if not isinstance(model, DecoderModel | EncoderDecoderModel):
        return Capabilities()  # another kind of model answers by its own interface alone
    shape = _shape(model)
    if shape not in model.shown:
        model.shown[shape] = _try(model)
    shown: Capabilities = model.shown[shape]
    return shown


def _shape(model: LanguageModel) -> _Shape:
    """What the answer depends on: the kinds of a model's parts, and what a method has put before prompts."""
    soft = model.soft_prompt
    return (*map(type, model.module.modules()), soft is None, soft is not None and soft.cache is not None)


def _try(model: LanguageModel) -> Capabilities:
    items = _examples(model)
    with trying(model):
        expected = torch.cat([model.target_logprobs([item]) for item in items]).cpu()
        if isinstance(model, EncoderDecoderModel):
            cached = model.soft_prompt is not None and model.soft_prompt.cache is not None
            return Capabilities(encoder_once=not cached and _once_agrees(model, items, expected))
        plain = _tree_agrees(model, items, expected, own_head=False)
        tree = plain or _tree_agrees(model, items, expected, own_head=True)
        return Capabilities(tree=tree, own_head=not plain, slots=tree and _slots_agree(model, items, expected))


def _examples(model: LanguageModel) -> list[Encoded]:
    rng = np.random.default_rng(0)
    room = max(1, min(_HEAD, model.max_length - max(_ASKED) - max(_ANSWERED)))

    def draw(tokens: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        return rng.integers(0, model.vocabulary, tokens, dtype=np.int32)

    head = draw(room)
    prompts = [np.concatenate([head, draw(asked)]) for asked in _ASKED]
    return [
        Encoded(f"tried-{number}-{place}", prompt, draw(answered))
        for number, prompt in enumerate(prompts)
        for place, answered in enumerate(_ANSWERED)
    ]


def _tree_agrees(model: LanguageModel, items: Sequence[Encoded], expected: Tensor, *, own_head: bool) -> bool:
    """Try one pass with trunks and blocks, and several passes that go on from one another."""
    try:
        together, _ = tree_logprobs(model, items, 10**6, own_head=own_head, block=12)
        cut, _ = tree_logprobs(model, items, 1, own_head=own_head)
    except FAULTS:
        return False
    return agree(together, expected) and agree(cut, expected)


def _once_agrees(model: EncoderDecoderModel, items: Sequence[Encoded], expected: Tensor) -> bool:
    try:
        found, _ = encoder_once_logprobs(model, items, 10**6)
    except FAULTS:
        return False
    return agree(found, expected)


def _slots_agree(model: LanguageModel, items: Sequence[Encoded], expected: Tensor) -> bool:
    """Try two sequences that begin alike, of which the second joins later: each says its target."""
    chosen = [items[1], items[-1]]
    starts = np.cumsum([0, *(len(item.target_ids) for item in items)])
    wanted = torch.stack([expected[starts[1] : starts[1] + 2].sum(), expected[starts[-2] : starts[-2] + 2].sum()])
    first, second = (torch.from_numpy(item.target_ids.astype(np.int64)).to(model.device) for item in chosen)
    try:
        slots = KVSlots(model, [item.prompt_ids for item in chosen], 3, None)
        found = torch.zeros(2)
        slots.admit([chosen[0].prompt_ids])
        found[0] += slots.logits.log_softmax(dim=-1)[0, first[0]].cpu()
        slots.advance(first[:1])
        slots.admit([chosen[1].prompt_ids])
        logs = slots.logits.log_softmax(dim=-1).cpu()
        found += torch.stack([logs[0, first[1]], logs[1, second[0]]])
        slots.keep(torch.tensor([1], device=model.device))
        slots.advance(second[:1])
        found[1] += slots.logits.log_softmax(dim=-1)[0, second[1]].cpu()
    except FAULTS:
        return False
    return agree(found, wanted)
