"""Verify which fast inference paths give a model's own numbers, on small examples, before any of them is used.

Each loaded model is verified once, and again whenever its modules have changed. The policy of the comparison is that of
:mod:`luthier.kernels.verification`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
import torch
from torch import Tensor

from luthier.inference.encoder_once import encoder_once_logprobs
from luthier.inference.kept_capabilities import kept_or_verified
from luthier.inference.kv_slots import KVSlots
from luthier.inference.running_batch import PendingSequence
from luthier.inference.tree_scoring import tree_logprobs
from luthier.kernels.verification import LOGPROBS, evaluation_mode, verify
from luthier.models.decoder import DecoderModel
from luthier.models.encoder_decoder import EncoderDecoderModel
from luthier.models.language_model import LanguageModel, ModuleSignature
from luthier.records import Encoded

_SHARED, _PROMPTS, _TARGETS = 34, (6, 3), (2, 2)
"""Tokens that all examples begin with, those that follow in each prompt, and those of each target."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Which paths give a model's own numbers.

    Attributes:
        tree: It scores prompts with common beginnings in one pass, as a tree.
        own_output_layer: It does so only where its own output layer computes the logits.
        slots: It generates from KV slots, which sequences enter and leave while others continue.
        encoder_once: It scores several targets after a prompt that is encoded once.
    """

    tree: bool = False
    own_output_layer: bool = False
    slots: bool = False
    encoder_once: bool = False


def capabilities_of(model: LanguageModel) -> Capabilities:
    """Return the verified capabilities of a model as it is now.

    They are verified at the first call and whenever the model's modules have changed, which computes about four hundred
    tokens; of a large model without an adapter they are kept for later processes.
    """
    if not isinstance(model, DecoderModel | EncoderDecoderModel):
        return Capabilities()  # another kind of model is used through its own interface alone
    signature = _signature(model)
    if signature not in model.capabilities:
        names = [field.name for field in fields(Capabilities)]
        model.capabilities[signature] = Capabilities(**kept_or_verified(model, names, lambda: asdict(_verified(model))))
    found: Capabilities = model.capabilities[signature]
    return found


def _signature(model: LanguageModel) -> ModuleSignature:
    """What the capabilities depend on: the classes of a model's modules, and what a method put before prompts."""
    soft = model.soft_prompt
    return (*map(type, model.module.modules()), soft is None, soft is not None and soft.cache is not None)


def _verified(model: LanguageModel) -> Capabilities:
    items = _examples(model)
    with evaluation_mode(model.module), model.in_precision(None):
        expected = torch.cat([model.target_logprobs([item]) for item in items]).cpu()
        if isinstance(model, EncoderDecoderModel):
            cached = model.soft_prompt is not None and model.soft_prompt.cache is not None
            return Capabilities(encoder_once=not cached and _encoder_once_agrees(model, items, expected))
        fused = _tree_agrees(model, items, expected, own_output_layer=False)
        tree = fused or _tree_agrees(model, items, expected, own_output_layer=True)
        return Capabilities(tree=tree, own_output_layer=not fused, slots=tree and _slots_agree(model, items, expected))


def _examples(model: LanguageModel) -> list[Encoded]:
    rng = np.random.default_rng(0)
    room = max(1, min(_SHARED, model.max_length - max(_PROMPTS) - max(_TARGETS)))

    def draw(tokens: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        return rng.integers(0, model.vocabulary, tokens, dtype=np.int32)

    shared = draw(room)
    prompts = [np.concatenate([shared, draw(tokens)]) for tokens in _PROMPTS]
    return [
        Encoded(f"verify-{number}-{place}", prompt, draw(tokens))
        for number, prompt in enumerate(prompts)
        for place, tokens in enumerate(_TARGETS)
    ]


def _tree_agrees(model: LanguageModel, items: Sequence[Encoded], expected: Tensor, *, own_output_layer: bool) -> bool:
    """Verify one pass with prefixes and blocks, and several passes that continue from one another."""
    passes: tuple[Callable[[], Tensor], ...] = (
        lambda: tree_logprobs(model, items, 10**6, own_output_layer=own_output_layer, block=12)[0],
        lambda: tree_logprobs(model, items, 1, own_output_layer=own_output_layer)[0],
    )
    return all(verify(compute, expected, LOGPROBS).agrees for compute in passes)


def _encoder_once_agrees(model: EncoderDecoderModel, items: Sequence[Encoded], expected: Tensor) -> bool:
    return verify(lambda: encoder_once_logprobs(model, items, 10**6)[0], expected, LOGPROBS).agrees


def _slots_agree(model: LanguageModel, items: Sequence[Encoded], expected: Tensor) -> bool:
    """Verify two sequences with a common beginning, the second of which is admitted while the first continues."""
    chosen = [items[1], items[-1]]
    starts = np.cumsum([0, *(len(item.target_ids) for item in items)])
    sums = torch.stack([expected[starts[1] : starts[1] + 2].sum(), expected[starts[-2] : starts[-2] + 2].sum()])
    return verify(lambda: _logprobs_from_slots(model, chosen), sums, LOGPROBS).agrees


def _logprobs_from_slots(model: LanguageModel, chosen: Sequence[Encoded]) -> Tensor:
    """Log-probability of the two target tokens of each of two examples: float32 ``(2,)``, in nats."""
    first, second = (torch.from_numpy(item.target_ids.astype(np.int64)).to(model.device) for item in chosen)
    pending = [PendingSequence(item.prompt_ids, 3) for item in chosen]
    slots = KVSlots(model, pending, None)
    found = torch.zeros(2)
    slots.admit(pending[:1])
    found[0] += slots.logits.log_softmax(dim=-1)[0, first[0]].cpu()
    slots.advance(first[:1])
    slots.admit(pending[1:])
    logs = slots.logits.log_softmax(dim=-1).cpu()
    found += torch.stack([logs[0, first[1]], logs[1, second[0]]])
    slots.keep(torch.tensor([1], device=model.device))
    slots.advance(second[:1])
    found[1] += slots.logits.log_softmax(dim=-1)[0, second[1]].cpu()
    return found
