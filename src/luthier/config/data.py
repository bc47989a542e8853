"""Settings: which examples are used, and how long they may be. Each verb has the part that it uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, field_validator

from luthier.config.base import Fraction, Settings, UserPath

_OUR_ARGUMENTS = frozenset(
    {
        *("add_generation_prompt", "chat_template", "continue_final_message", "conversation", "max_length", "messages"),
        *("padding", "processor_kwargs", "return_assistant_tokens_mask", "return_dict", "return_tensors", "tokenize"),
        *("tokenizer_kwargs", "tools", "documents", "truncation"),
    }
)
"""Arguments of ``apply_chat_template`` that are not of the template, or that are Luthier's own to give."""


class FolderConfig(Settings):
    """Where the files of benchmarks are."""

    folder: UserPath | None = None
    """Folder with the original files of benchmarks, in which the tasks of suites find their rows."""


class EncodingConfig(FolderConfig):
    """How examples become tokens."""

    max_length: int | None = Field(default=None, ge=8)
    """Tokens of prompt and target together; the model's own limit when not given."""
    chat: Literal["auto", "never", "always"] = "auto"
    """Whether the model's chat template is used: where it has one and the task wants it, never, or always."""
    chat_arguments: Mapping[str, bool | int | float | str] = Field(default_factory=dict)
    """Arguments of the model's chat template, as in ``{enable_thinking: false}``."""
    reasoning: Literal["learn", "leave_out", "refuse"] = "refuse"
    """Reasoning that a row holds apart from its answer (``reasoning_content``): learned before it, left out, or an
    error."""

    @field_validator("chat_arguments", mode="before")
    @classmethod
    def _plain_values(cls, given: object) -> object:
        """Refuse everything else with one message, instead of one for each member of the union."""
        values = given.items() if isinstance(given, Mapping) else ()
        wrong = next((name for name, value in values if not isinstance(value, bool | int | float | str)), None)
        if wrong is not None:
            raise ValueError(f"the value of '{wrong}' is no text, number or truth value")
        return given

    @field_validator("chat_arguments")
    @classmethod
    def _not_ours(cls, given: Mapping[str, object]) -> Mapping[str, object]:
        own = [name for name in given if name in _OUR_ARGUMENTS or not name.isidentifier()]
        if own:
            raise ValueError(f"not an argument that can be given: {', '.join(own)}")
        return given


class EvaluationDataConfig(EncodingConfig):
    """Which test examples are used."""

    test: int | None = Field(default=None, ge=1)
    """Test examples; all when not given."""


class TrainingDataConfig(EncodingConfig):
    """Which examples are used in training and validation."""

    train: int | None = Field(default=None, ge=1)
    """Training examples, drawn by a hash of the id; all when not given."""
    validation: int | None = Field(default=None, ge=1)
    """Validation examples; all when not given."""
    max_lost: Fraction = 0.1
    """The share of examples that may be dropped before it is an error."""
    overlaps: Literal["remove", "keep"] | None = None
    """A training prompt that stands in validation or test with another answer: removed, or kept; the task's own when
    not given."""


class DataConfig(TrainingDataConfig, EvaluationDataConfig):
    """Which examples of every split are used."""
