"""Held-out pairs of answers: which of the two a model gives the higher log-probability.

A record is a prediction between two choices, ``chosen`` and ``rejected``, so that what scores choices scores it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from luthier.data.batching import plan_batches
from luthier.data.preferences import Pair
from luthier.evaluation.context import EvaluationContext, computation_of
from luthier.evaluation.jobs import EvaluationJob
from luthier.evaluation.response_cache import CachedRequest, request_key
from luthier.files.store import open_entry
from luthier.inference.engine import TorchEngine
from luthier.metrics.task_metrics import TaskMetrics
from luthier.models.language_model import LanguageModel
from luthier.objectives.base_distribution import digest_of_tokens
from luthier.records import Prediction

CHOSEN, REJECTED = "chosen", "rejected"
PAIRS = TaskMetrics("pairs", ("accuracy",), "accuracy", 0.5)
"""Pairs as a task: its accuracy is the share of them whose chosen answer has the higher log-probability."""


def pairs_job(model: LanguageModel, pairs: Sequence[Pair], context: EvaluationContext, *, label: str) -> EvaluationJob:
    """Prepare the log-probabilities that a model gives to both answers of pairs.

    Args:
        model: The base; the adapter that the context names is on it when the job runs.
        pairs: Of the target's test split.
        context: Says which adapter, and where the store is.
        label: What the progress bar says.
    """
    blanks = [
        Prediction(
            pair.id,
            PAIRS.task,
            "",
            (CHOSEN,),
            choices=(CHOSEN, REJECTED),
            choice_tokens=(len(pair.chosen.target_ids), len(pair.rejected.target_ids)),
            prompt_tokens=model.virtual_tokens + len(pair.chosen.prompt_ids),
            finish="choice",
            group=pair.group,
        )
        for pair in pairs
    ]
    sides = [(pair.chosen, pair.rejected) for pair in pairs]

    def batches(indices: Sequence[int]) -> list[tuple[int, ...]]:
        lengths = [sum(len(side.prompt_ids) + len(side.target_ids) for side in sides[index]) for index in indices]
        return [tuple(indices[place] for place in batch) for batch in plan_batches(lengths, context.batch_tokens)]

    def answer(indices: Sequence[int]) -> list[Prediction]:
        started = time.monotonic()
        items = [side for index in indices for side in sides[index]]
        found = TorchEngine(model).answer_logprobs(items, budget=context.batch_tokens)
        seconds = (time.monotonic() - started) / len(indices)
        return [
            with_logprobs(blanks[index], (found[2 * place], found[2 * place + 1]), seconds)
            for place, index in enumerate(indices)
        ]

    inputs = {
        "computation": computation_of(model, context).inputs(),
        "batch_tokens": context.batch_tokens,
        "pairs": digest_of_tokens([side for both in sides for side in both]),
        "ids": [[pair.id, pair.group] for pair in pairs],
    }
    return EvaluationJob(
        entry=open_entry(context.out, "pairs", inputs, replace(context.about, task=PAIRS.task)),
        requests=tuple(
            CachedRequest(request_key(both, {"kind": "pair"}), blank) for both, blank in zip(sides, blanks, strict=True)
        ),
        items=tuple(sides),
        batches=batches,
        answer=answer,
        cache=None,
        dropped=(),
        cut=sum(pair.chosen.cut_tokens > 0 for pair in pairs),
        label=label,
        device=model.device,
    )


def with_logprobs(blank: Prediction, logprobs: tuple[float, float], seconds: float) -> Prediction:
    """Return a record with the log-probabilities (nats) of both answers; equal ones count for the rejected."""
    text = CHOSEN if logprobs[0] > logprobs[1] else REJECTED
    return replace(blank, text=text, choice_logprobs=logprobs, seconds=seconds)
