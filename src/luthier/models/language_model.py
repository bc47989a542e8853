"""The interface of all language models; decoders and encoder-decoders differ only behind it."""

from __future__ import annotations

import contextlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from luthier.data.model_tokens import ModelTokens
from luthier.errors import ModelError
from luthier.files.safetensors_models import read_module
from luthier.kernels.onednn_matmul import multiplying_by_onednn
from luthier.kernels.packed_linear import WORTH, packed_linear_layers
from luthier.kernels.variable_length import FUSED, NAME
from luthier.models.adapter_cache import AdapterCache
from luthier.models.kernel_choice import Kernels
from luthier.models.soft_prompt import SoftPrompt
from luthier.records import Encoded, TokenIds

ModuleSignature: TypeAlias = tuple[object, ...]
"""The classes of a model's modules, and what else decides how it computes."""


class Continuation(Protocol):
    """A batch of sequences that is being generated, one token at a time.

    Attributes:
        logits: float32 ``(sequences, vocabulary)`` of the next token.
    """

    logits: Tensor

    def advance(self, tokens: Tensor) -> None:
        """Append one token to each sequence: int64 ``(sequences,)``; renews ``logits``."""

    def keep(self, rows: Tensor) -> None:
        """Go on with these sequences only: int64 ``(kept,)``, indices into the present batch."""


class LanguageModel(ABC):
    """A pretrained model with its tokenizer, ready on its device.

    Attributes:
        name: What the user called it.
        folder: The folder of its files, from which the base weights can be loaded again.
        digest: A digest of weights, configuration and tokenizer; results are keyed by it.
        module: The Hugging Face module; methods attach to it.
        tokenizer: The Hugging Face tokenizer.
        max_length: Tokens of prompt and target together (decoder), or of each (encoder-decoder).
        end_ids: Tokens that end an answer.
        forced_begin: Token that begins every answer of an encoder-decoder (BART's, mBART's language), or None.
        products: Type of matrix products; None is the weights' own.
        kernels: What computes on a CPU.
        soft_prompt: Virtual tokens that a method has put before every prompt, or None.
        adapters: Adapters kept in memory by name; see :meth:`using`.
        capabilities: Which inference paths are verified, by the classes of the modules at that time; kept by
            :mod:`luthier.inference.capabilities`.
    """

    encoder_decoder: ClassVar[bool]
    kernels = Kernels()

    def __init__(self, name: str, folder: Path, digest: str, module: Any, tokenizer: Any, max_length: int) -> None:
        self.name = name
        self.folder = folder
        self.digest = digest
        self.module = module
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.end_ids = _end_ids(module, tokenizer)
        self.forced_begin = _forced_begin(module) if self.encoder_decoder else None
        self.soft_prompt: SoftPrompt | None = None
        self.adapters = AdapterCache()
        self.capabilities: dict[ModuleSignature, Any] = {}
        self.products: torch.dtype | None = None

    def __repr__(self) -> str:
        size = f"{self.parameters:,} parameters, {self.max_length:,} tokens"
        return f"<{type(self).__name__} {self.name!r}, {size}, on {self.device}>"

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = next(self.module.parameters()).device
        return device

    @property
    def parameters(self) -> int:
        """Number of weights, tied ones counted once."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    @property
    def virtual_tokens(self) -> int:
        """Tokens of context that an attached soft prompt takes."""
        return self.soft_prompt.tokens if self.soft_prompt else 0

    def using(self, name: str | None) -> contextlib.AbstractContextManager[None]:
        """Compute with a named adapter inside: ``with model.using("summaries"):``; None is the base alone.

        Raises:
            ModelError: When there is no adapter of that name.
        """
        return self.adapters.using(name)

    def keep_free(self, tokens: int) -> None:
        """Leave room for virtual tokens: prompts and targets get that much less of ``max_length``.

        Raises:
            ModelError: When nothing would be left.
        """
        self.require_room(tokens)
        self.max_length -= tokens

    def require_room(self, tokens: int) -> None:
        """Check that so many virtual tokens leave room for anything else.

        Raises:
            ModelError: When they do not.
        """
        if tokens >= self.max_length:
            raise ModelError(
                f"{tokens} virtual tokens leave no room in a model of {self.max_length} tokens",
                fix="Ask for fewer in the arm's settings, as in `settings: {virtual_tokens: 8}`.",
            )

    @property
    def vocabulary(self) -> int:
        """Rows of the output distribution."""
        return int(self.module.config.get_text_config().vocab_size)

    @property
    def embeddings(self) -> int:
        """Tokens that the model knows; its tokenizer may know more."""
        return int(self.module.get_input_embeddings().weight.shape[0])

    @property
    def tokens(self) -> ModelTokens:
        """What the model says of its tokens beside its tokenizer."""
        return ModelTokens(self.forced_begin, self.embeddings)

    @cached_property
    def window(self) -> float:
        """Tokens over which every layer attends; infinity where no layer is limited."""
        config = self.module.config.get_text_config()
        limits = (getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size"))
        return min((limit for limit in limits if limit), default=math.inf)

    @contextlib.contextmanager
    def precision(self) -> Iterator[None]:
        """Compute inside as all of the model's passes are: products in their type, by the kernels that were chosen."""
        with self.computing():
            if self.products is None:
                yield
                return
            with torch.autocast(self.device.type, dtype=self.products):
                yield

    def computing(self) -> contextlib.AbstractContextManager[None]:
        """Compute with the kernels that were chosen inside; for backward passes, which autocast must not touch."""
        return multiplying_by_onednn() if self.kernels.matmul == "onednn" else contextlib.nullcontext()

    def answering(self, tokens: int) -> contextlib.AbstractContextManager[None]:
        """Compute so many tokens inside, without gradients and with weights that stay as they are.

        Where it is faster, and so many tokens are worth it, the weights are copied in a layout that suits products.
        """
        if self.kernels.packed and self.products is None and tokens >= WORTH:
            return packed_linear_layers(self.module)
        return contextlib.nullcontext()

    @property
    def attention(self) -> str:
        """The attention function of examples that lie end to end."""
        return FUSED if self.kernels.attention == "fused" else NAME

    @contextlib.contextmanager
    def in_precision(self, dtype: torch.dtype | None) -> Iterator[None]:
        """Compute matrix products in this type inside; None is the weights' own."""
        before, self.products = self.products, dtype
        try:
            yield
        finally:
            self.products = before

    @property
    def product_type(self) -> str:
        """The type of matrix products: ``float32`` or ``bfloat16``."""
        return str(self.products or self.module.dtype).removeprefix("torch.")

    @abstractmethod
    def target_logprobs(self, batch: Sequence[Encoded]) -> Tensor:
        """Log-probability (nats) of every target token given what stands before it.

        Returns:
            float32 ``(target tokens of the whole batch,)``, example after example; differentiable.
        """

    def branch_logprobs(self, groups: Sequence[Sequence[Encoded]]) -> Tensor:
        """:meth:`target_logprobs` of answers in groups, of which each has one prompt; it may be computed once.

        Returns:
            float32 ``(target tokens of all groups,)``, group after group; differentiable.
        """
        return self.target_logprobs([item for group in groups for item in group])

    @abstractmethod
    def target_logits(self, batch: Sequence[Encoded]) -> Tensor:
        """The whole distribution at every target token, given what stands before it, where one number is not enough.

        Returns:
            float32 ``(target tokens of the whole batch, vocabulary)``, unnormalised, example after example;
            differentiable. It takes 4 bytes for each token and word of the vocabulary: give small batches.
        """

    def why_padded(self) -> str | None:
        """Why batches of this model are padded, as it is now; None when they are laid end to end."""
        return None

    @abstractmethod
    def begin(self, prompts: Sequence[TokenIds]) -> Continuation:
        """Compute the prompts, so that generation can continue each of them."""

    def restore(self) -> None:
        """Load the base weights again from ``folder``, bit for bit, in place.

        Raises:
            ModelError: When the files there no longer fit the module.
        """
        base: nn.Module = read_module(type(self.module), self.folder, dtype=self.module.dtype)
        fresh = base.state_dict()
        own = self.module.state_dict()
        if fresh.keys() != own.keys():
            raise ModelError("the files of the model were changed while it was in use", where=str(self.folder))
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(fresh[name])


def _end_ids(module: Any, tokenizer: Any) -> frozenset[int]:
    """Tokens that end an answer: the tokenizer's, those of the generation configuration, and a list of the model's own.

    One end token in ``config.json`` may be no more than the default of its class; a list was written down.
    """
    declared = getattr(module.generation_config, "eos_token_id", None)
    own = getattr(module.config.get_text_config(), "eos_token_id", None)
    listed = [*(declared if isinstance(declared, list) else [declared]), *(own if isinstance(own, list) else [])]
    return frozenset(int(token) for token in (*listed, tokenizer.eos_token_id) if token is not None)


def _forced_begin(module: Any) -> int | None:
    """Return ``forced_bos_token_id`` of the generation configuration."""
    declared = getattr(module.generation_config, "forced_bos_token_id", None)
    return None if declared is None else int(declared)


def pad(rows: Sequence[TokenIds], *, side: str, value: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Lay rows of token ids into a rectangle.

    Returns:
        int64 ids ``(rows, longest)`` and an int64 mask of the same shape, 1 where a row has a token: padding is known
        by length, never by token id.
    """
    longest = max(len(row) for row in rows)
    ids = torch.full((len(rows), longest), value, dtype=torch.int64)
    mask = torch.zeros((len(rows), longest), dtype=torch.int64)
    for index, row in enumerate(rows):
        place = slice(longest - len(row), longest) if side == "left" else slice(0, len(row))
        ids[index, place] = torch.from_numpy(row.astype("int64"))
        mask[index, place] = 1
    return ids.to(device), mask.to(device)


def logprobs_from(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the log-probability (nats) of each target, ``(S,)``, from its logits ``(S, V)``."""
    return -torch.nn.functional.cross_entropy(logits, targets, reduction="none")
