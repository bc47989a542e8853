"""Encoder-decoder models: the encoder reads the prompt, the decoder writes the target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from luthier.models.language_model import LanguageModel, pad
from luthier.models.soft_prompt import refuse_recomputing, with_prefix_mask
from luthier.records import Encoded, TokenIds


class EncoderDecoderModel(LanguageModel):
    """T5, FLAN-T5, mT5, BART … : any Hugging Face model for sequence-to-sequence generation."""

    encoder_decoder: ClassVar[bool] = True

    @property
    def start_id(self) -> int:
        """The token that the decoder reads first."""
        return int(self.module.config.decoder_start_token_id)

    def target_logprobs(self, batch: Sequence[Encoded]) -> Tensor:
        """See :meth:`LanguageModel.target_logprobs`."""
        if self.soft_prompt is not None:
            batch = self.soft_prompt.before_each(batch)
            if self.soft_prompt.cache is not None:
                return self._logprobs_after_prefix(batch)
        ids, mask = pad([item.prompt_ids for item in batch], side="right", value=0, device=self.device)  # (B, P)
        start = np.array([self.start_id], dtype=np.int32)
        read = [np.concatenate([start, item.target_ids[:-1]]) for item in batch]
        decoder_ids, decoder_mask = pad(read, side="right", value=0, device=self.device)  # (B, T)
        with self.precision():
            logits = self.module(
                input_ids=ids,
                attention_mask=mask,
                decoder_input_ids=decoder_ids,
                decoder_attention_mask=decoder_mask,
                use_cache=False,
            ).logits  # (B, T, V)
        targets = torch.from_numpy(np.concatenate([item.target_ids for item in batch]).astype("int64"))
        chosen = logits[decoder_mask.bool()].float()  # (S, V)
        return -torch.nn.functional.cross_entropy(chosen, targets.to(self.device), reduction="none")

    def _logprobs_after_prefix(self, batch: Sequence[Encoded]) -> Tensor:
        """:meth:`target_logprobs` where keys and values stand before every target, in the decoder's own cache."""
        assert self.soft_prompt is not None
        assert self.soft_prompt.cache is not None
        refuse_recomputing(self.module)
        ids, mask = pad([item.prompt_ids for item in batch], side="right", value=0, device=self.device)  # (B, P)
        start = np.array([self.start_id], dtype=np.int32)
        read = [np.concatenate([start, item.target_ids[:-1]]) for item in batch]
        decoder_ids, own = pad(read, side="right", value=0, device=self.device)  # (B, T)
        with self.precision():
            logits = self.module(
                input_ids=ids,
                attention_mask=mask,
                decoder_input_ids=decoder_ids,
                decoder_attention_mask=with_prefix_mask(own, self.virtual_tokens),  # (B, n + T)
                past_key_values=self.soft_prompt.cache(len(batch)),
                use_cache=True,
            ).logits  # (B, T, V)
        targets = torch.from_numpy(np.concatenate([item.target_ids for item in batch]).astype("int64"))
        chosen = logits[own.bool()].float()  # (S, V)
        return -torch.nn.functional.cross_entropy(chosen, targets.to(self.device), reduction="none")

    def begin(self, prompts: Sequence[TokenIds]) -> EncoderDecoderContinuation:
        """See :meth:`LanguageModel.begin`."""
        return EncoderDecoderContinuation(self, prompts)


class EncoderDecoderContinuation:
    """The encoder's states, read once, and the decoder's key-value cache."""

    def __init__(self, model: EncoderDecoderModel, prompts: Sequence[TokenIds]) -> None:
        self.model = model
        soft = model.soft_prompt
        read = soft.before(prompts) if soft is not None else prompts
        ids, self.mask = pad(read, side="right", value=0, device=model.device)  # (B, P)
        with model.precision():
            encoder = model.module.get_encoder()
            self.states: Tensor = encoder(input_ids=ids, attention_mask=self.mask).last_hidden_state  # (B, P, D)
        config = model.module.config
        self.cache = EncoderDecoderCache(DynamicCache(config=config), DynamicCache(config=config))
        if soft is not None and soft.cache is not None:
            self.cache = soft.cache(len(prompts))
        self.logits = self._read(torch.full((len(prompts), 1), model.start_id, device=model.device))

    def _read(self, ids: Tensor) -> Tensor:
        with self.model.precision():
            output: Any = self.model.module(
                encoder_outputs=BaseModelOutput(last_hidden_state=self.states),
                attention_mask=self.mask,
                decoder_input_ids=ids,
                past_key_values=self.cache,
                use_cache=True,
            )
        last: Tensor = output.logits[:, -1].float()  # (B, V)
        return last

    def advance(self, tokens: Tensor) -> None:
        """See :meth:`Continuation.advance`."""
        self.logits = self._read(tokens[:, None])

    def keep(self, rows: Tensor) -> None:
        """See :meth:`Continuation.keep`."""
        self.cache.self_attention_cache.batch_select_indices(rows)
        self.cache.cross_attention_cache.batch_select_indices(rows)
        self.mask = self.mask[rows]
        self.states = self.states[rows]
        self.logits = self.logits[rows]
