"""What a task's YAML file may say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from pydantic import Field, field_validator, model_validator

from luthier.config.base import Fraction, Settings
from luthier.files.value_text import value_text
from luthier.tasks.spec_parts import (
    ExtractSpec,
    FewShotSpec,
    FractionsSpec,
    PreambleSpec,
    SourceSpec,
    TargetSplits,
    TemplateSpec,
    one_target,
    without_repeats,
)

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


class TaskSpec(Settings):
    """A task as its YAML file says it."""

    name: str
    """Lower-case letters, digits, ``_``, ``-`` and ``.``."""
    version: str = "1"
    """Changes whenever the numbers would."""
    description: str = ""
    """What the model must do, in a sentence."""
    licence: str = ""
    """Licence of the data."""
    citation: str = ""
    """Whom to cite."""
    protocol: str = ""
    """The published way of measuring that this task equals, such as ``lm-eval 0.4.13 mmlu_anatomy 1.0``."""
    language: str = "en"
    """Language of the data."""
    source: SourceSpec
    """Where the rows are."""
    id: str | None = None
    """Column with a unique id; a digest of the row when not given."""
    group: str | None = None
    """Column that rows sharing a passage have in common, or a Jinja text that gives the same for such rows."""
    part: str | None = None
    """Jinja text that names the part of its split a row belongs to; evaluation scores each part by itself as well."""
    input: str | None = None
    """Column of the input text, the only one that may be cut; the longest in the prompt when not given."""
    target: str | None = None
    """Jinja text of the one accepted answer."""
    targets: tuple[str, ...] | None = None
    """Jinja texts of the accepted answers; training uses the first."""
    targets_column: str | None = None
    """Column that holds a list of accepted answers."""
    targets_lines: str | None = None
    """Jinja text of which every line is an accepted answer."""
    splits: TargetSplits = TargetSplits()
    """Splits whose accepted answers are written differently."""
    choices: tuple[str, ...] = ()
    """The closed set of answers: texts, or Jinja texts over the row's columns."""
    choices_column: str | None = None
    """Column that holds the list of answers to choose from."""
    choices_lines: str | None = None
    """Jinja text of which every line is an answer to choose from."""
    wrong_lines: str | None = None
    """Jinja text of which every line is a wrong answer, for metrics that compare with right and wrong ones."""
    chance: Fraction | None = None
    """Score of the primary metric by guessing."""
    metrics: tuple[str, ...] = ("rouge", "exact_match")
    """Metrics by name."""
    primary: str | None = None
    """The number that decides; the first metric's own when not given."""
    stop: tuple[str, ...] = ()
    """Texts that end a generated answer."""
    special_tokens: tuple[str, ...] = ()
    """Special tokens of the model that are meant in prompts and targets (``<sep>``); others are ordinary text there."""
    max_new_tokens: int = Field(default=64, ge=1)
    """Tokens of a generated answer at most."""
    preamble: str | None = Field(default=None, min_length=1)
    """Jinja text that stands before everything else, exemplars included, as it is written."""
    preamble_file: PreambleSpec | None = None
    """The same, as a text of a file."""
    joint: str | None = None
    """What stands between prompt and answer. Where it is given, the two are tokenised as one text as they stand, the
    end token of a choice is not scored, and a begin token stands only where the tokenizer adds it."""
    few_shot: FewShotSpec = FewShotSpec()
    """Exemplars before the prompt."""
    extract: ExtractSpec | None = None
    """How an answer is taken out of generated text; the whole text when not given."""
    extracts: Mapping[str, ExtractSpec] = Field(default_factory=dict)
    """Several ways, each under a name: each is scored, and the first decides."""
    split: FractionsSpec = FractionsSpec()
    """Shares of the splits that the source does not have itself."""
    overlaps: Literal["remove", "keep"] = "remove"
    """``remove`` from training what has a prompt of validation or test with another answer, or ``keep`` it."""
    chat: bool = True
    """Whether a model's chat template is used where it has one."""
    templates: tuple[TemplateSpec, ...]
    """Ways to put the task into words."""

    @field_validator("version", mode="before")
    @classmethod
    def _text(cls, value: object) -> object:
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value

    @field_validator("choices", "targets", "stop", "special_tokens", "metrics", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        if isinstance(value, list):
            return tuple(_plain(item) for item in value)
        return (value,) if isinstance(value, str) else value

    @field_validator("name")
    @classmethod
    def _named(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError("a name has lower-case letters, digits, '_', '-' and '.' only")
        return name

    @field_validator("choices", "metrics", "stop", "special_tokens")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return without_repeats(names) or ()

    @field_validator("choices")
    @classmethod
    def _two(cls, choices: tuple[str, ...]) -> tuple[str, ...]:
        if len(choices) == 1:
            raise ValueError("a choice needs two answers or more")
        return choices

    @field_validator("templates")
    @classmethod
    def _usable(cls, templates: tuple[TemplateSpec, ...]) -> tuple[TemplateSpec, ...]:
        if not templates:
            raise ValueError("a task needs one template or more")
        without_repeats(tuple(template.name for template in templates))
        if all(template.held_out for template in templates):
            raise ValueError("every template is held out, so none is left for training")
        return templates

    @model_validator(mode="after")
    def _target_and_choices(self) -> TaskSpec:
        answers = (self.target, self.targets, self.targets_column, self.targets_lines)
        if all(answer is None for answer in answers):
            if not all(template.target for template in self.templates):
                raise ValueError(
                    "there is no target: write `target:` (or `targets:`) for the task or for each template"
                )
        else:
            one_target(*answers)
        ways = [self.choices, self.choices_column, self.choices_lines]
        if sum(map(bool, ways)) > 1:
            raise ValueError("give one of choices, choices_column and choices_lines")
        if (self.extract or self.extracts) and any(ways):
            raise ValueError("extract takes an answer out of generated text, and a task with choices generates none")
        return self

    @model_validator(mode="after")
    def _one_of_each(self) -> TaskSpec:
        for one, other in (("extract", "extracts"), ("preamble", "preamble_file")):
            if getattr(self, one) and getattr(self, other):
                raise ValueError(f"give either {one} or {other}")
        if self.joint is None and self.few_shot.gap is not None:
            raise ValueError(
                "few_shot.gap needs joint: without it prompts and answers are laid out as conversations are"
            )
        for template in self.templates:
            if template.prompts is None:
                continue
            if self.joint is None:
                raise ValueError(
                    f"prompts of the template '{template.name}' need joint, which stands before the ending"
                )
            if len(template.prompts) != len(self.choices):
                what = f"{len(template.prompts)} prompts and {len(self.choices)} choices"
                raise ValueError(f"the template '{template.name}' has {what}: write one prompt for each choice")
        return self


def _plain(value: object) -> object:
    """YAML reads ``1`` as a number; as an answer it is a text. A truth value stays one, and is refused as no text."""
    return value_text(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
