"""What is asked of the scheduler, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from luthier.inference.sampling import Sampling
from luthier.inference.stop_conditions import Generation, StopConditions
from luthier.records import TokenIds


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One prompt to be continued.

    Attributes:
        id: Unique among the requests that a scheduler holds.
        prompt_ids: int32 ``(prompt tokens,)``, at least one; without virtual tokens.
        stop_conditions: What ends the generation, its limit of tokens included.
        sampling: How tokens are chosen.
        adapter: Name of an adapter in the model's cache, or None for the base alone.
        streamed: Whether each token is reported by a :class:`TokenEvent`.
        random_stream: Name of the random stream; the id where empty. The same name, seed, prompt and parameters give
            the same text.
    """

    id: str
    prompt_ids: TokenIds
    stop_conditions: StopConditions
    sampling: Sampling = field(default_factory=Sampling)
    adapter: str | None = None
    streamed: bool = False
    random_stream: str = ""


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """A streamed request has one more token, and goes on.

    Attributes:
        id: Of the request.
        token: The token.
        text: Text that is certain by now and was in no earlier event; it may be empty. It never holds a part of a stop
            string or of a character.
    """

    id: str
    token: int
    text: str


@dataclass(frozen=True, slots=True)
class FinishEvent:
    """A request has ended.

    Attributes:
        id: Of the request.
        token: Its last token.
        text: The rest of the text of a streamed request, after that of the token events; empty for others.
        generation: All that was generated, and why it ended.
    """

    id: str
    token: int
    text: str
    generation: Generation


Event: TypeAlias = TokenEvent | FinishEvent
