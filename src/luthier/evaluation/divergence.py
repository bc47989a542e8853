"""How far a trained model is from the base on the target's own prompts: the forward KL divergence per token.

It is what forgetting on other tasks is best foretold by (Shenfeld et al. 2025, arXiv:2509.04259). A record is a
prediction whose only choice is its target, with the divergence in place of the log-probability: what scores the token
loss of a text scores it, with the same interval and over several seeds.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from luthier.data.batching import plan_batches
from luthier.evaluation.context import EvaluationContext, computation_of
from luthier.evaluation.jobs import EvaluationJob
from luthier.evaluation.response_cache import CachedRequest, request_key
from luthier.files.store import open_entry
from luthier.kernels.verification import evaluation_mode
from luthier.metrics.task_metrics import TaskMetrics
from luthier.models.language_model import LanguageModel
from luthier.objectives.base_distribution import TopTokens, base_distributions, digest_of_tokens, joined, kl_from_top
from luthier.records import Encoded, Prediction

DIVERGENCE = TaskMetrics("divergence", ("perplexity",), "token_loss")
"""The divergence as a task: its token loss is nats per token."""


def divergence_job(
    model: LanguageModel, records: Sequence[Encoded], context: EvaluationContext, *, label: str
) -> EvaluationJob:
    """Prepare the divergence of a model from its base, at the target tokens of records.

    The base's own job comes first, and leaves its distributions in the store.

    Args:
        model: The base; the adapter that the context names is on it when the job runs.
        records: Validation records of the target.
        context: Says which adapter, and where the store is.
        label: What the progress bar says.
    """
    computation = computation_of(model, context)
    blanks = [
        Prediction(record.id, DIVERGENCE.task, record.id, (record.id,), choices=(record.id,), finish="choice")
        for record in records
    ]

    def batches(indices: Sequence[int]) -> list[tuple[int, ...]]:
        lengths = [len(records[index].prompt_ids) + len(records[index].target_ids) for index in indices]
        cut = plan_batches(lengths, _most_tokens(model, context.batch_tokens))
        return [tuple(indices[index] for index in batch) for batch in cut]

    @functools.cache
    def base() -> list[TopTokens]:
        inputs_of_base = replace(computation, adapter="").inputs()
        return base_distributions(model, records, inputs_of_base, out=context.out, is_base=not context.adapter)

    def answer(indices: Sequence[int]) -> list[Prediction]:
        of_base = base()
        started = time.monotonic()
        chosen = [records[index] for index in indices]
        nats = _divergences(model, chosen, [of_base[index] for index in indices])
        seconds = (time.monotonic() - started) / len(indices)
        return [
            replace(blanks[index], choice_logprobs=(-sum(own),), choice_tokens=(len(own),), seconds=seconds)
            for index, own in zip(indices, nats, strict=True)
        ]

    inputs = {
        "computation": computation.inputs(),
        "batch_tokens": context.batch_tokens,
        "records": digest_of_tokens(records),
    }
    return EvaluationJob(
        entry=open_entry(context.out, "divergences", inputs, replace(context.about, task="divergence")),
        requests=tuple(
            CachedRequest(request_key((record,), {"kind": "divergence"}), blank)
            for record, blank in zip(records, blanks, strict=True)
        ),
        items=tuple((record,) for record in records),
        batches=batches,
        answer=answer,
        cache=None,
        dropped=(),
        cut=0,
        label=label,
        device=model.device,
    )


_LOGITS = 64 * 2**20
"""Bytes of logits that are held at a time."""


def _most_tokens(model: LanguageModel, batch_tokens: int) -> int:
    return max(1, min(batch_tokens, _LOGITS // (4 * model.vocabulary)))


@torch.no_grad()
def _divergences(model: LanguageModel, records: Sequence[Encoded], base: Sequence[TopTokens]) -> list[list[float]]:
    """Return the divergence at each target token of each record, in nats."""
    with evaluation_mode(model.module):
        logits = model.target_logits(records)  # (S, V)
    nats = kl_from_top(joined(base).to(model.device), logits).double().cpu()
    return [part.tolist() for part in torch.split(nats, [len(record.target_ids) for record in records])]
