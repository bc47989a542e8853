"""How much of a file is read at most, counted unpacked: a few bytes of gzip or Parquet can stand for gigabytes."""

from __future__ import annotations

from luthier.errors import DataError

ROW_OVERHEAD = 64
"""Bytes that a row takes in memory however short it is."""


class SizeLimit:
    """A bound on what is read of one file.

    Args:
        most: Bytes, unpacked, with :data:`ROW_OVERHEAD` for each row.
        fix: How the user raises it.
    """

    def __init__(self, most: int, fix: str) -> None:
        self.most = most
        self.fix = fix
        self._read = 0

    def count(self, size: int, rows: int, name: str) -> None:
        """Count what was read.

        Raises:
            DataError: It is more than the limit in all.
        """
        self._read += size + ROW_OVERHEAD * rows
        self.check(self._read, name)

    def check(self, size: int, name: str) -> None:
        """Compare a size with the limit.

        Raises:
            DataError: It is more.
        """
        if size > self.most:
            raise DataError(f"the file holds more than {self.most / 2**20:g} MiB, unpacked", where=name, fix=self.fix)
