"""Decoder-only models: one sequence of prompt and target."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import DynamicCache

from luthier.kernels.activation_checkpointing import recomputes
from luthier.kernels.branches import token_tree
from luthier.kernels.fused_cross_entropy import is_plain, logprobs_of_targets
from luthier.kernels.variable_length import bounds, padding_free, trimmed
from luthier.kernels.verification import LOGPROBS, evaluation_mode, verify
from luthier.models.language_model import LanguageModel, logprobs_from, pad
from luthier.models.soft_prompt import mask_with_soft_prompt, refuse_recomputing
from luthier.models.verified_kernels import Kernel, VerifiedKernel, answers_to_verify, fastest_verified
from luthier.records import Encoded, TokenIds


class ActivationSource(Protocol):
    """Holds the activations of frozen blocks: see :mod:`luthier.models.frozen_activations`."""

    def replaying(self, batch: Sequence[Encoded]) -> contextlib.AbstractContextManager[None]:
        """Let the frozen blocks return the stored activations of a batch inside, without computing."""


class DecoderModel(LanguageModel):
    """Llama, Qwen, Gemma, GPT-2 … : any Hugging Face model for causal language modelling."""

    encoder_decoder: ClassVar[bool] = False
    frozen_activations: ActivationSource | None = None
    """Activations below the first trained block, while training reuses them; see the module of that name."""

    def target_logprobs(self, batch: Sequence[Encoded]) -> Tensor:
        """See :meth:`LanguageModel.target_logprobs`."""
        return self._computed(batch, logits=False)

    def target_logits(self, batch: Sequence[Encoded]) -> Tensor:
        """See :meth:`LanguageModel.target_logits`."""
        return self._computed(batch, logits=True)

    def branch_logprobs(self, groups: Sequence[Sequence[Encoded]]) -> Tensor:
        """See :meth:`LanguageModel.branch_logprobs`."""
        flat = [item for group in groups for item in group]
        fits = max(len(item.prompt_ids) + len(item.target_ids) for item in flat) <= self.window
        plain = self.soft_prompt is None and self.frozen_activations is None and not recomputes(self.module)
        if not (fits and plain and self._kernel != self._logprobs_padded and self._branches_agree):
            return self.target_logprobs(flat)
        return self._logprobs_of_branches(groups)

    @cached_property
    def _branches_agree(self) -> bool:
        """Whether answers that share a prompt have the log-probabilities that each has alone; found on first use."""
        groups = answers_to_verify(self)
        with evaluation_mode(self.module), self.in_precision(None):
            expected = torch.cat([self._kernel([item]) for group in groups for item in group])
            return verify(partial(self._logprobs_of_branches, groups), expected, LOGPROBS).agrees

    def _logprobs_of_branches(self, groups: Sequence[Sequence[Encoded]]) -> Tensor:
        kernel: Any = self._kernel  # one of the kernels that lay examples end to end
        found: Tensor = kernel([item for group in groups for item in group], branches=tuple(map(len, groups)))
        return found

    def _computed(self, batch: Sequence[Encoded], *, logits: bool) -> Tensor:
        if self.soft_prompt is not None:
            batch = self.soft_prompt.before_each(batch)
            if self.soft_prompt.cache is not None:
                return self._logprobs_after_cached_prompt(batch, logits=logits)
        if max(len(item.prompt_ids) + len(item.target_ids) for item in batch) > self.window:
            return self._logprobs_padded(batch, logits=logits)
        return self._kernel(batch, logits=logits)

    def why_padded(self) -> str | None:
        """See :meth:`LanguageModel.why_padded`."""
        if self.soft_prompt is not None and self.soft_prompt.cache is not None:
            return "prefixes lie in the key-value cache, before padded rows"
        return self._verified.refused[-1] if self._kernel == self._logprobs_padded else None

    @property
    def _kernel(self) -> Kernel:
        return self._verified.compute

    @cached_property
    def _verified(self) -> VerifiedKernel:
        """The fastest kernel that gives this model's own logits, verified on first use."""
        kernels = [
            partial(self._logprobs_end_to_end, own_output_layer=own_output_layer, trim=trim)
            for own_output_layer, trim in ((False, True), (False, False), (True, False))
        ]
        return fastest_verified(self, kernels, self._logprobs_padded)

    def _logprobs_end_to_end(
        self,
        batch: Sequence[Encoded],
        *,
        own_output_layer: bool,
        trim: bool,
        logits: bool = False,
        branches: Sequence[int] = (),
    ) -> Tensor:
        """Log-probabilities of examples laid end to end: nothing is padded, and logits are formed for targets only.

        Args:
            batch: At least one example.
            own_output_layer: Let the model's own output layer form the logits, instead of the fused cross-entropy.
            trim: Compute what follows attention in the last block for the predicted places only.
            logits: Return the logits instead: ``(S, V)``.
            branches: Sizes of groups of neighbours whose common beginning is computed once; none where each stands
                alone.
        """
        rows = [np.concatenate([item.prompt_ids, item.target_ids])[:-1] for item in batch]
        lengths = [len(row) for row in rows]
        ends = np.cumsum(lengths)
        predicted = np.concatenate(
            [np.arange(end - len(item.target_ids), end) for end, item in zip(ends, batch, strict=True)]
        )
        targets = _on(self.device, np.concatenate([item.target_ids for item in batch]))
        cuts = bounds(lengths, self.device)
        inputs: dict[str, Any] = {"use_cache": False, "cu_seq_lens_q": cuts, "cu_seq_lens_k": cuts}
        tokens, positions = np.concatenate(rows), np.concatenate([np.arange(length) for length in lengths])
        if branches:
            tree = token_tree(_grouped(rows, branches))
            tokens, positions, predicted = tree.tokens, tree.positions, tree.rows[predicted]
            inputs |= {"tree_rows": _on(self.device, tree.rows), "tree_first": _on(self.device, tree.first)}
        inputs |= {"input_ids": _on(self.device, tokens)[None], "position_ids": _on(self.device, positions)[None]}
        places = _on(self.device, predicted)
        stored = self.frozen_activations
        frozen = contextlib.nullcontext() if stored is None else stored.replaying(batch)
        with self.precision(), padding_free(self.module, self.attention), frozen:
            if own_output_layer or not is_plain(self.module.get_output_embeddings()):
                found = self.module(**inputs, logits_to_keep=places).logits[0].float()  # (S, V)
                return found if logits else logprobs_from(found, targets)
            # A hook on a layer, such as a bottleneck adapter's, may need all of the layer's tokens.
            trim = trim and not any(part._forward_hooks for part in self.module.modules())
            kept = places.unique() if branches else places  # two answers may be predicted from one place
            with trimmed(self.module, kept, len(tokens)) if trim else contextlib.nullcontext():
                hidden = self.module.base_model(**inputs).last_hidden_state[0]  # (T, D)
            head = self.module.get_output_embeddings()
            return head(hidden[places]).float() if logits else logprobs_of_targets(hidden[places], head, targets)

    def _logprobs_padded(self, batch: Sequence[Encoded], *, logits: bool = False) -> Tensor:
        """The same with rows padded on the left, so that the targets of all rows end together.

        The model's own output layer forms the logits, for the last positions only.
        """
        # The last token of a row is predicted, never an input.
        rows = [np.concatenate([item.prompt_ids, item.target_ids])[:-1] for item in batch]
        ids, mask = pad(rows, side="left", value=0, device=self.device)  # (B, T)
        kept = max(len(item.target_ids) for item in batch)
        with self.precision():
            found = self.module(
                input_ids=ids, attention_mask=mask, position_ids=_positions(mask), use_cache=False, logits_to_keep=kept
            ).logits  # (B, kept, V)
        return _of_targets(found, batch, logits=logits)

    def _logprobs_after_cached_prompt(self, batch: Sequence[Encoded], *, logits: bool) -> Tensor:
        """:meth:`target_logprobs` where keys and values stand before every row, in the key-value cache."""
        assert self.soft_prompt is not None
        assert self.soft_prompt.cache is not None
        refuse_recomputing(self.module)
        rows = [np.concatenate([item.prompt_ids, item.target_ids])[:-1] for item in batch]
        ids, own = pad(rows, side="left", value=0, device=self.device)  # (B, T)
        mask = mask_with_soft_prompt(own, self.virtual_tokens)  # (B, n + T)
        with self.precision():
            found = self.module(
                input_ids=ids,
                attention_mask=mask,
                position_ids=_positions(mask)[:, self.virtual_tokens :],
                past_key_values=self.soft_prompt.cache(len(batch)),
                use_cache=True,
                logits_to_keep=max(len(item.target_ids) for item in batch),
            ).logits  # (B, kept, V)
        return _of_targets(found, batch, logits=logits)

    def begin(self, prompts: Sequence[TokenIds]) -> DecoderContinuation:
        """See :meth:`LanguageModel.begin`."""
        return DecoderContinuation(self, prompts)


class DecoderContinuation:
    """Left-padded sequences over one key-value cache."""

    def __init__(self, model: DecoderModel, prompts: Sequence[TokenIds]) -> None:
        self.model = model
        soft = model.soft_prompt
        inputs = soft.before(prompts) if soft is not None else prompts
        ids, self.mask = pad(inputs, side="left", value=0, device=model.device)  # (B, T)
        self.cache = DynamicCache(config=model.module.config)
        if soft is not None and soft.cache is not None:
            self.cache = soft.cache(len(prompts))
            self.mask = mask_with_soft_prompt(self.mask, soft.tokens)  # (B, n + T)
        self.logits = self._forward(ids, _positions(self.mask)[:, -ids.shape[1] :])

    def _forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        with self.model.precision():
            output: Any = self.model.module(
                input_ids=ids,
                attention_mask=self.mask,
                position_ids=positions,
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=1,
            )
        last: Tensor = output.logits[:, -1].float()  # (B, V)
        return last

    def advance(self, tokens: Tensor) -> None:
        """See :meth:`Continuation.advance`."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], dim=1)
        self.logits = self._forward(tokens[:, None], self.mask.sum(dim=1, keepdim=True) - 1)

    def keep(self, rows: Tensor) -> None:
        """See :meth:`Continuation.keep`."""
        self.cache.batch_select_indices(rows)
        self.mask = self.mask[rows]
        self.logits = self.logits[rows]


def _grouped(rows: Sequence[TokenIds], sizes: Sequence[int]) -> list[Sequence[TokenIds]]:
    """Cut rows into groups of neighbours."""
    ends = np.cumsum(sizes)
    return [rows[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def _on(device: torch.device, numbers: npt.NDArray[Any]) -> Tensor:
    """The numbers as an int64 tensor on a device."""
    return torch.from_numpy(numbers.astype("int64")).to(device)


def _of_targets(found: Tensor, batch: Sequence[Encoded], *, logits: bool) -> Tensor:
    """Log-probability of every target, or its logits, from those ``(rows, kept, vocabulary)`` that end together."""
    supervised = _last([len(item.target_ids) for item in batch], found.shape[1], found.device)  # (B, kept)
    chosen = found[:, -supervised.shape[1] :][supervised].float()  # (S, V)
    targets = _on(found.device, np.concatenate([item.target_ids for item in batch]))
    return chosen if logits else logprobs_from(chosen, targets)


def _positions(mask: Tensor) -> Tensor:
    """Position of each token in its own row, from 0: int64 ``(rows, longest)``."""
    return (mask.cumsum(dim=1) - 1).clamp(min=0)


def _last(lengths: Sequence[int], width: int, device: torch.device) -> Tensor:
    """Mark the last ``length`` places of each row: bool ``(rows, min(width, longest))``."""
    width = min(width, max(lengths))
    places = torch.arange(width - 1, -1, -1, device=device)
    return places[None, :] < torch.tensor(lengths, device=device)[:, None]
