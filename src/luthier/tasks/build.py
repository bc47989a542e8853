"""A task's YAML file, checked and turned into a :class:`luthier.tasks.schema.Task`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

from pydantic import BaseModel

from luthier.config.validation import validate
from luthier.config.yaml_file import KeyPath, load_yaml
from luthier.data.joint import Joint
from luthier.errors import ConfigError, DataError, TaskError, raise_faults
from luthier.metrics.extraction import Extraction
from luthier.tasks.each import for_value
from luthier.tasks.faults import line_of, task_faults
from luthier.tasks.rows.hub import PREFIX, copy_in
from luthier.tasks.rows.sources import DATA, SPLITS, Source, needs_folder
from luthier.tasks.rows.splits import Fractions
from luthier.tasks.rows.templates import Template
from luthier.tasks.schema import ExemplarSource, PromptTemplate, TargetSource, Task
from luthier.tasks.spec import TaskSpec
from luthier.tasks.spec_parts import (
    SHOTS,
    ExtractSpec,
    FewShotSpec,
    PreambleSpec,
    SourceSpec,
    TargetSpec,
    TemplateSpec,
)
from luthier.user_path import user_path

_LIBRARY = Path(__file__).parent / "library"
_SHARED = ("format", "columns", "delimiter", "quoting", "field", "revision", "get", "unfold")


def read_task(path: Path, *, rows: bool = True, of: str = "", folder: Path | None = None) -> Task:
    """Read a task from its YAML file.

    Args:
        path: The file.
        rows: Whether the rows that it names must be there; they need not for its prompts alone.
        of: The value for which a file with ``each`` is read; "" for a file that is one task.
        folder: Of the original files of benchmarks, which sources name as ``data:FILE``.

    Raises:
        TaskError: When the file is missing or something in it is wrong.
        Faults: When several things are.
    """
    written, lines = load_yaml(path, TaskError)
    data, constants = for_value(written, of, str(path))
    spec = validate(TaskSpec, data, source=str(path), lines=lines, error=TaskError)
    places = Places(path, folder, rows)
    task = build_task(spec, path, lines, constants=constants, places=places)
    raise_faults(f"{path} has faults", list(task_faults(spec, task, str(path), lines, rows=rows)))
    return task


def build_task(
    spec: TaskSpec,
    path: Path,
    lines: Mapping[KeyPath, int] | None = None,
    *,
    constants: Mapping[str, str] | None = None,
    places: Places | None = None,
) -> Task:
    """Turn a checked YAML file into a task.

    Args:
        spec: What the file says.
        path: The file; relative sources lie beside it.
        lines: Line of each key, for messages.
        constants: Columns that every row has beside its own.
        places: Where its files are: beside it when not given.

    Raises:
        DataError: When the file of the preamble cannot be read.
    """
    texts, places = _Texts(path, lines or {}), places or Places(path)
    own_targets = {name: own for name in SPLITS if (own := getattr(spec.splits, name)) is not None}
    task = Task(
        name=spec.name,
        version=spec.version,
        description=spec.description,
        sources=places.sources(spec.source),
        templates=texts.prompt_templates(spec),
        targets=texts.targets(spec),
        split_targets={name: texts.targets(item, "splits", name) for name, item in own_targets.items()},
        choices=() if any("{" in choice for choice in spec.choices) else spec.choices,
        choice_templates=tuple(texts.template(text, "choices", n) for n, text in enumerate(spec.choices)),
        choices_column=spec.choices_column,
        id_column=spec.id,
        group_column=None if _is_jinja(spec.group) else spec.group,
        part=texts.optional(spec.part, "part"),
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
        preamble=_preamble(spec, texts, places),
        extraction=_first_extraction(spec),
        chat=spec.chat and spec.joint is None,
        citation=spec.citation,
        licence=spec.licence,
        language=spec.language,
        overlaps=spec.overlaps,
        reasoning="refuse",
        row_format=None,
        where=str(path),
        digest=spec_digest(spec, constants),
    )
    return _with_protocol(task, spec, texts, constants or {})


def _with_protocol(task: Task, spec: TaskSpec, texts: _Texts, constants: Mapping[str, str]) -> Task:
    """Return a task with what benchmarks say beyond a prompt and its answer."""
    return replace(
        task,
        joint=_joint(spec),
        choices_lines=texts.optional(spec.choices_lines, "choices_lines"),
        wrong_lines=texts.optional(spec.wrong_lines, "wrong_lines"),
        group_template=texts.optional(spec.group, "group") if _is_jinja(spec.group) else None,
        other_extractions={name: _extraction(one) for name, one in list(spec.extracts.items())[1:]},
        constants=dict(constants),
        protocol=spec.protocol,
    )


@dataclass(frozen=True, slots=True)
class _Texts:
    """The Jinja texts of a file, each with its line for messages."""

    path: Path
    lines: Mapping[KeyPath, int]

    def template(self, source: str, *at: str | int) -> Template:
        where = f"{self.path}{line_of(self.lines, at)}, {'.'.join(map(str, at))}"
        return Template(source, where, trusted=_LIBRARY in self.path.parents)

    def optional(self, source: str | None, *at: str | int) -> Template | None:
        return None if source is None else self.template(source, *at)

    def targets(self, spec: TargetSpec | TaskSpec, *at: str | int) -> TargetSource:
        if spec.targets_lines is not None:
            return TargetSource((self.template(spec.targets_lines, *at, "targets_lines"),), lines=True)
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
        at: tuple[str | int, ...] = ("templates", number)
        prompts = tuple(self.template(text, *at, "prompts", n) for n, text in enumerate(item.prompts or ()))
        prompt = self.template(item.prompt, *at, "prompt") if item.prompt is not None else prompts[0]
        ending = self.optional(item.ending, *at, "ending")
        targets = None
        if item.target is not None:
            targets = TargetSource((self.template(item.target, "templates", number, "target"),))
        return PromptTemplate(item.name, prompt, targets, item.held_out, prompts, ending)


def _shots(spec: FewShotSpec) -> int:
    if spec.shots is not None:
        return spec.shots
    return SHOTS if spec.rows is None else len(spec.rows)


def _extraction(spec: ExtractSpec) -> Extraction:
    return Extraction(spec.find, "last" if spec.which == "last" else "first")


def _is_jinja(text: str | None) -> bool:
    return text is not None and "{" in text


def _joint(spec: TaskSpec) -> Joint | None:
    if spec.joint is None:
        return None
    return Joint(spec.joint) if spec.few_shot.gap is None else Joint(spec.joint, spec.few_shot.gap)


def _first_extraction(spec: TaskSpec) -> Extraction | None:
    first = spec.extract or next(iter(spec.extracts.values()), None)
    return None if first is None else _extraction(first)


def _preamble(spec: TaskSpec, texts: _Texts, places: Places) -> Template | None:
    """Return what stands before everything else; of a file, as it is written there."""
    if spec.preamble is not None:
        # A Jinja text loses one newline at its end, and a preamble must end as it is written.
        return texts.template(f"{spec.preamble}\n", "preamble")
    if spec.preamble_file is None:
        return None
    text = places.text(spec.preamble_file)
    return texts.template(f"{{% raw %}}{text}{{% endraw %}}\n", "preamble_file")


def spec_digest(spec: BaseModel, constants: Mapping[str, str] | None = None) -> str:
    """Return a digest of what a task's file says: 32 hexadecimal digits.

    A key that holds its default does not count, so that a new key does not change the digests of older files.
    """
    said = spec.model_dump(mode="json", exclude_defaults=True)
    if extracts := said.get("extracts"):
        said["extracts"] = list(extracts.items())  # the first decides
    content = json.dumps(said | ({"constants": dict(constants)} if constants else {}), sort_keys=True)
    return blake2b(content.encode(), digest_size=16).hexdigest()


def primary_of(metrics: tuple[str, ...]) -> str:
    """Return the number that stands for the first metric; "" where there is none, which is a fault of its own."""
    from luthier.metrics.registry import get_metric

    try:
        return get_metric(metrics[0]).primary if metrics else ""
    except ConfigError:
        return ""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the files are that a task names: beside its YAML file, or in the folder of the original files.

    Attributes:
        path: The YAML file.
        folder: Of the original files; None where nobody has named it.
        needed: Whether files must be there; else a text that cannot be read is its name.
    """

    path: Path
    folder: Path | None = None
    needed: bool = True

    def sources(self, spec: SourceSpec) -> dict[str, Source]:
        """Return the sources by split; what stands beside ``train:`` holds where a split says nothing else."""
        shared = {name: value for name in _SHARED if (value := getattr(spec, name)) is not None}
        apart = {name: getattr(spec, name) for name in SPLITS if getattr(spec, name) is not None}
        own = {
            name: item.model_copy(update=shared | item.model_dump(exclude_none=True)) for name, item in apart.items()
        }
        return {name: self._source(item) for name, item in (own or {"all": spec}).items()}

    def text(self, spec: PreambleSpec) -> str:
        """Return the part of a text file that is asked for.

        Raises:
            DataError: When the file is missing, or does not hold the marks.
        """
        place = self._place(spec.path)
        if not self.needed and not Path(place).is_file():
            return f"({spec.path})\n\n"
        if place.startswith(DATA):
            raise needs_folder(place, spec.get)
        try:
            text = Path(place).read_text(encoding="utf-8")
        except (OSError, ValueError) as fault:
            fix = f"Get it from {spec.get}, and put it there." if spec.get else "Check the path."
            raise DataError(f"the text of the preamble cannot be read ({fault})", where=place, fix=fix) from None
        for mark, side in ((spec.after, -1), (spec.before, 0)):
            if mark is not None:
                if mark not in text:
                    raise DataError(f"the text does not hold {mark!r}", where=place, fix="Is it the original file?")
                text = text.split(mark, 1)[side]
        return text.strip() + spec.then

    def _source(self, spec: SourceSpec) -> Source:
        place = self._place(spec.path or "")
        return Source(
            place,
            spec.format,
            spec.columns,
            spec.delimiter,
            spec.quoting,
            spec.field,
            spec.split,
            spec.revision if place.startswith(PREFIX) else None,
            spec.get,
            spec.unfold,
            tuple((name, self._place(path)) for name, path in spec.aligned.items()),
        )

    def _place(self, place: str) -> str:
        if place.startswith(PREFIX):
            copy = self.folder and copy_in(self.folder, place)
            return str(copy) if copy else place
        if place.startswith(DATA):
            return place if self.folder is None else str(self.folder / place.removeprefix(DATA))
        return str(self.path.parent / user_path(place))
