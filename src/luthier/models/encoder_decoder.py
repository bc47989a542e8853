"""Encoder-decoder models: the encoder takes the prompt, the decoder predicts the target."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from luthier.kernels.fused_cross_entropy import is_plain, logprobs_of_targets
from luthier.kernels.variable_length import bounds, padding_free, positions_restart
from luthier.models.language_model import LanguageModel, logprobs_from, pad
from luthier.models.soft_prompt import mask_with_soft_prompt, refuse_recomputing
from luthier.models.verified_kernels import Kernel, VerifiedKernel, fastest_verified
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
        return self._computed(batch, logits=False)

    def target_logits(self, batch: Sequence[Encoded]) -> Tensor:
        """See :meth:`LanguageModel.target_logits`."""
        return self._computed(batch, logits=True)

    def _computed(self, batch: Sequence[Encoded], *, logits: bool) -> Tensor:
        if self.soft_prompt is not None:
            batch = self.soft_prompt.before_each(batch)
            if self.soft_prompt.cache is not None:
                return self._logprobs_after_cached_prompt(batch, logits=logits)
        return self._verified.compute(batch, logits=logits)

    def why_padded(self) -> str | None:
        """See :meth:`LanguageModel.why_padded`."""
        if self.soft_prompt is not None and self.soft_prompt.cache is not None:
            return "prefixes lie in the key-value cache, before padded rows"
        refused, unpadded = self._verified.refused, len(self._scales) + 1
        return None if len(refused) < unpadded else refused[unpadded - 1]

    @property
    def _scales(self) -> tuple[float, ...]:
        """Factors by which hidden states may be multiplied before the output layer: T5 with tied embeddings does."""
        return 1.0, float(self.module.config.hidden_size) ** -0.5

    @cached_property
    def _verified(self) -> VerifiedKernel:
        """The fastest kernel that gives this model's own logits, verified on first use."""
        kernels: list[Kernel] = [partial(self._logprobs_end_to_end, scale=scale) for scale in (*self._scales, None)]
        kernels += [partial(self._logprobs_padded, scale=scale) for scale in self._scales]
        return fastest_verified(self, kernels, self._logprobs_padded)

    def _logprobs_end_to_end(self, batch: Sequence[Encoded], *, scale: float | None, logits: bool = False) -> Tensor:
        """Log-probabilities of examples laid end to end, in the encoder and in the decoder: nothing is padded.

        Args:
            batch: At least one example.
            scale: Factor of the hidden states before the output layer; None to let the model's own forward do all.
            logits: Return the logits instead: ``(S, V)``.
        """
        asked, answered = [len(item.prompt_ids) for item in batch], [len(item.target_ids) for item in batch]
        of_prompts, of_targets = bounds(asked, self.device), bounds(answered, self.device)
        targets = self._joined([item.target_ids for item in batch])
        encoder, decoder = self.module.get_encoder(), self.module.get_decoder()
        with self.precision(), padding_free(self.module, self.attention):
            with positions_restart(encoder, asked):
                ids = self._joined([item.prompt_ids for item in batch])[None]  # (1, P)
                states = encoder(input_ids=ids, cu_seq_lens_q=of_prompts, cu_seq_lens_k=of_prompts).last_hidden_state
            bounds_of = {"cu_seq_lens_q": of_targets, "cu_seq_lens_k": of_targets, "encoder_cu_seq_lens": of_prompts}
            ids = self._joined(self._decoder_inputs(batch))[None]  # (1, T)
            with positions_restart(decoder, answered):
                if scale is None or not is_plain(self.module.get_output_embeddings()):
                    encoded = BaseModelOutput(last_hidden_state=states)
                    output = self.module(encoder_outputs=encoded, decoder_input_ids=ids, use_cache=False, **bounds_of)
                    found: Tensor = output.logits[0].float()
                    return found if logits else logprobs_from(found, targets)
                output = decoder(input_ids=ids, encoder_hidden_states=states, use_cache=False, **bounds_of)
            return self._through_head(output.last_hidden_state[0], scale, targets, logits=logits)

    def _logprobs_padded(self, batch: Sequence[Encoded], *, scale: float | None = None, logits: bool = False) -> Tensor:
        """The same of examples side by side, padded on the right."""
        ids, mask = pad([item.prompt_ids for item in batch], side="right", value=0, device=self.device)  # (B, P)
        decoder_ids, own = pad(self._decoder_inputs(batch), side="right", value=0, device=self.device)  # (B, T)
        targets = self._joined([item.target_ids for item in batch])
        with self.precision():
            if scale is None or not is_plain(self.module.get_output_embeddings()):
                output = self.module(
                    input_ids=ids,
                    attention_mask=mask,
                    decoder_input_ids=decoder_ids,
                    decoder_attention_mask=own,
                    use_cache=False,
                )
                found: Tensor = output.logits[own.bool()].float()  # (S, V)
                return found if logits else logprobs_from(found, targets)
            states = self.module.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state  # (B, P, D)
            hidden = self.module.get_decoder()(
                input_ids=decoder_ids,
                attention_mask=own,
                encoder_hidden_states=states,
                encoder_attention_mask=mask,
                use_cache=False,
            ).last_hidden_state  # (B, T, D)
            return self._through_head(hidden[own.bool()], scale, targets, logits=logits)

    def _through_head(self, hidden: Tensor, scale: float, targets: Tensor, *, logits: bool) -> Tensor:
        scaled = hidden if scale == 1 else hidden * scale
        head = self.module.get_output_embeddings()
        return head(scaled).float() if logits else logprobs_of_targets(scaled, head, targets)

    def _decoder_inputs(self, batch: Sequence[Encoded]) -> list[TokenIds]:
        start = np.array([self.start_id], dtype=np.int32)
        return [np.concatenate([start, item.target_ids[:-1]]) for item in batch]

    def _joined(self, rows: Sequence[TokenIds]) -> Tensor:
        return torch.from_numpy(np.concatenate(rows).astype("int64")).to(self.device)

    def _logprobs_after_cached_prompt(self, batch: Sequence[Encoded], *, logits: bool) -> Tensor:
        """:meth:`target_logprobs` where keys and values stand before every target, in the decoder's own cache."""
        assert self.soft_prompt is not None
        assert self.soft_prompt.cache is not None
        refuse_recomputing(self.module)
        ids, mask = pad([item.prompt_ids for item in batch], side="right", value=0, device=self.device)  # (B, P)
        decoder_ids, own = pad(self._decoder_inputs(batch), side="right", value=0, device=self.device)  # (B, T)
        with self.precision():
            output = self.module(
                input_ids=ids,
                attention_mask=mask,
                decoder_input_ids=decoder_ids,
                decoder_attention_mask=mask_with_soft_prompt(own, self.virtual_tokens),  # (B, n + T)
                past_key_values=self.soft_prompt.cache(len(batch)),
                use_cache=True,
            )
        chosen: Tensor = output.logits[own.bool()].float()  # (S, V)
        return chosen if logits else logprobs_from(chosen, self._joined([item.target_ids for item in batch]))

    def begin(self, prompts: Sequence[TokenIds]) -> EncoderDecoderContinuation:
        """See :meth:`LanguageModel.begin`."""
        return EncoderDecoderContinuation(self, prompts)


class EncoderDecoderContinuation:
    """The encoder's states, read once, and the decoder's key-value cache."""

    def __init__(self, model: EncoderDecoderModel, prompts: Sequence[TokenIds]) -> None:
        self.model = model
        soft = model.soft_prompt
        inputs = soft.before(prompts) if soft is not None else prompts
        ids, self.mask = pad(inputs, side="right", value=0, device=model.device)  # (B, P)
        with model.precision():
            encoder = model.module.get_encoder()
            self.states: Tensor = encoder(input_ids=ids, attention_mask=self.mask).last_hidden_state  # (B, P, D)
        config = model.module.config
        self.cache = EncoderDecoderCache(DynamicCache(config=config), DynamicCache(config=config))
        if soft is not None and soft.cache is not None:
            self.cache = soft.cache(len(prompts))
        self.logits = self._forward(torch.full((len(prompts), 1), model.start_id, device=model.device))

    def _forward(self, ids: Tensor) -> Tensor:
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
        self.logits = self._forward(tokens[:, None])

    def keep(self, rows: Tensor) -> None:
        """See :meth:`Continuation.keep`."""
        self.cache.self_attention_cache.batch_select_indices(rows)
        self.cache.cross_attention_cache.batch_select_indices(rows)
        self.mask = self.mask[rows]
        self.states = self.states[rows]
        self.logits = self.logits[rows]
