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
                _check_size(path, limit, name)
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, use_threads=False):
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


def _check_size(path: Path, limit: SizeLimit, name: str) -> None:
    """Refuse a file whose rows are longer than the limit in all, before a text is repeated in memory.

    Texts are written as references to a dictionary, so that a short file can stand for long rows. They are read as such
    here, and only their lengths are added up. (The metadata of a column is not asked for: of a damaged file, that ends
    the process.)

    Raises:
        DataError: They are.
    """
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        groups = [file.metadata.row_group(group) for group in range(file.num_row_groups)]
        limit.check(sum(group.total_byte_size for group in groups), name)
        columns = [file.schema.column(place) for place in range(len(file.schema))]
    flat = all(column.max_repetition_level == 0 for column in columns)
    if flat and sum(group.num_rows * group.total_byte_size for group in groups) <= limit.most:
        return
    texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
    total = 0
    with pyarrow.parquet.ParquetFile(path, read_dictionary=texts) as file:
        for batch in file.iter_batches(batch_size=1 << 16, use_threads=False):
            total += sum(map(_expanded, batch.columns))
            limit.check(total, name)


def _expanded(column: Any) -> int:
    """Return the bytes of an array, with the texts in it that are references to a dictionary written out."""
    import pyarrow
    import pyarrow.compute

    if pyarrow.types.is_struct(column.type):
        return sum(map(_expanded, column.flatten()))
    if pyarrow.types.is_nested(column.type) and hasattr(column, "flatten"):
        return _expanded(column.flatten())
    if not pyarrow.types.is_dictionary(column.type):
        return int(column.nbytes)
    lengths = pyarrow.compute.binary_length(column.dictionary).cast(pyarrow.int64())
    return pyarrow.compute.sum(lengths.take(column.indices)).as_py() or 0
