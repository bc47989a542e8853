"""Predictions and references from anybody's files: text, JSONL, TSV, CSV, Parquet, or the log of a run; gzipped or not.

Text has one item a line. Tables are recognised by the names of their columns. Every fault names file and line.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from luthier.errors import DataError, LuthierError, did_you_mean, raise_faults
from luthier.metrics.prediction_log import read_predictions
from luthier.records import Prediction

PREDICTION_COLUMNS = ("prediction", "predicted", "pred", "hypothesis", "output", "generated", "text")
REFERENCE_COLUMNS = ("references", "reference", "targets", "target", "gold", "label", "answer", "summary")
ID_COLUMNS = ("id", "example_id", "idx")
_LOG_FIELDS = {"id", "task", "text", "targets"}
_LOG_NAME = "predictions.jsonl"


@dataclass(frozen=True)
class System:
    """What one system answered.

    Attributes:
        name: How it is called in tables: the file's name.
        predictions: Its answers, in the order of the file.
        columns: Further columns of the file, as text, for `--by`.
    """

    name: str
    predictions: list[Prediction]
    columns: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Columns:
    """Names of the columns to use; "" to recognise them."""

    prediction: str = ""
    reference: str = ""
    identity: str = ""


def load_systems(
    predictions: Sequence[Path], references: Sequence[Path], columns: Columns, *, allow_empty: bool
) -> list[System]:
    """Read what several systems answered to the same examples.

    Args:
        predictions: One file a system.
        references: Files with the right answers; several are several references for each example. None where the
            prediction files hold them.
        columns: Columns of tables.
        allow_empty: Score empty lines as empty answers instead of refusing them.

    Raises:
        DataError: A file cannot be read, or does not fit the others; file and line are named.
        Faults: Several such faults.
    """
    truths = [_load_side(path, columns.reference, REFERENCE_COLUMNS, "reference") for path in references]
    names = _names(predictions)
    return [
        _load_system(path, name, truths, columns, allow_empty=allow_empty)
        for path, name in zip(predictions, names, strict=True)
    ]


@dataclass(frozen=True)
class _Side:
    """One column of texts: for each row its texts, and where it stands."""

    path: Path
    texts: list[tuple[str, ...]]
    lines: list[int]


def _load_system(path: Path, name: str, truths: Sequence[_Side], columns: Columns, *, allow_empty: bool) -> System:
    path = path / _LOG_NAME if path.is_dir() else path
    if _is_text(path):
        if not truths:
            raise DataError(
                "There is nothing to compare these lines with.",
                where=str(path),
                fix="Give the right answers with --references.",
            )
        side, ids, more = _text_side(path), None, {}
    else:
        rows, lines = _read_table(path)
        if not truths and not columns.prediction and rows and set(rows[0]) >= _LOG_FIELDS:
            return _from_log(path, name)
        side = _column_side(path, rows, lines, columns.prediction, PREDICTION_COLUMNS, "prediction")
        ids = _ids(path, rows, lines, columns.identity)
        more = {key: [_as_text(row.get(key)) for row in rows] for key in (rows[0] if rows else {})}
        if not truths:
            truths = [_column_side(path, rows, lines, columns.reference, REFERENCE_COLUMNS, "reference")]
    for truth in truths:
        _check_rows(side, truth)
    _check_filled([side, *truths], allow_empty=allow_empty)
    targets = [tuple(text for truth in truths for text in truth.texts[i]) for i in range(len(side.texts))]
    ids = ids or [str(i + 1) for i in range(len(targets))]
    groups = more.get("group", [""] * len(targets))
    predictions = [
        Prediction(id=ids[i], task="score", text=side.texts[i][0], targets=targets[i], group=groups[i])
        for i in range(len(targets))
    ]
    return System(name, predictions, more)


def _from_log(path: Path, name: str) -> System:
    predictions = read_predictions(path)
    columns = {key: [str(getattr(p, key)) for p in predictions] for key in ("task", "finish", "group")}
    return System(name, predictions, columns)


def _load_side(path: Path, column: str, known: Sequence[str], what: str) -> _Side:
    if _is_text(path):
        return _text_side(path)
    rows, lines = _read_table(path)
    return _column_side(path, rows, lines, column, known, what)


def _check_rows(side: _Side, truth: _Side) -> None:
    got, wanted = len(side.texts), len(truth.texts)
    if got == wanted:
        return
    shorter, longer = (side, truth) if got < wanted else (truth, side)
    last = longer.lines[len(shorter.texts)]
    raise DataError(
        f"{side.path} has {got:,} rows and {truth.path} has {wanted:,}.",
        where=f"{longer.path}, line {last}",
        fix=f"That line has no counterpart: complete {shorter.path}, or check that no text holds a line break.",
    )


def _check_filled(sides: Sequence[_Side], *, allow_empty: bool) -> None:
    faults: list[LuthierError] = [
        DataError(
            "The text is empty.",
            where=f"{side.path}, line {line}",
            fix="Fill it, or score it as an empty answer with --allow-empty.",
        )
        for side in sides
        for texts, line in zip(side.texts, side.lines, strict=True)
        if not texts or not all(text.strip() for text in texts)
    ]
    if not allow_empty:
        raise_faults(f"{len(faults)} texts are empty", faults)


def _is_text(path: Path) -> bool:
    return _kind(path) not in (".jsonl", ".json", ".tsv", ".csv", ".parquet")


def _kind(path: Path) -> str:
    return Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


def _read_bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix.lower() == ".gz" else data
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"The file cannot be read: {reason}.", where=str(path), fix="Check the path.") from error
    except (EOFError, zlib.error) as error:
        raise DataError(f"The gzip file is damaged: {error}.", where=str(path), fix="Make it again.") from error


def _read_lines(path: Path) -> list[str]:
    """Lines of a UTF-8 file, ended by newlines only: other Unicode line separators are part of the text."""
    pieces = _read_bytes(path).removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if pieces and not pieces[-1]:
        pieces.pop()
    lines: list[str] = []
    faults: list[LuthierError] = []
    for number, piece in enumerate(pieces, start=1):
        try:
            lines.append(piece.removesuffix(b"\r").decode("utf-8"))
        except UnicodeDecodeError as error:
            bad = piece[error.start]
            faults.append(
                DataError(
                    f"Byte {error.start + 1} of the line (0x{bad:02x}) is not UTF-8.",
                    where=f"{path}, line {number}",
                    fix="Convert the file to UTF-8 (iconv -f latin1 -t utf-8).",
                )
            )
    raise_faults(f"{len(faults)} lines of {path} are not UTF-8", faults)
    return lines


def _text_side(path: Path) -> _Side:
    lines = _read_lines(path)
    return _Side(path, [(line,) for line in lines], list(range(1, len(lines) + 1)))


def _read_table(path: Path) -> tuple[list[dict[str, object]], list[int]]:
    """Rows of a table and their line numbers (row numbers in Parquet)."""
    kind = _kind(path)
    if kind == ".parquet":
        return _read_parquet(path)
    if kind in (".tsv", ".csv"):
        return _read_separated(path, "\t" if kind == ".tsv" else ",")
    rows: list[dict[str, object]] = []
    numbers: list[int] = []
    for number, line in enumerate(_read_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(
                f"The line is not JSON: {error.msg} at character {error.pos + 1}.",
                where=f"{path}, line {number}",
                fix="Write one JSON object a line.",
            ) from None
        if not isinstance(row, dict):
            raise DataError(
                f"The line is not a JSON object: {line[:40]!r}.",
                where=f"{path}, line {number}",
                fix="Write one JSON object a line.",
            )
        rows.append(row)
        numbers.append(number)
    return rows, numbers


def _read_separated(path: Path, separator: str) -> tuple[list[dict[str, object]], list[int]]:
    text = io.StringIO("\n".join(_read_lines(path)), newline="")
    # Quotation marks in TSV are part of the text; in CSV they enclose cells.
    if separator == "\t":
        reader = csv.reader(text, delimiter=separator, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(text, delimiter=separator)
    header = next(reader, [])
    rows: list[dict[str, object]] = []
    ends = [reader.line_num]
    for cells in reader:
        if len(cells) != len(header):
            raise DataError(
                f"The row has {len(cells)} cells and the header has {len(header)}.",
                where=f"{path}, line {ends[-1] + 1}",
                fix="Escape separators within the text, or use JSONL.",
            )
        rows.append(dict(zip(header, cells, strict=True)))
        ends.append(reader.line_num)
    return rows, [before + 1 for before, _ in pairwise(ends)]


def _read_parquet(path: Path) -> tuple[list[dict[str, object]], list[int]]:
    import pyarrow as pa
    import pyarrow.parquet

    try:
        rows = pa.parquet.read_table(path).to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"The Parquet file cannot be read: {error}.", where=str(path), fix="Check the path.") from error
    return rows, list(range(1, len(rows) + 1))


def _column_side(
    path: Path, rows: Sequence[dict[str, object]], lines: list[int], column: str, known: Sequence[str], what: str
) -> _Side:
    if not rows:
        raise DataError("The table has no rows.", where=str(path), fix="Check the path and the header.")
    name = column or next((name for name in known if name in rows[0]), "")
    if name not in rows[0]:
        asked = f"has no column '{name}'" if name else f"has no column that looks like a {what}"
        raise DataError(f"The table {asked}.", where=str(path), fix=did_you_mean(name or what, rows[0]))
    faults: list[LuthierError] = []
    texts: list[tuple[str, ...]] = []
    for row, line in zip(rows, lines, strict=True):
        value = row.get(name)
        items = tuple(_as_text(item) for item in value) if isinstance(value, list) else (_as_text(value),)
        if value is None or (what == "prediction" and len(items) != 1):
            shown = "missing" if value is None else f"a list of {len(items)}"
            faults.append(
                DataError(f"'{name}' is {shown}.", where=f"{path}, line {line}", fix=f"Give one {what} in every row.")
            )
        texts.append(items)
    raise_faults(f"{len(faults)} rows of {path} have no usable {what}", faults)
    return _Side(path, texts, lines)


def _ids(path: Path, rows: Sequence[dict[str, object]], lines: list[int], column: str) -> list[str] | None:
    name = column or next((name for name in ID_COLUMNS if rows and name in rows[0]), "")
    if not name:
        return None
    first: dict[str, int] = {}
    for row, line in zip(rows, lines, strict=True):
        value = _as_text(row.get(name))
        if value in first:
            raise DataError(
                f"The {name} '{value}' stands in lines {first[value]} and {line}.",
                where=f"{path}, line {line}",
                fix="Give every row its own id, or name another column with --id-column.",
            )
        first[value] = line
    return list(first)


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _names(paths: Sequence[Path]) -> list[str]:
    """Short names that tell the files apart."""
    short = [path.name if path.suffix else path.stem for path in paths]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]


def values_of(system: System, column: str) -> Iterator[tuple[str, list[Prediction]]]:
    """Predictions by the values of a column, in the order of first appearance.

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
