"""What the base writes by itself: continuations of single common tokens, sampled at temperature 1.

They stand for what the model was trained on where none of that is at hand (as self-synthesised rehearsal, Huang et al.
2024, arXiv:2403.01244, without its examples to begin with). A continuation is logged as its token ids, written as
numbers: texts would not always be tokenised as they were sampled.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from luthier.config.decoding import DecodingConfig
from luthier.data.batching import plan_batches
from luthier.evaluation.context import EvaluationContext, computation_of
from luthier.evaluation.jobs import EvaluationJob
from luthier.evaluation.response_cache import CachedRequest, request_key
from luthier.evaluation.run import read_log, run
from luthier.files.store import open_entry
from luthier.inference.engine import TorchEngine
from luthier.inference.stop_conditions import StopConditions
from luthier.models.language_model import LanguageModel
from luthier.records import Encoded, Prediction, TokenIds

TASK = "continuations"
NEW_TOKENS = 64
"""Tokens of a continuation at most."""


def base_continuations(model: LanguageModel, count: int, context: EvaluationContext, *, seed: int) -> list[Encoded]:
    """Return what the base continues its tokenizer's first ordinary tokens with, as records to train on.

    Args:
        model: With nothing attached.
        count: Records wanted; no more than the tokenizer has ordinary tokens.
        context: Says where the store is, in which a later call finds them.
        seed: Of the sampling; each record has its own stream.
    """
    job = _job(model, _prompts(model, count), context, seed)
    run(job)
    prompts = {item.id: item for (item,) in job.items}
    found = []
    for prediction in read_log(job).predictions:
        ids = np.array([int(number) for number in prediction.text.split()], dtype=np.int32)
        if len(ids):
            found.append(replace(prompts[prediction.id], target_ids=ids))
    return found


def placeholders(model: LanguageModel, count: int) -> list[Encoded]:
    """Return records of the greatest length in place of continuations, where nothing is to be computed."""
    return [replace(item, target_ids=np.resize(item.prompt_ids, NEW_TOKENS)) for item in _prompts(model, count)]


def _prompts(model: LanguageModel, count: int) -> list[Encoded]:
    """Return one prompt for each of the first ordinary tokens of the vocabulary."""
    special = set(model.tokenizer.all_special_ids)
    known = range(min(len(model.tokenizer), model.vocabulary))
    ordinary = [token for token in known if token not in special][:count]
    before = [] if model.encoder_decoder or model.tokenizer.bos_token_id is None else [model.tokenizer.bos_token_id]
    nothing: TokenIds = np.empty(0, dtype=np.int32)
    return [Encoded(f"{TASK}-{token}", np.array([*before, token], dtype=np.int32), nothing) for token in ordinary]


def _job(model: LanguageModel, prompts: Sequence[Encoded], context: EvaluationContext, seed: int) -> EvaluationJob:
    decoding = DecodingConfig(temperature=1.0, seed=seed)
    settings = {"kind": TASK, "decoding": decoding.model_dump(mode="json"), "new_tokens": NEW_TOKENS}
    stop = StopConditions(lambda ids: " ".join(map(str, ids)), NEW_TOKENS, model.end_ids, ())

    def batches(indices: Sequence[int]) -> list[tuple[int, ...]]:
        lengths = [len(prompts[index].prompt_ids) + NEW_TOKENS for index in indices]
        return [tuple(indices[place] for place in batch) for batch in plan_batches(lengths, context.batch_tokens)]

    def answer(indices: Sequence[int]) -> list[Prediction]:
        started = time.monotonic()
        chosen = [prompts[index] for index in indices]
        written = TorchEngine(model).generate(chosen, decoding, stop, budget=context.batch_tokens)
        seconds = (time.monotonic() - started) / len(indices)
        return [
            replace(_blank(item), text=own.text, generated_tokens=own.tokens, finish=own.finish, seconds=seconds)
            for item, own in zip(chosen, written, strict=True)
        ]

    inputs = {
        "computation": computation_of(model, context).inputs(),
        "batch_tokens": context.batch_tokens,
        "prompts": [item.prompt_ids.tolist() for item in prompts],
        "settings": settings,
    }
    return EvaluationJob(
        entry=open_entry(context.out, TASK, inputs, replace(context.about, task=TASK)),
        requests=tuple(
            CachedRequest(request_key((item,), settings | {"stream": item.id}), _blank(item)) for item in prompts
        ),
        items=tuple((item,) for item in prompts),
        batches=batches,
        answer=answer,
        cache=None,
        dropped=(),
        cut=0,
        label="the base's own continuations",
        device=model.device,
    )


def _blank(item: Encoded) -> Prediction:
    return Prediction(item.id, TASK, "", ("",))
