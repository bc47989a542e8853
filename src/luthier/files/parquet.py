"""Rows of Parquet files."""

from __future__ import annotations

import io
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from luthier.errors import DataError, listed
from luthier.files.opening import GZIP_FAULTS, damaged_gzip, open_bytes
from luthier.files.row_faults import RowFaults
from luthier.files.size_limit import SizeLimit
from luthier.files.value_text import with_nulls
from luthier.records import Row

_BATCH_ROWS = 1024
_FEWEST_ROWS = 32
_BATCH_BYTES = 256 * 1024 * 1024
"""What the rows of a batch may take if each holds the longest value that its column's dictionary can have."""


def read_parquet(path: Path, limit: SizeLimit | None = None) -> Iterator[tuple[int, Row]]:
    """Yield the rows of a Parquet file, numbered from 1, a batch of a row group at a time."""
    with open_bytes(path) as handle:
        if isinstance(handle, io.BufferedReader):
            yield from _parquet_rows(path, str(path), limit)
            return
        with tempfile.NamedTemporaryFile(suffix=".parquet") as unpacked:  # Parquet is read from its end
            try:
                while chunk := handle.read(1 << 20):
                    unpacked.write(chunk)
                    if limit is not None:
                        limit.check(unpacked.tell(), str(path))
            except GZIP_FAULTS as fault:
                raise damaged_gzip(str(path), f"byte {unpacked.tell()}", fault) from None
            unpacked.flush()
            yield from _parquet_rows(Path(unpacked.name), str(path), limit)


def _parquet_rows(path: Path, name: str, limit: SizeLimit | None) -> Iterator[tuple[int, Row]]:
    import pyarrow  # heavy: only whoever has a Parquet file waits for it
    import pyarrow.parquet

    number = 0
    faults = RowFaults(name)
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            _check_names(file.schema_arrow.names, name)
            if limit is not None:
                _check_size(path, file.metadata, limit, name)
            for batch in file.iter_batches(batch_size=_batch_rows(file.metadata), use_threads=False):
                if limit is not None:
                    limit.count(batch.nbytes, len(batch), name)
                for row in _rows(batch, faults, number):
                    number += 1
                    if row is not None:
                        yield number, with_nulls(row)
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError, MemoryError) as fault:
        reason = (str(fault).splitlines() or [type(fault).__name__])[0]
        what = f"not a Parquet file that can be read ({reason})"
        raise DataError(what, where=name, fix="Write or download the file again.") from None
    faults.finish()


def _check_names(names: list[str], where: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"columns named twice: {listed(twice)}", where=where, fix="Give each column its own name.")


def _rows(batch: Any, faults: RowFaults, before: int) -> Iterator[Row | None]:
    """Yield the rows of a batch; None, and a fault, for each that Python cannot hold."""
    try:
        yield from batch.to_pylist()
        return
    except (ValueError, OverflowError, ArithmeticError):
        pass
    for place in range(len(batch)):
        row: Row | None = {}
        for column in batch.schema.names:
            try:
                value = batch.column(column)[place].as_py()
            except (ValueError, OverflowError, ArithmeticError) as fault:
                bad_text = isinstance(fault, UnicodeDecodeError)
                kind = "a text that is not UTF-8" if bad_text else f"a value that Python cannot hold ({fault})"
                where = f"{faults.name}, row {before + place + 1}"
                faults.add(DataError(f"column '{column}' holds {kind}", where=where, fix="Write the value as text."))
                row = None
            else:
                if row is not None:
                    row[column] = value
        yield row


def _batch_rows(metadata: Any) -> int:
    """Return how many rows are decoded at once: fewer where a dictionary lets a short file stand for long rows."""
    longest = max((chunk.total_uncompressed_size for _, _, chunk in _dictionary_chunks(metadata)), default=1)
    return max(_FEWEST_ROWS, min(_BATCH_ROWS, _BATCH_BYTES // max(longest, 1)))


def _dictionary_chunks(metadata: Any) -> Iterator[tuple[int, int, Any]]:
    """Yield ``(row group, column, chunk)`` for the columns of texts that are written as references to a dictionary."""
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(column)
            if chunk.physical_type == "BYTE_ARRAY" and chunk.has_dictionary_page:
                yield group, column, chunk


def _check_size(path: Path, metadata: Any, limit: SizeLimit, name: str) -> None:
    """Refuse a file whose texts are longer than the limit in all, before a text is repeated in memory.

    Raises:
        DataError: It is.
    """
    import pyarrow.parquet

    groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
    written = sum(
        group.column(column).total_uncompressed_size for group in groups for column in range(group.num_columns)
    )
    limit.check(written, name)
    doubtful = list(_dictionary_chunks(metadata))
    if sum(chunk.num_values * chunk.total_uncompressed_size for _, _, chunk in doubtful) <= limit.most:
        return
    columns = sorted({chunk.path_in_schema for _, _, chunk in doubtful})
    total = 0
    with pyarrow.parquet.ParquetFile(path, read_dictionary=columns) as file:
        for batch in file.iter_batches(batch_size=1 << 16, columns=columns, use_threads=False):
            total += sum(map(_expanded, batch.columns))
            limit.check(total, name)


def _expanded(column: Any) -> int:
    """Return the bytes of the texts in an array whose texts are references to a dictionary."""
    import pyarrow
    import pyarrow.compute

    if pyarrow.types.is_struct(column.type):
        return sum(map(_expanded, column.flatten()))
    if hasattr(column, "flatten"):
        return _expanded(column.flatten())
    if not pyarrow.types.is_dictionary(column.type):
        return 0
    lengths = pyarrow.compute.binary_length(column.dictionary).cast(pyarrow.int64())
    return pyarrow.compute.sum(lengths.take(column.indices)).as_py() or 0
