"""A task's YAML file, checked and turned into a :class:`luthier.tasks.schema.Task`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from pydantic import BaseModel

from luthier.config.validation import validate
from luthier.config.yaml_file import KeyPath, load_yaml
from luthier.errors import ConfigError, TaskError, raise_faults
from luthier.metrics.extraction import Extraction
from luthier.tasks.faults import line_of, task_faults
from luthier.tasks.rows.sources import SPLITS, Source
from luthier.tasks.rows.splits import Fractions
from luthier.tasks.rows.templates import Template
from luthier.tasks.schema import ExemplarSource, PromptTemplate, TargetSource, Task
from luthier.tasks.spec import SHOTS, ExtractSpec, FewShotSpec, SourceSpec, TargetSpec, TaskSpec, TemplateSpec
from luthier.user_path import user_path

_LIBRARY = Path(__file__).parent / "library"
_SHARED = ("format", "columns", "delimiter", "quoting", "field", "revision")


def read_task(path: Path, *, rows: bool = True) -> Task:
    """Read a task from its YAML file.

    Args:
        path: The file.
        rows: Whether the rows that it names must be there; they need not for its prompts alone.

    Raises:
        TaskError: When the file is missing or something in it is wrong.
        Faults: When several things are.
    """
    data, lines = load_yaml(path, TaskError)
    spec = validate(TaskSpec, data, source=str(path), lines=lines, error=TaskError)
    task = build_task(spec, path, lines)
    raise_faults(f"{path} has faults", list(task_faults(spec, task, str(path), lines, rows=rows)))
    return task


def build_task(spec: TaskSpec, path: Path, lines: Mapping[KeyPath, int] | None = None) -> Task:
    """Turn a checked YAML file into a task.

    Args:
        spec: What the file says.
        path: The file; relative sources lie beside it.
        lines: Line of each key, for messages.
    """
    texts = _Texts(path, lines or {})
    own_targets = {name: getattr(spec.splits, name) for name in SPLITS}
    return Task(
        name=spec.name,
        version=spec.version,
        description=spec.description,
        sources=_sources(spec.source, path),
        templates=texts.prompt_templates(spec),
        targets=texts.targets(spec),
        split_targets={
            name: texts.targets(item, "splits", name) for name, item in own_targets.items() if item is not None
        },
        choices=() if any("{" in choice for choice in spec.choices) else spec.choices,
        choice_templates=tuple(texts.template(text, "choices", n) for n, text in enumerate(spec.choices)),
        choices_column=spec.choices_column,
        id_column=spec.id,
        group_column=spec.group,
        part=texts.template(spec.part, "part") if spec.part is not None else None,
        input_column=spec.input,
        fractions=Fractions(spec.split.train, spec.split.validation, spec.split.test),
        metrics=spec.metrics,
        primary=spec.primary or primary_of(spec.metrics),
        chance=spec.chance,
        stop=spec.stop,
        special_tokens=spec.special_tokens,
        max_new_tokens=spec.max_new_tokens,
        few_shot=_shots(spec.few_shot),
        exemplars=texts.exemplars(spec.few_shot),
        # A Jinja text loses one newline at its end, and a preamble must end as it is written.
        preamble=texts.template(f"{spec.preamble}\n", "preamble") if spec.preamble is not None else None,
        extraction=_extraction(spec.extract),
        chat=spec.chat,
        citation=spec.citation,
        licence=spec.licence,
        language=spec.language,
        overlaps=spec.overlaps,
        reasoning="refuse",
        row_format=None,
        where=str(path),
        digest=spec_digest(spec),
    )


@dataclass(frozen=True, slots=True)
class _Texts:
    """The Jinja texts of a file, each with its line for messages."""

    path: Path
    lines: Mapping[KeyPath, int]

    def template(self, source: str, *at: str | int) -> Template:
        where = f"{self.path}{line_of(self.lines, at)}, {'.'.join(map(str, at))}"
        return Template(source, where, trusted=_LIBRARY in self.path.parents)

    def targets(self, spec: TargetSpec | TaskSpec, *at: str | int) -> TargetSource:
        if spec.targets_column is not None:
            return TargetSource(column=spec.targets_column)
        if spec.target is not None:
            return TargetSource((self.template(spec.target, *at, "target"),))
        listed = enumerate(spec.targets or ())
        return TargetSource(tuple(self.template(text, *at, "targets", n) for n, text in listed))

    def exemplars(self, spec: FewShotSpec) -> ExemplarSource:
        if spec.rows is None:
            return ExemplarSource(spec.split, "first" if spec.order == "first" else "drawn")
        where = [
            f"{self.path}{line_of(self.lines, ('few_shot', 'rows', n))}, few_shot.rows.{n}"
            for n in range(len(spec.rows))
        ]
        return ExemplarSource(order="first", rows=spec.rows, where=tuple(where))

    def prompt_templates(self, spec: TaskSpec) -> tuple[PromptTemplate, ...]:
        return tuple(self._prompt_template(item, n) for n, item in enumerate(spec.templates))

    def _prompt_template(self, item: TemplateSpec, number: int) -> PromptTemplate:
        prompt = self.template(item.prompt, "templates", number, "prompt")
        targets = None
        if item.target is not None:
            targets = TargetSource((self.template(item.target, "templates", number, "target"),))
        return PromptTemplate(item.name, prompt, targets, item.held_out)


def _shots(spec: FewShotSpec) -> int:
    if spec.shots is not None:
        return spec.shots
    return SHOTS if spec.rows is None else len(spec.rows)


def _extraction(spec: ExtractSpec | None) -> Extraction | None:
    return None if spec is None else Extraction(spec.find, "last" if spec.which == "last" else "first")


def spec_digest(spec: BaseModel) -> str:
    """Return a digest of what a task's file says: 32 hexadecimal digits.

    A key that holds its default does not count, so that a new key does not change the digests of older files.
    """
    content = json.dumps(spec.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
    return blake2b(content.encode(), digest_size=16).hexdigest()


def primary_of(metrics: tuple[str, ...]) -> str:
    """Return the number that stands for the first metric; "" where there is none, which is a fault of its own."""
    from luthier.metrics.registry import get_metric

    try:
        return get_metric(metrics[0]).primary if metrics else ""
    except ConfigError:
        return ""


def _sources(spec: SourceSpec, path: Path) -> dict[str, Source]:
    """Return the sources by split; what stands beside ``train:`` and ``test:`` holds where they say nothing else."""
    shared = {name: value for name in _SHARED if (value := getattr(spec, name)) is not None}
    apart = {name: getattr(spec, name) for name in SPLITS if getattr(spec, name) is not None}
    own = {name: item.model_copy(update=shared | item.model_dump(exclude_none=True)) for name, item in apart.items()}
    return {name: _source(item, path) for name, item in (own or {"all": spec}).items()}


def _source(spec: SourceSpec, path: Path) -> Source:
    place = spec.path or ""
    if not place.startswith("hf:"):
        place = str(path.parent / user_path(place))
    return Source(place, spec.format, spec.columns, spec.delimiter, spec.quoting, spec.field, spec.split, spec.revision)
