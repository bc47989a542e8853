"""What a task's YAML file may say."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from luthier.config.base import Fraction, Settings
from luthier.files.tables import FORMATS
from luthier.files.value_text import value_text
from luthier.metrics.extraction import check_pattern
from luthier.tasks.rows.sources import SPLITS

SHOTS = 3
"""Exemplars of the few-shot arm where the task does not say."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


class SourceSpec(Settings):
    """Where the rows are."""

    path: str | None = None
    """A file or folder beside the task's YAML, an absolute path, or ``hf:owner/name[:config]``."""
    train: SourceSpec | None = None
    """Source of the training rows, where the splits are apart."""
    validation: SourceSpec | None = None
    """Source of the validation rows."""
    test: SourceSpec | None = None
    """Source of the test rows."""
    format: str | None = None
    """``jsonl``, ``json``, ``csv``, ``tsv``, ``parquet`` or ``text``; recognised when not given."""
    columns: tuple[str, ...] | None = None
    """Names of the columns of a CSV or TSV file without header."""
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    """What stands between the fields of a CSV or TSV file: one character."""
    quoting: str | None = None
    """``standard`` or ``none``: whether ``"`` quotes fields; none for TSV when not given."""
    field: str | None = None
    """Key of the list of rows in a file that holds one JSON object."""
    split: str | None = None
    """Which split of a folder or a hub dataset."""
    revision: str | None = None
    """Commit, tag or branch of a hub dataset."""

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, value: object) -> object:
        return {"path": value} if isinstance(value, str) else value

    @field_validator("columns")
    @classmethod
    def _distinct(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return _without_repeats(names)

    @field_validator("format")
    @classmethod
    def _known_format(cls, name: str | None) -> str | None:
        return _one_of(name, FORMATS)

    @field_validator("quoting")
    @classmethod
    def _known_quoting(cls, name: str | None) -> str | None:
        return _one_of(name, ("standard", "none"))

    @model_validator(mode="after")
    def _path_or_splits(self) -> SourceSpec:
        apart = [name for name in SPLITS if getattr(self, name) is not None]
        if (self.path is None) == (not apart):
            raise ValueError("give either one path, or paths under train, validation and test")
        if any(getattr(self, name).path is None for name in apart):
            raise ValueError("a split's source needs a path")
        return self


class TargetSpec(Settings):
    """The accepted answers of one split, where they differ from the others'."""

    target: str | None = None
    """Jinja text of the one accepted answer."""
    targets: tuple[str, ...] | None = None
    """Jinja texts of the accepted answers."""
    targets_column: str | None = None
    """Column that holds a list of accepted answers."""

    @model_validator(mode="after")
    def _one_way(self) -> TargetSpec:
        _one_target(self)
        return self


class TargetSplits(Settings):
    """Splits whose accepted answers are written differently."""

    train: TargetSpec | None = None
    """Accepted answers of training rows."""
    validation: TargetSpec | None = None
    """Accepted answers of validation rows."""
    test: TargetSpec | None = None
    """Accepted answers of test rows."""


class FewShotSpec(Settings):
    """Exemplars before the prompt."""

    shots: int | None = Field(default=None, ge=0)
    """Exemplars of the task's few-shot arm: 3, or as many as there are ``rows``, when not given."""
    split: str = "train"
    """The split that exemplars are taken from: ``train`` or ``validation``."""
    order: str = "drawn"
    """``drawn`` by the seed, or the ``first`` rows of the split."""
    rows: tuple[dict[str, Any], ...] | None = None
    """Fixed exemplars, in order, as rows that the evaluation template renders; instead of a split."""

    @field_validator("split")
    @classmethod
    def _known_split(cls, name: str) -> str:
        if name == "test":
            raise ValueError("must be one of train, validation: exemplars from test would show what is asked")
        return _one_of(name, ("train", "validation")) or name

    @field_validator("order")
    @classmethod
    def _known_order(cls, name: str) -> str:
        return _one_of(name, ("drawn", "first")) or name

    @model_validator(mode="after")
    def _rows_alone(self) -> FewShotSpec:
        if self.rows is None:
            return self
        if not self.rows:
            raise ValueError("rows is empty: write the fixed exemplars, or leave it out")
        if both := sorted({"split", "order"} & self.model_fields_set):
            raise ValueError(f"rows are fixed exemplars in their order: leave out {' and '.join(both)}")
        if self.shots is not None and self.shots > len(self.rows):
            raise ValueError(f"{self.shots} shots are wanted, and there are {len(self.rows)} rows")
        return self


class ExtractSpec(Settings):
    """How an answer is taken out of generated text, once, before any metric is computed."""

    find: str
    """Regular expression with a group; its first group that holds text is the answer."""
    which: str = "first"
    """Whether the ``first`` or the ``last`` match counts."""

    @field_validator("find")
    @classmethod
    def _pattern(cls, find: str) -> str:
        check_pattern(find)
        return find

    @field_validator("which")
    @classmethod
    def _known_match(cls, name: str) -> str:
        return _one_of(name, ("first", "last")) or name


class FractionsSpec(Settings):
    """Shares of the splits that the source does not have itself."""

    train: Fraction = 0.8
    """Share of the training split."""
    validation: Fraction = 0.1
    """Share of the validation split."""
    test: Fraction = 0.1
    """Share of the test split."""

    @model_validator(mode="after")
    def _sum(self) -> FractionsSpec:
        if abs(self.train + self.validation + self.test - 1) > 1e-9:
            raise ValueError("the shares of train, validation and test must sum to 1")
        return self


class TemplateSpec(Settings):
    """One way to put the task into words."""

    name: str
    """What reports call it."""
    prompt: str
    """Jinja text of the prompt."""
    target: str | None = None
    """Jinja text of the answer, where it differs from the task's own."""
    held_out: bool = False
    """Never used in training: measures whether the instruction was learned, and not its wording."""


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
    language: str = "en"
    """Language of the data."""
    source: SourceSpec
    """Where the rows are."""
    id: str | None = None
    """Column with a unique id; a digest of the row when not given."""
    group: str | None = None
    """Column that rows sharing a passage have in common."""
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
    splits: TargetSplits = TargetSplits()
    """Splits whose accepted answers are written differently."""
    choices: tuple[str, ...] = ()
    """The closed set of answers: texts, or Jinja texts over the row's columns."""
    choices_column: str | None = None
    """Column that holds the list of answers to choose from."""
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
    few_shot: FewShotSpec = FewShotSpec()
    """Exemplars before the prompt."""
    extract: ExtractSpec | None = None
    """How an answer is taken out of generated text; the whole text when not given."""
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
        return _without_repeats(names) or ()

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
        _without_repeats(tuple(template.name for template in templates))
        if all(template.held_out for template in templates):
            raise ValueError("every template is held out, so none is left for training")
        return templates

    @model_validator(mode="after")
    def _target_and_choices(self) -> TaskSpec:
        if self.target is None and self.targets is None and self.targets_column is None:
            if not all(template.target for template in self.templates):
                raise ValueError(
                    "there is no target: write `target:` (or `targets:`) for the task or for each template"
                )
        else:
            _one_target(self)
        if self.choices and self.choices_column:
            raise ValueError("give either choices or choices_column")
        if self.extract is not None and (self.choices or self.choices_column):
            raise ValueError("extract takes an answer out of generated text, and a task with choices generates none")
        return self


def _plain(value: object) -> object:
    """YAML reads ``1`` as a number; as an answer it is a text. A truth value stays one, and is refused as no text."""
    return value_text(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _one_of(name: str | None, known: tuple[str, ...]) -> str | None:
    if name is not None and name not in known:
        raise ValueError(f"must be one of {', '.join(known)}")
    return name


def _without_repeats(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    twice = [name for name, count in Counter(names or ()).items() if count > 1]
    if twice:
        raise ValueError(f"given twice: {', '.join(twice)}")
    return names


def _one_target(spec: TargetSpec | TaskSpec) -> None:
    given = [key for key in ("target", "targets", "targets_column") if getattr(spec, key) is not None]
    if len(given) != 1:
        raise ValueError(f"give one of target, targets and targets_column (given: {', '.join(given) or 'none'})")
    if spec.targets is not None and not spec.targets:
        raise ValueError("targets is empty")
