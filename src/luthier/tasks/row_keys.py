"""What a row is known by: its id, and what decides its split."""

from __future__ import annotations

import json
from hashlib import blake2b

from luthier.errors import DataError, did_you_mean
from luthier.files.value_text import value_text
from luthier.records import Row
from luthier.tasks.rows.preferences import prompt_key
from luthier.tasks.schema import Task

_ROW_TEXT = json.JSONEncoder(sort_keys=True, ensure_ascii=False, default=repr)


def row_id(task: Task, row: Row, where: str) -> str:
    """Return a row's id: its id column, or a digest of everything in it.

    Raises:
        DataError: When the id column is missing or empty.
    """
    if task.id_column is None:
        return blake2b(_ROW_TEXT.encode(row).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    if task.id_column not in row:
        raise no_column(task.id_column, row, where)
    value = value_text(row[task.id_column])
    if not value.strip():
        raise DataError(f"the id column '{task.id_column}' is empty", where=where, fix="Give each row its own id.")
    return value


def split_key(task: Task, row: Row, key: str, where: str) -> tuple[str, str]:
    """Return ``(group, what decides the split)``: rows of one group stay together."""
    if task.row_format is not None and task.row_format.compares:
        value = prompt_key(row, task.row_format, where)
    elif task.group_template is not None:
        value = task.group_template.render(row).strip()
    elif task.group_column is None:
        return "", key
    elif task.group_column not in row:
        raise no_column(task.group_column, row, where)
    else:
        value = value_text(row[task.group_column])
    # Rows without a group are alone, not a group of their own kind.
    return (value, value) if value else ("", key)


def no_column(column: str, row: Row, where: str) -> DataError:
    """Return the fault of a column that a row lacks."""
    return DataError(f"column '{column}' does not exist", where=where, fix=did_you_mean(column, map(str, row)))
