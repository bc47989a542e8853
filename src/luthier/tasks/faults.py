"""What can be wrong with a task beyond the form of its YAML file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from luthier.config.yaml_file import KeyPath
from luthier.errors import ConfigError, DataError, LuthierError, TaskError, did_you_mean
from luthier.tasks.exemplar_pool import fixed_exemplar
from luthier.tasks.rendering import every_template
from luthier.tasks.rows.hub import parse_id
from luthier.tasks.rows.sources import DATA, SPLITS
from luthier.tasks.schema import Task
from luthier.tasks.spec import TaskSpec
from luthier.tasks.spec_parts import SourceSpec
from luthier.user_path import user_path


def line_of(lines: Mapping[KeyPath, int], at: KeyPath) -> str:
    """Return ``", line N"`` of the nearest key that has a line, or ""."""
    found = next((lines[at[:size]] for size in range(len(at), 0, -1) if at[:size] in lines), None)
    return f", line {found}" if found else ""


def task_faults(
    spec: TaskSpec, task: Task, where: str, lines: Mapping[KeyPath, int], *, rows: bool = True
) -> Iterator[LuthierError]:
    """Yield what is wrong beyond the form of the file; whether its rows are there too, if they must be."""
    for template in every_template(task):
        try:
            template.check()
        except TaskError as fault:
            yield fault
    folder = Path(where).parent
    apart = [(name, getattr(spec.source, name)) for name in SPLITS if getattr(spec.source, name) is not None]
    for name, source in (apart or [("", spec.source)]) if rows else ():
        at = ("source", name, "path") if name else ("source", "path")
        fault_ = _path_fault(source, folder, f"{where}{line_of(lines, at)}")
        if fault_ is not None:
            yield fault_
    yield from _metric_faults(spec, where, lines)
    yield from _exemplar_faults(task)


def _exemplar_faults(task: Task) -> Iterator[LuthierError]:
    """Yield what is wrong with fixed exemplars, unless a template is not even Jinja."""
    try:
        for template in every_template(task):
            template.check()
    except TaskError:
        return
    for number in range(len(task.exemplars.rows)):
        try:
            fixed_exemplar(task, number)
        except LuthierError as fault:
            yield TaskError(fault.what, where=fault.where, fix=fault.fix)


def _path_fault(source: SourceSpec, folder: Path, where: str) -> LuthierError | None:
    path = str(source.path)
    if path.startswith("hf:"):
        try:
            parse_id(path)
        except DataError as fault:
            return TaskError(fault.what, where=where, fix=fault.fix)
        return None
    if path.startswith(DATA):
        own = Path(path.removeprefix(DATA))
        if own.is_absolute() or ".." in own.parts:
            what = f"the path '{path}' leaves the folder of the original files"
            return TaskError(what, where=where, fix="Write the file's place inside that folder.")
        return None
    if "\x00" in path:
        return TaskError("the path holds a NUL", where=where, fix="Write the path without it.")
    place = user_path(path)
    if not place.is_absolute() and not (folder / place).resolve().is_relative_to(folder.resolve()):
        what = f"the path '{path}' leaves the task's folder"
        return TaskError(what, where=where, fix="Put the data beside the YAML, or write its absolute path.")
    return None


def _metric_faults(spec: TaskSpec, where: str, lines: Mapping[KeyPath, int]) -> Iterator[LuthierError]:
    from luthier.metrics.registry import get_metric

    outputs: list[str] = []
    has_choices = bool(spec.choices or spec.choices_column or spec.choices_lines)
    for number, name in enumerate(spec.metrics):
        try:
            metric = get_metric(name)
            outputs += metric.outputs
            if not has_choices and any(option.startswith("by:") for option in metric.options.split("|")):
                what = f"'{name}' divides the log-probabilities of choices, and the task has no choices"
                at = f"{where}{line_of(lines, ('metrics', number))}"
                yield TaskError(what, where=at, fix="Give the task `choices`, or leave `:by=` out.")
            if "by:prior" in metric.options.split("|") and has_choices and spec.joint is None:
                what = f"'{name}' needs each choice without its prompt, which only a task with `joint` can ask"
                at = f"{where}{line_of(lines, ('metrics', number))}"
                yield TaskError(what, where=at, fix='Write `joint: " "` in the task, or leave `:by=prior` out.')
        except ConfigError as fault:
            yield TaskError(fault.what, where=f"{where}{line_of(lines, ('metrics', number))}", fix=fault.fix)
    if not spec.metrics:
        yield TaskError("the task has no metric", where=f"{where}{line_of(lines, ('metrics',))}", fix="Name one.")
    elif spec.primary is not None and outputs and spec.primary not in outputs:
        what = f"the primary number '{spec.primary}' is not among what the metrics give"
        yield TaskError(what, where=f"{where}{line_of(lines, ('primary',))}", fix=did_you_mean(spec.primary, outputs))
