"""Tasks by name, and their examples.

Rows are read twice: once to learn which split each example belongs to and what repeats (8-byte hashes, not texts), and
once more to hand out the examples that are wanted. So only those are ever held in memory.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from luthier.config.data import DataConfig
from luthier.data import sources
from luthier.data.row_formats import recognise
from luthier.data.sources import SPLITS, Source, given_splits, read_rows
from luthier.data.splits import NAMES, DuplicateIndex, Overlaps, assign, digest_examples, draw_key, draw_mask
from luthier.errors import DataError, LuthierError, TaskError, did_you_mean
from luthier.files.table_readers import RowFaults
from luthier.records import Example
from luthier.tasks.rendering import LeftOut, left_out_why, render, row_id, split_key
from luthier.tasks.schema import Task, read_task, shape_task

LIBRARY = Path(__file__).parent / "library" / "builtin"
_YAML = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class SplitReport:
    """What became of the rows.

    Attributes:
        rows: Rows read.
        given: Splits that the source has itself.
        found: Examples of each split, before anything is removed or drawn.
        used: Examples of each split that are used.
        duplicates: Removed from training: the same prompt and target stands elsewhere.
        overlaps: Removed from training: the prompt stands in validation or test.
        held_out_overlaps: Validation prompts that stand in test; not removed.
        repeated: Validation and test examples that repeat one of their split; not removed.
        left_out: Rows from which nothing can be learned (an empty target, a conversation without answer).
        left_out_rows: The first of them, with the reason.
        left_out_why: What they have in common.
        sources: What was read, hub datasets with their commit.
        sentences: All of this, as it is to be said.
    """

    rows: int
    given: tuple[str, ...]
    found: Mapping[str, int]
    used: Mapping[str, int]
    duplicates: int
    overlaps: int
    held_out_overlaps: int
    repeated: int
    left_out: int
    left_out_rows: tuple[str, ...]
    left_out_why: str
    sources: tuple[str, ...]
    sentences: tuple[str, ...]


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


def library_names() -> tuple[str, ...]:
    """Return the names of the built-in tasks."""
    return tuple(sorted(path.parent.name for path in LIBRARY.glob("*/task.yaml")))


def load_task(name_or_path: str) -> Task:
    """Load a task.

    Args:
        name_or_path: A built-in name, a task YAML, or a data file, folder or hub id of a known shape.

    Raises:
        TaskError: When there is none of this name, or it is wrong.
        DataError: When a data file cannot be read.
    """
    built_in = LIBRARY / name_or_path / "task.yaml"
    if name_or_path in library_names():
        return read_task(built_in)
    path = Path(name_or_path).expanduser()
    if path.suffix in _YAML:
        return read_task(path)
    if path.is_dir() and (path / "task.yaml").is_file():
        return read_task(path / "task.yaml")
    if not name_or_path.startswith("hf:") and not _exists(path):
        what = f"no built-in task, file or folder is called '{name_or_path}'"
        raise TaskError(what, fix=did_you_mean(name_or_path, library_names() or ("(none)",)))
    source = sources.pin(Source(name_or_path if name_or_path.startswith("hf:") else str(path)))
    first = next(iter(given_splits(source).values()), source)
    return shape_task(source, recognise(next(read_rows(first)), str(first)))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that no file can have
        return False


@dataclass(frozen=True, slots=True)
class _Item:
    """One example with where it stands: ``place`` counts the examples of the whole task."""

    place: int
    split: str
    example: Example


class Reading:
    """One task's rows, read as often as needed.

    Args:
        task: The task; hub datasets are pinned.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.parts = source_parts(task)
        self.given = tuple(name for name in NAMES if name in self.parts)
        self._carve = frozenset(name for name in NAMES if name in self.parts and name != "train")
        self.rows = 0
        self.left_out = 0
        self.left_out_rows: list[str] = []

    def items(self, *, evaluation: bool, only: str | None = None) -> Iterator[_Item]:
        """Yield every example in order; the count of rows begins anew.

        Args:
            evaluation: Whether training examples too are rendered with the evaluation template.
            only: Yield this split's examples alone (the others are still read where they share a source).
        """
        self.rows, self.left_out, place = 0, 0, 0
        self.left_out_rows.clear()
        for part, source in self.parts.items():
            faults = RowFaults(str(source))
            for number, row in enumerate(read_rows(source), 1):
                where = f"{source}, row {number}"
                self.rows += 1
                try:
                    key = row_id(self.task, row, where)
                    group, decides = split_key(self.task, row, key, where)
                    split = assign(decides, self.task.fractions, self._carve) if part in ("all", "train") else part
                    fixed = evaluation or split != "train"
                    for example in render(
                        self.task, row, key=key, group=group, split=split, evaluation=fixed, where=where
                    ):
                        if only is None or split == only:
                            yield _Item(place, split, example)
                        place += 1
                except LeftOut as fault:
                    self.left_out += 1
                    if len(self.left_out_rows) < 5:
                        self.left_out_rows.append(f"{fault.where}: {fault.what}")
                except LuthierError as fault:
                    faults.add(fault)
            faults.finish()


def source_parts(task: Task) -> dict[str, Source]:
    """Return the sources by split, or ``{"all": source}``."""
    pinned = {name: sources.pin(source) for name, source in task.sources.items()}
    if "all" in pinned:
        return given_splits(pinned["all"]) or pinned
    return {name: given_splits(source).get(name, source) for name, source in pinned.items()}


class Index:
    """Where each example of a task belongs, and which are used.

    Args:
        reading: The task's rows.
        seed: Of what is drawn.
    """

    def __init__(self, reading: Reading, seed: int) -> None:
        self.reading = reading
        ledger, draws = DuplicateIndex(), array("Q")
        # Both passes see the same examples; prompts are compared in the wording of evaluation.
        for item in reading.items(evaluation=True):
            ledger.add(item.split, item.example)
            draws.append(draw_key(item.example.id, seed))
        self.overlaps: Overlaps = ledger.overlaps()
        self._splits = ledger.splits
        self._draws = np.frombuffer(draws, dtype=np.uint64)
        self._repeated = ledger.repeated_ids()
        self._rows, self._left_out = reading.rows, reading.left_out
        self._left_out_rows = tuple(reading.left_out_rows)
        if self._repeated and reading.task.id_column is not None:
            _refuse_repeated_ids(reading, self._repeated)

    def chosen(self, split: str, limit: int | None) -> npt.NDArray[np.bool_]:
        """Mark the examples of a split that are used: bool ``(examples of the task,)``."""
        own = np.flatnonzero((self._splits == NAMES.index(split)) & self.overlaps.keep)
        marked = np.zeros(len(self._splits), dtype=np.bool_)
        marked[own[draw_mask(self._draws[own], limit)]] = True
        return marked

    def items(self, wanted: npt.NDArray[np.bool_], *, evaluation: bool, only: str | None = None) -> Iterator[_Item]:
        """Yield the marked examples; rows that are alike get ids of their own."""
        seen: Counter[str] = Counter()
        for item in self.reading.items(evaluation=evaluation, only=only):
            if item.place >= len(wanted):
                raise DataError("the rows changed while they were read", where=self.reading.task.where)
            if not wanted[item.place]:
                continue
            if not self._repeated:
                yield item
                continue
            example = item.example
            seen[example.id] += 1
            if seen[example.id] > 1:
                example = replace(example, id=f"{example.id}~{seen[example.id]}")
            yield replace(item, example=example)

    def report(self, wanted: npt.NDArray[np.bool_]) -> SplitReport:
        """Say what became of the rows."""
        found = {name: int((self._splits == code).sum()) for code, name in enumerate(NAMES)}
        used = {name: int((wanted & (self._splits == code)).sum()) for code, name in enumerate(NAMES)}
        report = SplitReport(
            rows=self._rows,
            given=self.reading.given,
            found=found,
            used=used,
            duplicates=self.overlaps.duplicates,
            overlaps=self.overlaps.prompts,
            held_out_overlaps=self.overlaps.held_out,
            repeated=self.overlaps.repeated,
            left_out=self._left_out,
            left_out_rows=self._left_out_rows,
            left_out_why=left_out_why(self.reading.task),
            sources=tuple(str(source) for source in self.reading.parts.values()),
            sentences=(),
        )
        return replace(report, sentences=tuple(_sentences(self.reading.task, report)))


def _refuse_repeated_ids(reading: Reading, repeated: frozenset[int]) -> None:
    from luthier.data.splits import hash64

    for item in reading.items(evaluation=True):
        if hash64(item.example.id, "luthier id") in repeated:
            what = f"the id '{item.example.id}' in column '{reading.task.id_column}' is not unique"
            raise DataError(what, where=reading.task.where, fix="Name a column with unique ids, or leave `id:` out.")


def _sentences(task: Task, report: SplitReport) -> Iterator[str]:
    if task.shape is not None:
        yield f"Recognised {task.shape.sentence}."
    counts = ", ".join(f"{report.found[name]:,} {name}" for name in NAMES)
    carved = [name for name in NAMES if name not in report.given and report.found[name]]
    how = f" ({', '.join(carved)} by hash of the id)" if carved else " (as given)"
    yield f"{report.rows:,} rows: {counts}{how}."
    if report.duplicates:
        yield f"{report.duplicates:,} duplicates removed from training."
    if report.overlaps:
        yield f"{report.overlaps:,} training examples removed because their prompt stands in validation or test."
    if report.held_out_overlaps:
        yield f"{report.held_out_overlaps:,} validation prompts stand in test too (kept)."
    if report.repeated:
        yield f"{report.repeated:,} validation and test examples repeat another of their split (kept)."
    if report.left_out:
        yield f"{report.left_out:,} rows {report.left_out_why}: left out (the first: {report.left_out_rows[0]})."


def _check_lost(report: SplitReport, max_lost: float, where: str) -> None:
    if report.rows and report.left_out / report.rows > max_lost:
        share = report.left_out / report.rows
        what = f"{report.left_out:,} of {report.rows:,} rows {report.left_out_why} ({share:.0%})"
        fix = f"The first: {report.left_out_rows[0]}. Mend the rows, or raise data.max_lost ({max_lost:g})."
        raise DataError(what, where=where, fix=fix)


def load_splits(task: Task, data: DataConfig, seed: int) -> TaskData:
    """Read a task's examples: training, validation and test.

    Args:
        task: The task.
        data: How many of each split; ``max_lost`` is the share of rows that may be left out.
        seed: Decides which are drawn.

    Raises:
        DataError: When rows cannot be read or too many are left out.
    """
    index = Index(Reading(task), seed)
    limits = {"train": data.train, "validation": data.validation, "test": data.test}
    wanted = np.logical_or.reduce([index.chosen(name, limit) for name, limit in limits.items()])
    report = index.report(wanted)
    _check_lost(report, data.max_lost, task.where)
    held: dict[str, list[Example]] = {name: [] for name in SPLITS}
    for item in index.items(wanted, evaluation=False):
        held[item.split].append(item.example)
    train, validation, test = (tuple(held[name]) for name in NAMES)
    return TaskData(train, validation, test, report, digest_examples((*train, *validation, *test)))


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
    if split not in NAMES:
        raise DataError(f"no split is called '{split}'", where=task.where, fix=did_you_mean(split, NAMES))
    index = Index(Reading(task), seed)
    wanted = index.chosen(split, limit)
    if not wanted.any():
        became = " ".join(index.report(wanted).sentences)
        raise DataError(
            f"the {split} split has no examples", where=task.where, fix=f"What became of the rows: {became}"
        )
    return [item.example for item in index.items(wanted, evaluation=evaluation, only=split)]


def load_texts(name_or_path: str) -> list[str]:
    """Read held-out documents, on which token loss is measured.

    Args:
        name_or_path: ``plain_text`` (built in), a ``.txt`` file whose documents are separated by blank lines, or any
            file of rows with a ``text`` column.

    Raises:
        DataError: When it cannot be read or has no text.
    """
    built_in = LIBRARY / name_or_path / "heldout.jsonl.gz"
    path = built_in if built_in.is_file() else Path(name_or_path).expanduser()
    source = Source(name_or_path if name_or_path.startswith("hf:") else str(path))
    if path.suffix == ".txt":
        return _documents(path)
    texts: list[str] = []
    for number, row in enumerate(read_rows(sources.pin(source)), 1):
        text = row.get("text")
        if not isinstance(text, str):
            fix = f"Columns: {', '.join(map(str, row))}."
            raise DataError("there is no text in column 'text'", where=f"{source}, row {number}", fix=fix)
        if text.strip():
            texts.append(text)
    if not texts:
        raise DataError("the rows have no text", where=str(source), fix="Give a file with documents.")
    return texts


def _documents(path: Path) -> list[str]:
    from luthier.files.table_readers import decoded_lines

    documents: list[list[str]] = [[]]
    for line in decoded_lines(path):
        if line.strip():
            documents[-1].append(line)
        elif documents[-1]:
            documents.append([])
    texts = ["".join(lines).strip() for lines in documents if lines]
    if not texts:
        raise DataError("the file has no text", where=str(path), fix="Give a file with documents.")
    return texts
