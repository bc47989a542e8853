"""The base's distribution at every target token, kept where the base cannot be computed with while it is trained.

Of each distribution the log-probabilities of the most probable tokens are kept, and with them the mass of all others.
The divergence of two distributions that are cut in this way is a lower bound of that of the whole ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from luthier.errors import StoreError
from luthier.files.atomic import writing
from luthier.files.code_digest import code_digest
from luthier.files.digests import digest
from luthier.files.store import open_entry, reading
from luthier.kernels.verification import evaluation_mode
from luthier.models.language_model import LanguageModel
from luthier.progress import progress
from luthier.records import Encoded

ENTRY_MODULES = ("luthier.objectives.base_distribution",)
TOP = 64
"""Tokens of each distribution that are kept."""
_FILE = "distributions.safetensors"


@dataclass(frozen=True, slots=True)
class TopTokens:
    """The most probable tokens of some distributions.

    Attributes:
        ids: int64 ``(S, k)``.
        logprobs: float32 ``(S, k)``, in nats.
    """

    ids: Tensor
    logprobs: Tensor

    def to(self, device: torch.device) -> TopTokens:
        """Return them on a device."""
        return TopTokens(self.ids.to(device).long(), self.logprobs.to(device))


def joined(parts: Sequence[TopTokens]) -> TopTokens:
    """Return several as one, in their order."""
    return TopTokens(torch.cat([own.ids for own in parts]), torch.cat([own.logprobs for own in parts]))


def digest_of_tokens(records: Sequence[Encoded]) -> str:
    """Return a digest of the tokens of records, whatever else they hold."""
    return digest([[list(map(int, ids)) for ids in (own.prompt_ids, own.target_ids)] for own in records])


def top_tokens(logits: Tensor, count: int = TOP) -> TopTokens:
    """Return the most probable tokens of distributions, given as logits ``(S, V)``."""
    logprobs = logits.log_softmax(dim=1)
    best = logprobs.topk(min(count, logits.shape[1]), dim=1)
    return TopTokens(best.indices, best.values)


def kl_from_top(base: TopTokens, logits: Tensor) -> Tensor:
    """Return the divergence, in nats ``(S,)``, of distributions from a base's of which the top tokens are known.

    All other tokens count as one.

    Args:
        base: Of the base.
        logits: float32 ``(S, V)`` of the trained model; differentiable.
    """
    ours = logits.log_softmax(dim=1).gather(1, base.ids)  # (S, k)
    known = (base.logprobs.exp() * (base.logprobs - ours)).sum(dim=1)
    if base.ids.shape[1] == logits.shape[1]:
        return known
    rest, our_rest = _rest(base.logprobs), _rest(ours)
    return known + rest * (rest.log() - our_rest.log())


def kl_from_logits(base: Tensor, logits: Tensor) -> Tensor:
    """Return the divergence, in nats ``(S,)``, of distributions from the base's: both float32 logits ``(S, V)``."""
    return torch.nn.functional.kl_div(
        logits.log_softmax(dim=1), base.log_softmax(dim=1), reduction="none", log_target=True
    ).sum(dim=1)


def _rest(logprobs: Tensor) -> Tensor:
    """Return the mass of the tokens that are not kept: ``(S,)``, never quite 0."""
    return (1 - logprobs.exp().sum(dim=1)).clamp(min=torch.finfo(torch.float32).tiny)


def base_distributions(
    model: LanguageModel,
    records: Sequence[Encoded],
    computation: Mapping[str, Any],
    *,
    out: Path,
    is_base: bool = True,
) -> list[TopTokens]:
    """Return the base's distributions at the target tokens of records, for each of them.

    Args:
        model: The base, or with a method that has changed nothing yet.
        records: At least one.
        computation: How it is computed, as JSON can hold it.
        out: Folder of the store, where a later call finds them.
        is_base: Whether the model computes as the base does now; else they must be in the store.

    Raises:
        StoreError: The store cannot be written, or its entry is damaged or, where it must be, not there.
    """
    inputs = {
        "model": model.digest,
        "records": digest_of_tokens(records),
        "top": TOP,
        "computation": dict(computation),
        "code": code_digest(ENTRY_MODULES),
    }
    entry = open_entry(out, "distributions", inputs)
    with entry.held("the base's distributions"):
        if not entry.finished and not is_base:
            fix = "Run the comparison again: the base answers first."
            raise StoreError("the base's distributions are not in the store", where=str(entry.folder), fix=fix)
        if not entry.finished:
            found = joined(_computed(model, records))
            with writing(entry.work):
                save_file({"ids": found.ids.to(torch.int32), "logprobs": found.logprobs}, entry.work / _FILE)
                entry.finish()
    with reading(entry):
        stored = load_file(entry.checked(_FILE))
    lengths = [len(record.target_ids) for record in records]
    pairs = zip(torch.split(stored["ids"], lengths), torch.split(stored["logprobs"], lengths), strict=True)
    return [TopTokens(*own) for own in pairs]


@torch.no_grad()
def _computed(model: LanguageModel, records: Sequence[Encoded]) -> list[TopTokens]:
    found: list[TopTokens] = []
    with evaluation_mode(model.module), progress("the base's distributions", len(records), "examples") as advance:
        for record in records:
            own = top_tokens(model.target_logits([record]))
            found.append(own.to(torch.device("cpu")))
            advance(1, "")
    return found
