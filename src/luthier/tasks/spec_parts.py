"""The parts of what a task's YAML file may say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator, model_validator

from luthier.config.base import Fraction, Settings
from luthier.files.tables import FORMATS
from luthier.metrics.extraction import check_pattern
from luthier.tasks.rows.sources import SPLITS

SHOTS = 3
"""Exemplars of the few-shot arm where the task does not say."""


class SourceSpec(Settings):
    """Where the rows are."""

    path: str | None = None
    """A file or folder beside the task's YAML, an absolute path, ``hf:owner/name[:config]``, or ``data:FILE`` for a
    file of the folder that ``--data`` names."""
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
    get: str | None = None
    """Where the file can be had, for the message when it is missing."""
    aligned: Mapping[str, str] = Field(default_factory=dict)
    """Columns from text files that have a line for every row of ``path``, in its order, as translations have."""
    unfold: str | None = Field(default=None, min_length=1)
    """Keys of lists within lists, with dots between: each element of the last is a row, as in
    ``passage.questions.answers``."""

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, value: object) -> object:
        return {"path": value} if isinstance(value, str) else value

    @field_validator("columns")
    @classmethod
    def _distinct(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return without_repeats(names)

    @field_validator("format")
    @classmethod
    def _known_format(cls, name: str | None) -> str | None:
        return one_of(name, FORMATS)

    @field_validator("quoting")
    @classmethod
    def _known_quoting(cls, name: str | None) -> str | None:
        return one_of(name, ("standard", "none"))

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
    targets_lines: str | None = None
    """Jinja text of which every line is an accepted answer."""

    @model_validator(mode="after")
    def _one_way(self) -> TargetSpec:
        one_target(self.target, self.targets, self.targets_column, self.targets_lines)
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
    gap: str | None = None
    """What stands after each exemplar, as it is written; needs the task's ``joint``. A blank line when not given."""

    @field_validator("split")
    @classmethod
    def _known_split(cls, name: str) -> str:
        if name == "test":
            raise ValueError("must be one of train, validation: exemplars from test would show what is asked")
        return one_of(name, ("train", "validation")) or name

    @field_validator("order")
    @classmethod
    def _known_order(cls, name: str) -> str:
        return one_of(name, ("drawn", "first")) or name

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
        return one_of(name, ("first", "last")) or name


class PreambleSpec(Settings):
    """A text of a file that stands before everything else."""

    path: str
    """The file: beside the task's YAML, an absolute path, or ``data:FILE``."""
    after: str | None = None
    """The text begins after this; at the head of the file when not given."""
    before: str | None = None
    """The text ends before this; at the end of the file, without white space there, when not given."""
    then: str = ""
    """What stands between the text and the rest."""
    get: str | None = None
    """Where the file can be had, for the message when it is missing."""


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
    prompt: str | None = None
    """Jinja text of the prompt."""
    prompts: tuple[str, ...] | None = None
    """Jinja texts of a prompt for each choice, where the choice stands in the prompt; instead of ``prompt``."""
    ending: str | None = None
    """Jinja text that follows each of ``prompts``, and is scored after it."""
    target: str | None = None
    """Jinja text of the answer, where it differs from the task's own."""
    held_out: bool = False
    """Never used in training: measures whether the instruction was learned, and not its wording."""

    @model_validator(mode="after")
    def _one_prompt(self) -> TemplateSpec:
        if (self.prompt is None) == (self.prompts is None):
            raise ValueError("give either one prompt, or prompts with one for each choice")
        if (self.prompts is None) != (self.ending is None):
            raise ValueError("prompts and ending belong together: the ending is what follows each prompt")
        if self.prompts is not None and len(self.prompts) < 2:
            raise ValueError("prompts needs two or more, one for each choice")
        return self


def one_of(name: str | None, known: tuple[str, ...]) -> str | None:
    """Return a name; raise ValueError where it is not among the known ones."""
    if name is not None and name not in known:
        raise ValueError(f"must be one of {', '.join(known)}")
    return name


def without_repeats(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return names; raise ValueError where one stands twice."""
    twice = [name for name, count in Counter(names or ()).items() if count > 1]
    if twice:
        raise ValueError(f"given twice: {', '.join(twice)}")
    return names


def one_target(
    target: str | None, targets: tuple[str, ...] | None, targets_column: str | None, targets_lines: str | None
) -> None:
    """Check that the accepted answers are said in one way; raise ValueError where they are not."""
    said = {
        "target": target,
        "targets": targets,
        "targets_column": targets_column,
        "targets_lines": targets_lines,
    }
    given = [key for key, value in said.items() if value is not None]
    if len(given) != 1:
        ways = "target, targets, targets_column and targets_lines"
        raise ValueError(f"give one of {ways} (given: {', '.join(given) or 'none'})")
    if targets is not None and not targets:
        raise ValueError("targets is empty")
