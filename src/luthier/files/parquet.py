"""Rows of Parquet files."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

from luthier.errors import DataError
from luthier.files.opening import GZIP_FAULTS, damaged_gzip, open_bytes
from luthier.files.value_text import with_nulls
from luthier.records import Row


def read_parquet(path: Path) -> Iterator[tuple[int, Row]]:
    """Yield the rows of a Parquet file, numbered from 1, a batch of a row group at a time."""
    with open_bytes(path) as handle:
        if isinstance(handle, io.BufferedReader):
            yield from _parquet_rows(path, str(path))
            return
        with tempfile.NamedTemporaryFile(suffix=".parquet") as unpacked:  # Parquet is read from its end
            try:
                while chunk := handle.read(1 << 20):
                    unpacked.write(chunk)
            except GZIP_FAULTS as fault:
                raise damaged_gzip(str(path), f"byte {unpacked.tell()}", fault) from None
            unpacked.flush()
            yield from _parquet_rows(Path(unpacked.name), str(path))


def _parquet_rows(path: Path, name: str) -> Iterator[tuple[int, Row]]:
    import pyarrow  # heavy: only whoever has a Parquet file waits for it
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024, use_threads=False):
                for number, row in enumerate(batch.to_pylist(), number + 1):  # noqa: B020
                    yield number, with_nulls(row)
    except (pyarrow.ArrowException, OSError, ValueError) as fault:
        what = f"not a Parquet file that can be read ({str(fault).splitlines()[0]})"
        raise DataError(what, where=name, fix="Write or download the file again.") from None
