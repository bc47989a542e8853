"""What computes answers: the seam behind which torch and CTranslate2 do the same work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from luthier.config.decoding import DecodingConfig
from luthier.inference.generation import generate
from luthier.inference.scoring import answer_logprobs
from luthier.inference.stop_conditions import Generation, StopConditions
from luthier.models.language_model import LanguageModel
from luthier.records import Encoded

TORCH = "torch"


class Engine(Protocol):
    """A model that scores given answers and writes its own."""

    @property
    def signature(self) -> str:
        """What answers may depend on besides the model and the adapter: results are keyed by it."""
        ...

    def answer_logprobs(self, batch: Sequence[Encoded], *, budget: int) -> list[float]:
        """See :func:`luthier.inference.scoring.answer_logprobs`."""
        ...

    def generate(
        self,
        prompts: Sequence[Encoded],
        decoding: DecodingConfig,
        stop_conditions: StopConditions,
        *,
        budget: int | None = None,
    ) -> list[Generation]:
        """See :func:`luthier.inference.generation.generate`."""
        ...


@dataclass(frozen=True)
class TorchEngine:
    """The model as it stands, with whatever is attached to it."""

    model: LanguageModel
    signature: str = TORCH

    def answer_logprobs(self, batch: Sequence[Encoded], *, budget: int) -> list[float]:
        """See :class:`Engine`."""
        return answer_logprobs(self.model, batch, budget=budget)

    def generate(
        self,
        prompts: Sequence[Encoded],
        decoding: DecodingConfig,
        stop_conditions: StopConditions,
        *,
        budget: int | None = None,
    ) -> list[Generation]:
        """See :class:`Engine`."""
        return generate(self.model, prompts, decoding, stop_conditions, budget=budget)
