"""Tasks by name, and their examples."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from luthier.arguments import as_name, as_whole, require_kind
from luthier.config.data import DataConfig, EncodingConfig, TrainingDataConfig
from luthier.errors import DataError, TaskError, did_you_mean
from luthier.garbage import collection_paused
from luthier.records import Example
from luthier.tasks.bigbench import is_bigbench, read_bigbench
from luthier.tasks.build import read_task
from luthier.tasks.draft import draft_task
from luthier.tasks.exemplar_pool import fixed_exemplar
from luthier.tasks.from_row_format import task_from_row_format
from luthier.tasks.names import (
    BIGBENCH,
    LIBRARY,
    YAML,
    file_and_value,
    library_names,
    on_hub,
    require_own,
    require_task,
)
from luthier.tasks.rows import sources
from luthier.tasks.rows.row_formats import RowFormat, recognise
from luthier.tasks.rows.sources import SPLITS, Source, given_splits, read_rows
from luthier.tasks.rows.splits import NAMES, digest_examples
from luthier.tasks.schema import Task
from luthier.tasks.split_index import SplitIndex
from luthier.tasks.split_report import SplitReport, check_lost
from luthier.tasks.task_rows import TaskRows
from luthier.user_path import user_path


@dataclass(frozen=True, slots=True)
class TaskData:
    """The examples of a task that are used.

    Attributes:
        train: Rendered with the training templates.
        validation: Rendered with the evaluation template.
        test: Rendered with the evaluation template.
        report: What became of the rows.
        digest: Of all examples.
    """

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    report: SplitReport
    digest: str


def load_task(name_or_path: str | Path, folder: Path | None = None, *, rows: bool = True) -> Task:
    """Load a task.

    Args:
        name_or_path: A built-in name, a task of a suite, a task YAML (``FILE.yaml#VALUE`` for one of many), the JSON
            of a task of BIG-bench, or a data file, folder or hub id of a known format.
        folder: Of the original files of benchmarks, in which the tasks of suites find their rows.
        rows: Whether the files that a task YAML names must be there; they need not for what it says alone.

    Raises:
        TaskError: When there is none of this name, or it is wrong.
        DataError: When a data file cannot be read.
    """
    name_or_path = as_name(name_or_path, where="load_task(name_or_path)")
    require_own(name_or_path)
    if name_or_path in library_names():
        return read_task(LIBRARY / name_or_path / "task.yaml")
    path = user_path(name_or_path)
    require_task(name_or_path)
    if (held := file_and_value(name_or_path)) is not None:
        return read_task(held[0], of=held[1], folder=folder, rows=rows)
    if path.suffix in YAML:
        return read_task(path, folder=folder, rows=rows)
    if path.is_dir() and (path / "task.yaml").is_file():
        return read_task(path / "task.yaml", folder=folder, rows=rows)
    if name_or_path == BIGBENCH:
        where = "no folder of original files is named" if folder is None else str(folder / BIGBENCH)
        fix = f"Put the task.json files of its tasks into DIR/{BIGBENCH}, and name DIR: --data DIR (`data.folder`)."
        raise DataError("no file of a task of BIG-bench is there", where=where, fix=fix)
    if is_bigbench(path):
        return read_bigbench(path)
    source = sources.pin(Source(name_or_path if on_hub(name_or_path) else str(path)))
    first = next(iter(given_splits(source).values()), source)
    return task_from_row_format(source, _row_format(source, first, name_or_path))


def _row_format(source: Source, first: Source, name: str) -> RowFormat:
    """Return the format of a source's rows; the error for an unknown one shows a task YAML for them."""
    try:
        return recognise(next(read_rows(first)), str(first))
    except TaskError as fault:
        place = name if source.on_hub else Path(source.path).name
        draft = draft_task(source, place)
        if draft is None:
            raise
        shown = "\n".join(f"    {line}".rstrip() for line in draft.splitlines())
        fix = f"{fault.fix} `luthier tasks new {shlex.quote(name)}` writes this one:\n\n{shown}"
        raise TaskError(fault.what, where=fault.where, fix=fix) from None


def with_data_settings(task: Task, data: EncodingConfig) -> Task:
    """Return a task whose rows are read as the settings of a verb say."""
    overlaps = data.overlaps if isinstance(data, TrainingDataConfig) else None
    return replace(task, reasoning=data.reasoning, overlaps=overlaps or task.overlaps)


@collection_paused()
def load_splits(task: Task, data: DataConfig, seed: int, *, bad_answers: bool = False) -> TaskData:
    """Read a task's examples: training, validation and test.

    Args:
        task: The task.
        data: How many of each split; ``max_lost`` is the share of rows that may be left out.
        seed: Decides which are drawn.
        bad_answers: Whether answers that rows say are bad are examples too, without a target.

    Raises:
        DataError: When rows cannot be read or too many are left out.
    """
    index = SplitIndex(TaskRows(replace(task, bad_answers=bad_answers)), seed)
    limits = {"train": data.train, "validation": data.validation, "test": data.test}
    wanted = np.logical_or.reduce([index.chosen(name, limit) for name, limit in limits.items()])
    report = index.report(wanted)
    check_lost(report, data.max_lost, task.where)
    held: dict[str, list[Example]] = {name: [] for name in SPLITS}
    for item in index.items(wanted, evaluation=False):
        held[item.split].append(item.example)
    train, validation, test = (tuple(held[name]) for name in NAMES)
    return TaskData(train, validation, test, report, digest_examples((*train, *validation, *test)))


def load_exemplar_pool(task: Task, *, limit: int | None, seed: int) -> tuple[Example, ...]:
    """Return the examples that exemplars are taken from, rendered by the evaluation template.

    Args:
        task: Says where they come from.
        limit: How many training examples there are to draw from; all when not given. The first rows of a split, fixed
            rows and rows of another split do not depend on it.
        seed: Decides which training examples are drawn.

    Returns:
        Fixed exemplars in the order of the file, or a split in the order of its rows.

    Raises:
        DataError: When the task has no such split, or rows cannot be read.
    """
    source = task.exemplars
    if source.rows:
        return tuple(fixed_exemplar(task, number) for number in range(len(source.rows)))
    limited = source.split == "train" and source.order == "drawn"
    return tuple(load_examples(task, source.split, limit=limit if limited else None, seed=seed, evaluation=True))


def load_examples(
    task: Task, split: str, *, limit: int | None = None, seed: int = 0, evaluation: bool = False
) -> list[Example]:
    """Read one split's examples.

    Args:
        task: The task.
        split: ``train``, ``validation`` or ``test``.
        limit: How many, drawn by hash of the id; all when not given.
        seed: Decides which are drawn.
        evaluation: Render training examples with the evaluation template, as few-shot exemplars are.

    Raises:
        DataError: When the task has no such split, or rows cannot be read.
    """
    require_kind(task, Task, where="load_examples(task)", fix="Load it: luthier.load_task(…).")
    if limit is not None:
        limit = as_whole(limit, least=1, where="load_examples(limit)")
    seed = as_whole(seed, least=0, where="load_examples(seed)")
    if split not in NAMES:
        raise DataError(f"no split is called '{split}'", where=task.where, fix=did_you_mean(str(split), NAMES))
    # What is evaluated does not depend on the training rows, which may be many.
    index = SplitIndex(TaskRows(task, "test" if split == "test" else None), seed)
    wanted = index.chosen(split, limit)
    if not wanted.any():
        became = " ".join(index.report(wanted).sentences)
        raise DataError(
            f"the {split} split has no examples", where=task.where, fix=f"What became of the rows: {became}"
        )
    return [item.example for item in index.items(wanted, evaluation=evaluation, only=split)]
