"""What a task is: one YAML file, read into a frozen :class:`Task`."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, field_validator, model_validator

from luthier.config.base import Fraction, Settings
from luthier.config.validation import validate
from luthier.config.yaml_file import KeyPath, load_yaml
from luthier.data.hub import parse_id
from luthier.data.row_formats import Shape
from luthier.data.sources import FORMATS, SPLITS, Source
from luthier.data.splits import Fractions
from luthier.data.templates import Template
from luthier.errors import ConfigError, DataError, LuthierError, TaskError, did_you_mean, raise_faults

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


_SHARED = ("format", "columns", "delimiter", "quoting", "field", "revision")


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

    shots: int = Field(default=3, ge=0)
    """Exemplars of the task's few-shot arm, drawn from its training split."""


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
    max_new_tokens: int = Field(default=64, ge=1)
    """Tokens of a generated answer at most."""
    few_shot: FewShotSpec = FewShotSpec()
    """Exemplars before the prompt."""
    split: FractionsSpec = FractionsSpec()
    """Shares of the splits that the source does not have itself."""
    chat: bool = True
    """Whether a model's chat template is used where it has one."""
    templates: tuple[TemplateSpec, ...]
    """Ways to put the task into words."""

    @field_validator("version", mode="before")
    @classmethod
    def _text(cls, value: object) -> object:
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value

    @field_validator("choices", "targets", "stop", "metrics", mode="before")
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

    @field_validator("choices", "metrics", "stop")
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
        return self


def _plain(value: object) -> object:
    """YAML reads ``no`` and ``1`` as a truth value and a number; as an answer they are texts."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


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


@dataclass(frozen=True, slots=True)
class Answers:
    """Where a split's accepted answers come from: templates, or a column that holds a list of them."""

    templates: tuple[Template, ...] = ()
    column: str | None = None


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """One way to put the task into words.

    Attributes:
        name: Unique in the task.
        prompt: Renders the prompt.
        answers: Renders the accepted answers of this template; None for the task's own.
        held_out: Never used in training.
    """

    name: str
    prompt: Template
    answers: Answers | None = None
    held_out: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """A task, ready to be read.

    Attributes:
        name: Unique name.
        version: Changes whenever the numbers would.
        description: What the model must do.
        sources: By split; ``{"all": source}`` where one source holds them all.
        templates: Ways to put it into words; empty where ``shape`` is a conversation.
        answers: Accepted answers, for templates that have none of their own.
        split_answers: The same for splits where they are written differently.
        choices: The closed set of answers where it is the same for every row.
        choice_templates: Renders each choice of a row; empty for free text.
        choices_column: Column that holds a row's choices, or None.
        id_column: Column with a unique id, or None for a digest of the row.
        group_column: Column that rows sharing a passage have in common, or None.
        part: Renders the part of its split that a row belongs to, or None.
        input_column: Column of the input text, or None for the longest.
        fractions: Shares of the splits that the sources do not have.
        metrics: Names of metrics.
        primary: The number that decides.
        chance: Its value by guessing, or None.
        stop: Texts that end a generated answer.
        max_new_tokens: Tokens of a generated answer at most.
        few_shot: Exemplars of the few-shot arm.
        chat: Whether the model's chat template is used.
        citation: Whom to cite.
        licence: Licence of the data.
        language: Language of the data.
        shape: The recognised shape of a data file, or None for a task from YAML.
        where: The file that the task comes from.
        digest: Of everything above that decides what is rendered and measured; not of the rows.
    """

    name: str
    version: str
    description: str
    sources: Mapping[str, Source]
    templates: tuple[PromptTemplate, ...]
    answers: Answers
    split_answers: Mapping[str, Answers]
    choices: tuple[str, ...]
    choice_templates: tuple[Template, ...]
    choices_column: str | None
    id_column: str | None
    group_column: str | None
    part: Template | None
    input_column: str | None
    fractions: Fractions
    metrics: tuple[str, ...]
    primary: str
    chance: float | None
    stop: tuple[str, ...]
    max_new_tokens: int
    few_shot: int
    chat: bool
    citation: str
    licence: str
    language: str
    shape: Shape | None
    where: str
    digest: str

    @property
    def has_choices(self) -> bool:
        """Whether the answer is one of a closed set."""
        return bool(self.choice_templates) or self.choices_column is not None

    @property
    def training_templates(self) -> tuple[PromptTemplate, ...]:
        """Templates that training may use."""
        return tuple(template for template in self.templates if not template.held_out)

    @property
    def evaluation_template(self) -> PromptTemplate:
        """The one template of every evaluation: the first that is held out, else the first."""
        return next((template for template in self.templates if template.held_out), self.templates[0])


def read_task(path: Path) -> Task:
    """Read a task from its YAML file.

    Raises:
        TaskError: When the file is missing or something in it is wrong.
        Faults: When several things are.
    """
    data, lines = load_yaml(path, TaskError)
    spec = validate(TaskSpec, data, source=str(path), lines=lines, error=TaskError)
    task = build_task(spec, path, lines)
    raise_faults(f"{path} has faults", list(_faults(spec, task, str(path), lines)))
    return task


def build_task(spec: TaskSpec, path: Path, lines: Mapping[KeyPath, int] | None = None) -> Task:
    """Turn a checked YAML file into a task.

    Args:
        spec: What the file says.
        path: The file; relative sources lie beside it.
        lines: Line of each key, for messages.
    """

    def template(source: str, *at: str | int) -> Template:
        line = _line(lines or {}, at)
        return Template(source, f"{path}{line}, {'.'.join(map(str, at))}")

    def answers(spec: TargetSpec | TaskSpec, *at: str | int) -> Answers:
        if spec.targets_column is not None:
            return Answers(column=spec.targets_column)
        if spec.target is not None:
            return Answers((template(spec.target, *at, "target"),))
        return Answers(tuple(template(text, *at, "targets", n) for n, text in enumerate(spec.targets or ())))

    templates = tuple(
        PromptTemplate(
            item.name,
            template(item.prompt, "templates", n, "prompt"),
            Answers((template(item.target, "templates", n, "target"),)) if item.target is not None else None,
            item.held_out,
        )
        for n, item in enumerate(spec.templates)
    )
    apart = {name: getattr(spec.splits, name) for name in SPLITS}
    return Task(
        name=spec.name,
        version=spec.version,
        description=spec.description,
        sources=_sources(spec.source, path),
        templates=templates,
        answers=answers(spec),
        split_answers={name: answers(item, "splits", name) for name, item in apart.items() if item is not None},
        choices=() if any("{" in choice for choice in spec.choices) else spec.choices,
        choice_templates=tuple(template(text, "choices", n) for n, text in enumerate(spec.choices)),
        choices_column=spec.choices_column,
        id_column=spec.id,
        group_column=spec.group,
        part=template(spec.part, "part") if spec.part is not None else None,
        input_column=spec.input,
        fractions=Fractions(spec.split.train, spec.split.validation, spec.split.test),
        metrics=spec.metrics,
        primary=spec.primary or primary_of(spec.metrics),
        chance=spec.chance,
        stop=spec.stop,
        max_new_tokens=spec.max_new_tokens,
        few_shot=spec.few_shot.shots,
        chat=spec.chat,
        citation=spec.citation,
        licence=spec.licence,
        language=spec.language,
        shape=None,
        where=str(path),
        digest=spec_digest(spec),
    )


def spec_digest(spec: BaseModel) -> str:
    """Return a digest of what a task's file says: 32 hexadecimal digits."""
    said = json.dumps(spec.model_dump(mode="json"), sort_keys=True)
    return blake2b(said.encode(), digest_size=16).hexdigest()


def primary_of(metrics: tuple[str, ...]) -> str:
    """Return the number that stands for the first metric; "" where there is none, which is a fault of its own."""
    from luthier.metrics.registry import get_metric

    try:
        return get_metric(metrics[0]).primary if metrics else ""
    except ConfigError:
        return ""


def _line(lines: Mapping[KeyPath, int], at: KeyPath) -> str:
    found = next((lines[at[:size]] for size in range(len(at), 0, -1) if at[:size] in lines), None)
    return f", line {found}" if found else ""


def _sources(spec: SourceSpec, path: Path) -> dict[str, Source]:
    """Return the sources by split; what stands beside ``train:`` and ``test:`` holds where they say nothing else."""
    shared = {name: value for name in _SHARED if (value := getattr(spec, name)) is not None}
    apart = {name: getattr(spec, name) for name in SPLITS if getattr(spec, name) is not None}
    own = {name: item.model_copy(update=shared | item.model_dump(exclude_none=True)) for name, item in apart.items()}
    return {name: _source(item, path) for name, item in (own or {"all": spec}).items()}


def _source(spec: SourceSpec, path: Path) -> Source:
    place = spec.path or ""
    if not place.startswith("hf:"):
        place = str(path.parent / Path(place).expanduser())
    return Source(place, spec.format, spec.columns, spec.delimiter, spec.quoting, spec.field, spec.split, spec.revision)


def _faults(spec: TaskSpec, task: Task, where: str, lines: Mapping[KeyPath, int]) -> Iterator[LuthierError]:
    """Yield what is wrong beyond the form of the file."""
    for template in _all_templates(task):
        try:
            template.check()
        except TaskError as fault:
            yield fault
    folder = Path(where).parent
    apart = [(name, getattr(spec.source, name)) for name in SPLITS if getattr(spec.source, name) is not None]
    for name, source in apart or [("", spec.source)]:
        at = ("source", name, "path") if name else ("source", "path")
        fault_ = _path_fault(source, folder, f"{where}{_line(lines, at)}")
        if fault_ is not None:
            yield fault_
    yield from _metric_faults(spec, where, lines)


def _all_templates(task: Task) -> Iterator[Template]:
    for item in task.templates:
        yield item.prompt
        yield from item.answers.templates if item.answers else ()
    for answers in (task.answers, *task.split_answers.values()):
        yield from answers.templates
    yield from task.choice_templates


def _path_fault(source: SourceSpec, folder: Path, where: str) -> LuthierError | None:
    path = str(source.path)
    if path.startswith("hf:"):
        try:
            parse_id(path)
        except DataError as fault:
            return TaskError(fault.what, where=where, fix=fault.fix)
        return None
    if "\x00" in path:
        return TaskError("the path holds a NUL", where=where, fix="Write the path without it.")
    place = Path(path).expanduser()
    if not place.is_absolute() and not (folder / place).resolve().is_relative_to(folder.resolve()):
        what = f"the path '{path}' leaves the task's folder"
        return TaskError(what, where=where, fix="Put the data beside the YAML, or write its absolute path.")
    return None


def _metric_faults(spec: TaskSpec, where: str, lines: Mapping[KeyPath, int]) -> Iterator[LuthierError]:
    from luthier.metrics.registry import get_metric

    outputs: list[str] = []
    for number, name in enumerate(spec.metrics):
        try:
            outputs += get_metric(name).outputs
        except ConfigError as fault:
            yield TaskError(fault.what, where=f"{where}{_line(lines, ('metrics', number))}", fix=fault.fix)
    if not spec.metrics:
        yield TaskError("the task has no metric", where=f"{where}{_line(lines, ('metrics',))}", fix="Name one.")
    elif spec.primary is not None and outputs and spec.primary not in outputs:
        what = f"the primary number '{spec.primary}' is not among what the metrics give"
        yield TaskError(what, where=f"{where}{_line(lines, ('primary',))}", fix=did_you_mean(spec.primary, outputs))


def task_name(path: str) -> str:
    """Return a task name made of a path or a hub id."""
    stem = re.sub(r"(\.(jsonl|ndjson|json|csv|tsv|parquet|txt|gz))+$", "", Path(path).name or "data")
    return re.sub(r"[^a-z0-9_.-]+", "_", stem.lower()).strip("_.-") or "data"


def shape_task(source: Source, shape: Shape) -> Task:
    """Return the task of a data file whose columns have a known shape."""
    prompt = Template(shape.prompt, f"the {shape.name} template")
    target = Template(shape.target, f"the {shape.name} template")
    templates = () if shape.conversation else (PromptTemplate(shape.name, prompt, Answers((target,))),)
    said = repr((shape, source.format, source.field))
    return Task(
        name=task_name(source.path),
        version="1",
        description=shape.sentence,
        sources={"all": source},
        templates=templates,
        answers=Answers(),
        split_answers={},
        choices=(),
        choice_templates=(),
        choices_column=None,
        id_column=None,
        group_column=None,
        part=None,
        input_column=shape.input,
        fractions=Fractions(),
        metrics=("rouge", "exact_match"),
        primary="rougeL",
        chance=None,
        stop=(),
        max_new_tokens=128,
        few_shot=3,
        chat=shape.chat,
        citation="",
        licence="",
        language="",
        shape=shape,
        where=source.path,
        digest=blake2b(said.encode(), digest_size=16).hexdigest(),
    )


def template_problem(fault: LuthierError, where: str) -> LuthierError:
    """Return a template's fault with the row on which it happened."""
    return type(fault)(fault.what, where=f"{where} ({fault.where})" if fault.where else where, fix=fault.fix)


def as_list(value: Any) -> tuple[str, ...] | None:
    """Return a column's list of texts, or None when it is not one; a JSON list in a string counts."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    if isinstance(value, list | tuple) and all(isinstance(item, str | int | float) for item in value):
        return tuple(str(item) for item in value)
    return None
