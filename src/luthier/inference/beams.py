"""Beam search through ``transformers``: several hypotheses are extended side by side (Graves 2012).

The model's own ``generate`` does it, in batches of prompts of like length. Nothing of the model's
``generation_config.json`` is used but its end tokens, as in greedy generation: the settings say what a search does.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from luthier.config.decoding import DecodingConfig
from luthier.data.batching import plan_batches
from luthier.inference.sampling import only_token
from luthier.inference.stop_conditions import Generation, StopConditions, up_to_end
from luthier.models.language_model import LanguageModel, pad
from luthier.models.soft_prompt import mask_with_soft_prompt
from luthier.records import Encoded, TokenIds


@torch.no_grad()
def search_beams(
    model: LanguageModel,
    prompts: Sequence[Encoded],
    decoding: DecodingConfig,
    stop_conditions: StopConditions,
    *,
    budget: int | None = None,
) -> list[Generation]:
    """Generate the best answer that a beam search finds after each prompt.

    Args:
        model: In evaluation mode.
        prompts: Their ``prompt_ids`` are read.
        decoding: Beams and length penalty.
        stop_conditions: What ends an answer; a beam that holds a stop string is finished, as one with an end token.
        budget: Tokens of prompts and answers, of all beams, held at a time at most; one prompt is always held.

    Returns:
        Generations in the order of the prompts; none depends on its neighbours (float32).
    """
    lengths = [len(prompt.prompt_ids) + model.virtual_tokens + stop_conditions.limit for prompt in prompts]
    batches = plan_batches(lengths, (budget or sys.maxsize) // decoding.beams)
    found: dict[int, Generation] = {}
    for batch in batches:
        rows = _search(model, [prompts[index].prompt_ids for index in batch], decoding, stop_conditions)
        found |= {index: up_to_end(row, stop_conditions) for index, row in zip(batch, rows, strict=True)}
    return [found[index] for index in range(len(prompts))]


def _search(
    model: LanguageModel, prompts: Sequence[TokenIds], decoding: DecodingConfig, stop_conditions: StopConditions
) -> list[list[int]]:
    """Return the tokens of the best beam of each prompt, and the padding behind its end."""
    inputs = _inputs(model, prompts, decoding.beams)
    read = inputs["decoder_input_ids" if model.encoder_decoder else "input_ids"].shape[1]
    config = GenerationConfig(
        num_beams=decoding.beams,
        length_penalty=decoding.length_penalty,
        max_new_tokens=stop_conditions.limit,
        do_sample=False,
        eos_token_id=sorted(stop_conditions.end_ids) or None,
        pad_token_id=min(stop_conditions.end_ids, default=0),
        decoder_start_token_id=getattr(model, "start_id", None),
    )
    stops = StoppingCriteriaList([_StopStrings(stop_conditions, read)] if stop_conditions.stop else [])
    forced = LogitsProcessorList([_ForcedBegin(model.forced_begin, read)] if model.forced_begin is not None else [])
    with model.precision(), _generating_by(model.module, config):
        sequences: Tensor = model.module.generate(
            **inputs, generation_config=config, stopping_criteria=stops, logits_processor=forced
        )
    answers: list[list[int]] = sequences[:, read:].tolist()  # (B, new)
    return answers


def _inputs(model: LanguageModel, prompts: Sequence[TokenIds], beams: int) -> dict[str, Any]:
    """Return the inputs of ``generate``: the prompts, preceded by the virtual tokens of an attached method.

    Virtual tokens in the key-value cache are represented by placeholder ids that are never embedded.
    """
    soft = model.soft_prompt
    cache = soft.cache(len(prompts) * beams) if soft is not None and soft.cache is not None else None
    virtual = model.virtual_tokens if cache is not None else 0
    rows = soft.before(prompts) if soft is not None else prompts
    side = "right" if model.encoder_decoder else "left"
    ids, mask = pad(rows, side=side, value=0, device=model.device)  # (B, T)
    cached = {} if cache is None else {"past_key_values": cache}
    if not model.encoder_decoder:
        places = ids.new_zeros(len(rows), virtual)
        return {
            "input_ids": torch.cat([places, ids], 1),
            "attention_mask": mask_with_soft_prompt(mask, virtual),
            **cached,
        }
    # The decoder's input must begin with its start token.
    begun = ids.new_full((len(rows), virtual + 1), int(model.module.config.decoder_start_token_id))
    if cache is not None:
        cached["decoder_attention_mask"] = torch.ones_like(begun)
    return {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": begun, **cached}


@contextlib.contextmanager
def _generating_by(module: Any, config: GenerationConfig) -> Iterator[None]:
    """Use this generation configuration alone: ``generate`` fills what is unset from the module's own."""
    own, module.generation_config = module.generation_config, config
    try:
        yield
    finally:
        module.generation_config = own


class _ForcedBegin(LogitsProcessor):
    """Leaves one token possible as the first of an answer.

    Args:
        token: The token.
        read: Tokens that stand before the answer in a row.
    """

    def __init__(self, token: int, read: int) -> None:
        self.token = token
        self.read = read

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores ``(rows, vocabulary)`` of the next token."""
        return only_token(scores, self.token) if input_ids.shape[1] == self.read else scores


class _StopStrings(StoppingCriteria):
    """Finishes beams whose text holds a stop string.

    Args:
        stop_conditions: What ends an answer.
        read: Tokens that stand before the answer in a row.
    """

    def __init__(self, stop_conditions: StopConditions, read: int) -> None:
        self.stop_conditions = stop_conditions
        self.read = read

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """Whether each row ``(rows, tokens)`` has ended: bool ``(rows,)``."""
        texts = [self.stop_conditions.decode(row) for row in input_ids[:, self.read :].tolist()]
        return torch.tensor(
            [any(string in text for string in self.stop_conditions.stop) for text in texts], device=input_ids.device
        )
