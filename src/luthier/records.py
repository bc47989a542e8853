"""The frozen records that the stages of an evaluation pass to one another.

    row ─ templates ─▶ Example ─ encoding ─▶ Encoded | Dropped ─ inference ─▶ Prediction ─ metrics ─▶ Score

A row is a plain ``dict[str, object]`` as the source has it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from luthier.display import Displayed

Row: TypeAlias = dict[str, object]
TokenIds: TypeAlias = npt.NDArray[np.int32]
Variance: TypeAlias = Literal["examples", "examples and training runs"]
"""What varies between the resamples that an interval is made of."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One exchange that stands before the prompt: a few-shot exemplar, or an earlier turn of a conversation."""

    prompt: str
    reply: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation, as a chat template takes it.

    Attributes:
        role: ``system``, ``user``, ``assistant`` or ``tool``.
        content: Its text.
        more: Its further keys (``tool_calls``, ``tool_call_id``, ``name``) as a JSON object; "" for none.
    """

    role: str
    content: str
    more: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """A rendered row: what the model reads and what it should answer.

    Attributes:
        id: Stable within the task; splits hash it.
        task: Name of the task.
        template: Name of the template that rendered it.
        prompt: What the model reads last, without exemplars.
        targets: Acceptable answers; training uses the first.
        choices: The closed set of answers, in order; empty for free text.
        input_span: Characters ``[start, end)`` of ``prompt`` that hold the input text, the only part that may be cut.
        turns: Earlier exchanges, oldest first.
        system: System message of a conversation, or "".
        group: Examples of one group share a passage and are resampled together; "" where an example has no group.
        part: Part of the split that is also scored separately; "" where the task has no parts.
        preamble: What stands before everything else, exemplars included; "" where there is nothing.
        messages: All messages between ``system`` and the answer, where ``turns`` and ``prompt`` do not hold them as
            they are (a later system message, tools, an assistant who speaks first); else empty.
        answer: The answer as a message, where it calls tools; else None.
        tools: The tools that are offered, as a JSON list; "" for none.
        choice_prompts: Where each choice stands in a prompt of its own: these prompts, in order; else empty. ``prompt``
            is then that of the right choice.
        ending: What follows each of these prompts, and is scored after it; "" where the choices are.
        wrong: Answers that are known to be wrong, where a metric compares with them; else empty.
        rejected: Answers that were judged worse than the first target, or bad where there is no target.
        margins: For each of these by how much the first target is better, where that is known; else empty.
    """

    id: str
    task: str
    template: str
    prompt: str
    targets: tuple[str, ...]
    choices: tuple[str, ...] = ()
    input_span: tuple[int, int] | None = None
    turns: tuple[Turn, ...] = ()
    system: str = ""
    group: str = ""
    part: str = ""
    preamble: str = ""
    messages: tuple[Message, ...] = ()
    answer: Message | None = None
    tools: str = ""
    choice_prompts: tuple[str, ...] = ()
    ending: str = ""
    wrong: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()
    margins: tuple[float, ...] = ()

    @property
    def reply(self) -> str:
        """What follows the prompt: the first target, or the ending of a prompt that holds the choice; "" for none."""
        return self.ending or (self.targets[0] if self.targets else "")


@dataclass(frozen=True, slots=True)
class Encoded:
    """An example as token ids. A decoder reads ``prompt_ids + target_ids``; an encoder reads ``prompt_ids`` alone.

    Attributes:
        id: The example's id.
        prompt_ids: int32 ``(prompt_tokens,)``; begins with the model's one BOS where it has one.
        target_ids: int32 ``(target_tokens,)``; ends with the supervised end token. Every one is supervised.
        cut_tokens: Tokens cut from the head of the input text to make the example fit.
        shots: Exemplars that stand before the prompt.
        origin: Where it comes from as training data; "" for the target task.
    """

    id: str
    prompt_ids: TokenIds
    target_ids: TokenIds
    cut_tokens: int = 0
    shots: int = 0
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Dropped:
    """An example that could not be encoded, and why. Every dropped example is counted and reported."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model answered to one example. Metrics need nothing else, so a log of predictions can be scored again.

    Attributes:
        id: The example's id.
        task: Name of the task.
        text: The generated text or the answer extracted from it, or the choice with the highest log-probability.
        targets: Acceptable answers.
        choices: The closed set of answers; empty for free text.
        choice_logprobs: Sum of token log-probabilities (nats) of each choice; empty for free text.
        choice_tokens: Number of tokens of each choice, end token included.
        prompt_tokens: Tokens of context, exemplars included (virtual tokens are added by the method).
        generated_tokens: Tokens generated, end token included.
        seconds: Wall seconds of the batch divided by its examples.
        finish: ``"stop"`` (end token or stop string), ``"length"``, or ``"choice"``.
        group: Copied from the example.
        generated: The whole generated text where ``text`` was extracted from it; None where ``text`` is all of it.
        unparsed: No answer was found in the generated text, so that ``text`` is empty: no metric counts it as right.
        choice_priors: Log-probability (nats) of each choice without its prompt; empty where it was not asked.
        wrong: Copied from the example.
        choice_greedy: Whether greedy decoding would have written each choice; empty where it was not asked.
    """

    id: str
    task: str
    text: str
    targets: tuple[str, ...]
    choices: tuple[str, ...] = ()
    choice_logprobs: tuple[float, ...] = ()
    choice_tokens: tuple[int, ...] = ()
    prompt_tokens: int = 0
    generated_tokens: int = 0
    seconds: float = 0.0
    finish: str = "stop"
    group: str = ""
    generated: str | None = None
    unparsed: bool = False
    choice_greedy: tuple[bool, ...] = ()
    choice_priors: tuple[float, ...] = ()
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Score(Displayed):
    """One number, with its confidence interval and everything that is needed to reproduce it.

    Attributes:
        metric: Name of the number, e.g. ``"rougeL"``.
        value: In the metric's customary unit (ROUGE and accuracy 0–1, BLEU 0–100); NaN when not measured, never 0.
        n: Examples it was computed on.
        low: Lower end of the confidence interval; NaN when there is none.
        high: Upper end of the confidence interval; NaN when there is none.
        signature: Metric, version, tokeniser, split, shots, prompt digest … as ``key:value|key:value``.
        detail: Further numbers that explain the value (precision, recall, brevity penalty …).
        confidence: Level of the interval, as a share.
        variance: What the interval holds.
        spread: Standard deviation of the value over training runs (seeds); None for a single run.
    """

    view: ClassVar[str] = "score"

    metric: str
    value: float
    n: int
    low: float
    high: float
    signature: str
    detail: dict[str, float] = field(default_factory=dict)
    confidence: float = 0.95
    variance: Variance = "examples"
    spread: float | None = None

    def __repr__(self) -> str:
        return f"<Score {self}>"

    def __str__(self) -> str:
        interval = "" if math.isnan(self.low) else f" [{self.low:.4g}, {self.high:.4g}]"
        return f"{self.metric} {self.value:.4g}{interval}, n = {self.n:,}"
