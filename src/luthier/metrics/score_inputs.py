"""Predictions and references from anybody's files: text, any table that training reads, or the log of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from luthier.errors import DataError, did_you_mean
from luthier.files.opening import has_byte_order_mark
from luthier.files.size_limit import SizeLimit
from luthier.files.tables import recognise_format_or_text
from luthier.files.value_text import value_text
from luthier.metrics.prediction_log import read_predictions
from luthier.metrics.score_columns import (
    Column,
    aligned,
    check_filled,
    prediction_column,
    reference_column,
    table_of,
    text_column,
    with_ids,
)
from luthier.records import Prediction

_LOG_FIELDS = {"id", "task", "text", "targets"}
_LOG_NAME = "predictions.jsonl"


@dataclass(frozen=True)
class System:
    """What one system answered.

    Attributes:
        name: How it is called in tables: the file's name.
        predictions: Its answers, in the order of the file.
        columns: Further columns of the file, as text, for `--by`.
        notes: What was done to its files that the user may not expect.
    """

    name: str
    predictions: list[Prediction]
    columns: dict[str, list[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Columns:
    """Names of the columns to use; "" to recognise them."""

    prediction: str = ""
    reference: str = ""
    identity: str = ""


@dataclass(frozen=True)
class ScoreInputs:
    """Which files to score.

    Attributes:
        predictions: One file for each system: text with one answer a line, a table, a log of a run, or its folder.
        references: Files with the right answers; several are several references for each example. None where the
            prediction files hold them.
        columns: Columns of tables.
        allow_empty: Score empty lines as empty answers instead of refusing them.
        size_limit: Most that is read of one file, in MiB, unpacked.
    """

    predictions: tuple[Path, ...]
    references: tuple[Path, ...] = ()
    columns: Columns = Columns()
    allow_empty: bool = False
    size_limit: int = 512

    def limit(self) -> SizeLimit:
        """Return the bound for one file."""
        return SizeLimit(self.size_limit << 20, "Raise --size-limit if the file is meant to be this large.")


def load_systems(inputs: ScoreInputs) -> list[System]:
    """Read what several systems answered to the same examples.

    References are paired with answers by their ids where both files have ids, else row by row.

    Raises:
        DataError: A file cannot be read, or does not fit the others; the file and the line are named.
        Faults: Several such faults.
    """
    truths = [_load_references(path, inputs) for path in inputs.references]
    names = _names(inputs.predictions)
    return [_load_system(path, name, truths, inputs) for path, name in zip(inputs.predictions, names, strict=True)]


def _load_system(path: Path, name: str, truths: Sequence[Column], inputs: ScoreInputs) -> System:
    path = path / _LOG_NAME if path.is_dir() else path
    kind = recognise_format_or_text(path)
    columns = inputs.columns
    more: dict[str, list[str]] = {}
    if kind == "text":
        if not truths:
            raise DataError(
                "There is nothing to compare these lines with.",
                where=str(path),
                fix="Give the right answers with --references.",
            )
        given = text_column(path, inputs.limit())
    else:
        table = table_of(path, kind, inputs.limit())
        if not truths and not columns.prediction and set(table.rows[0]) >= _LOG_FIELDS:
            return _from_log(path, name)
        given = with_ids(prediction_column(table, columns.prediction), table, columns.identity)
        more = {key: [value_text(row.get(key)) for row in table.rows] for key in table.rows[0]}
        if not truths:
            truths = [reference_column(table, columns.reference)]
    paired = [aligned(truth, given) for truth in truths]
    if not inputs.allow_empty:
        check_filled([given, *paired])
    targets = [tuple(text for truth in paired for text in truth.texts[i]) for i in range(len(given.texts))]
    ids = given.ids or [str(i + 1) for i in range(len(targets))]
    groups = more.get("group", [""] * len(targets))
    predictions = [
        Prediction(id=ids[i], task="score", text=given.texts[i][0], targets=targets[i], group=groups[i])
        for i in range(len(targets))
    ]
    return System(name, predictions, more, _notes(given, truths))


def _notes(given: Column, truths: Sequence[Column]) -> tuple[str, ...]:
    """Say what was done to the files that the user may not expect."""
    paths = dict.fromkeys([given.path, *(truth.path for truth in truths)])
    notes = [
        f"{path} begins with a byte order mark, which is no part of its text here; sacrebleu's command line scores it "
        "as a part of the first line."
        for path in paths
        if has_byte_order_mark(path)
    ]
    for truth in truths:
        if given.ids is not None and truth.ids is None and truth.path != given.path:
            notes.append(f"{truth.path} has no ids: its rows are paired with those of {given.path} by their order.")
    return tuple(notes)


def _from_log(path: Path, name: str) -> System:
    predictions = read_predictions(path)
    columns = {key: [str(getattr(p, key)) for p in predictions] for key in ("task", "finish", "group")}
    return System(name, predictions, columns)


def _load_references(path: Path, inputs: ScoreInputs) -> Column:
    kind = recognise_format_or_text(path)
    if kind == "text":
        return text_column(path, inputs.limit())
    table = table_of(path, kind, inputs.limit())
    return with_ids(reference_column(table, inputs.columns.reference), table, inputs.columns.identity)


def _names(paths: Sequence[Path]) -> list[str]:
    """Return short names that tell the files apart."""
    short = [path.name if path.suffix else path.stem for path in paths]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]


def values_of(system: System, column: str) -> Iterator[tuple[str, list[Prediction]]]:
    """Yield the predictions by the values of a column, in the order of their first appearance.

    Raises:
        DataError: There is no such column.
    """
    if column not in system.columns:
        known = did_you_mean(column, system.columns) if system.columns else "Text files have no columns: use a table."
        raise DataError(f"There is no column '{column}'.", where=system.name, fix=known)
    parts: dict[str, list[Prediction]] = {}
    for value, prediction in zip(system.columns[column], system.predictions, strict=True):
        parts.setdefault(value, []).append(prediction)
    yield from parts.items()
