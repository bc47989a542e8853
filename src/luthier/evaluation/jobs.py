"""What a model is to answer: everything is encoded, and the place of the log is known, before it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from luthier.config.advice import shorter_answers
from luthier.errors import DataError
from luthier.evaluation.context import EvaluationContext, computation_of
from luthier.evaluation.prepared_task import PreparedTask, generation_settings_of
from luthier.evaluation.requests import (
    GenerationSettings,
    Request,
    answer_batch,
    encode_requests,
    plan_request_batches,
)
from luthier.evaluation.response_cache import CachedRequest, cache_file, request_key
from luthier.files.store import Entry, open_entry
from luthier.metrics.extraction import Extraction
from luthier.models.language_model import LanguageModel
from luthier.records import Dropped, Encoded, Prediction
from luthier.tasks.rows.splits import digest_examples

_OF_SAMPLING = {"seed", "top_k", "top_p"}
"""Settings that a greedy answer does not depend on."""


@dataclass(frozen=True, slots=True)
class EvaluationJob:
    """What a model is to answer, and the place of the log.

    Attributes:
        entry: Its place in the store.
        requests: In the order of the split.
        items: The sequences of each of them: its prompt, or one for each choice or window.
        batches: Cuts some of them, by index, into batches; the same for the same indices, always.
        answer: Answers a batch of them, by index.
        cache: File of the answers of earlier evaluations; None to answer everything anew.
        dropped: Examples that cannot be answered because they do not fit.
        cut: Examples whose input text was cut to fit.
        label: What the progress bar says.
        device: Where the model is.
        extraction: How answers are taken out of generated text when the log is read; the log itself holds the whole
            text, so that another expression needs no new answers.
    """

    entry: Entry
    requests: tuple[CachedRequest, ...]
    items: tuple[tuple[Encoded, ...], ...]
    batches: Callable[[Sequence[int]], list[tuple[int, ...]]]
    answer: Callable[[Sequence[int]], list[Prediction]]
    cache: Path | None
    dropped: tuple[Dropped, ...]
    cut: int
    label: str
    device: torch.device
    extraction: Extraction | None = None


def task_job(model: LanguageModel, prepared: PreparedTask, context: EvaluationContext, *, label: str) -> EvaluationJob:
    """Prepare the answers to a task's examples, exemplars included.

    Raises:
        DataError: When not one example fits.
    """
    encoder = prepared.encoder
    generation = generation_settings_of(prepared.task, context.decoding)
    requests, dropped = encode_requests(prepared.examples, encoder, new_tokens=generation.new_tokens)
    if not requests:
        reason = dropped[0].reason if dropped else "there are none"
        raise DataError(
            f"no test example can be answered ({reason})",
            where=prepared.task.name,
            fix=f"{shorter_answers()}.",
        )

    def batches(indices: Sequence[int]) -> list[tuple[int, ...]]:
        left = [requests[index] for index in indices]
        cut = plan_request_batches(left, new_tokens=generation.new_tokens, batch_tokens=context.batch_tokens)
        return [tuple(indices[index] for index in batch) for batch in cut]

    def answer(indices: Sequence[int]) -> list[Prediction]:
        chosen = [requests[index] for index in indices]
        engine, budget = context.engine, context.batch_tokens
        return answer_batch(model, encoder, chosen, generation, batch_tokens=budget, engine=engine)

    return EvaluationJob(
        entry=open_entry(
            context.out,
            "predictions",
            prediction_inputs(model, prepared, context),
            replace(context.about, task=prepared.task.name),
        ),
        requests=tuple(_cached_request(request, prepared, generation) for request in requests),
        items=tuple(request.sequences for request in requests),
        batches=batches,
        answer=answer,
        cache=response_cache_of(model, context),
        dropped=tuple(dropped),
        cut=sum(any(item.cut_tokens for item in request.items) for request in requests),
        label=label,
        device=model.device,
        extraction=prepared.task.extraction,
    )


def prediction_inputs(model: LanguageModel, prepared: PreparedTask, context: EvaluationContext) -> dict[str, Any]:
    """Return everything that the answers to a task's examples depend on: the key of their place in the store."""
    generation = generation_settings_of(prepared.task, context.decoding)
    return {
        "computation": computation_of(model, context).inputs(),
        "encoder": prepared.encoder.signature,
        "batch_tokens": context.batch_tokens,
        "examples": digest_examples(prepared.examples),
        "generation": generation.inputs(),
    }


def response_cache_of(model: LanguageModel, context: EvaluationContext) -> Path | None:
    """Return the file of the answers that this model gave before, computed as they would be now.

    What the encoder's limits and the size of batches change is seen from the tokens of a request, or changes nothing.
    """
    return cache_file(context.out, computation_of(model, context).inputs()) if context.cache else None


def _cached_request(request: Request, prepared: PreparedTask, generation: GenerationSettings) -> CachedRequest:
    """Return a request as earlier evaluations may have asked it, in another task or beside others."""
    example, encoder = request.example, prepared.encoder
    blank = Prediction(
        example.id,
        example.task,
        "",
        example.targets,
        choices=example.choices,
        group=example.group,
        wrong=example.wrong,
    )
    if example.choices:
        kind = "choice and prior" if request.priors else "choice"
        return CachedRequest(request_key(request.sequences, {"kind": kind}), blank)
    greedy = generation.decoding.temperature == 0
    settings = generation.decoding.model_dump(mode="json", exclude=_OF_SAMPLING if greedy else None)
    generated = {
        "kind": "text",
        "decoding": settings | {"max_new_tokens": generation.new_tokens},
        "stop": generation.stop,
        "ends": (encoder.end_ids, encoder.stop_ids, *encoder.stop_texts, *encoder.kept_ids),
        # A sampled answer depends on the example's own random stream.
        "stream": "" if greedy else example.id,
    }
    return CachedRequest(request_key(request.items, generated), blank)
