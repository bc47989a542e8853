"""One file for many tasks: ``each: {subject: [anatomy, astronomy, …]}`` makes a task of every value.

The value is written into the keys that say what the task is called and where its files are (Jinja texts there);
templates see it as a column of every row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.errors import TaskError, did_you_mean
from luthier.tasks.rows.templates import Template

_WRITTEN = ("name", "description", "source", "preamble_file", "protocol")


def values_of(data: Mapping[str, Any], where: str) -> tuple[str, tuple[str, ...]]:
    """Return the column that ``each`` names, and its values; ("", ()) for a file that is one task.

    Raises:
        TaskError: When ``each`` is not one column with a list of distinct texts.
    """
    if "each" not in data:
        return "", ()
    each = data["each"]
    if isinstance(each, dict) and len(each) == 1:
        column, values = next(iter(each.items()))
        texts = values if isinstance(values, list) else []
        if texts and all(isinstance(text, str) and text for text in texts) and len(set(texts)) == len(texts):
            return str(column), tuple(texts)
    fix = "Write `each: {subject: [anatomy, astronomy]}`: one column, and its values, each once."
    raise TaskError("each does not say one column with a list of texts", where=where, fix=fix)


def for_value(data: Mapping[str, Any], value: str, where: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what a file says for one value of its ``each``, and the column that holds the value.

    Args:
        data: The content of the file.
        value: One of the values; "" for a file without ``each``, or with one value.
        where: The file, for messages.

    Raises:
        TaskError: When there is no such value, or ``each`` is wrong.
    """
    column, values = values_of(data, where)
    rest = {key: content for key, content in data.items() if key != "each"}
    if not values:
        if value:
            raise TaskError(
                f"the file is one task: it has no '{value}'", where=where, fix="Leave the part after # out."
            )
        return rest, {}
    value = values[0] if not value and len(values) == 1 else value
    if value not in values:
        what = f"the file holds {len(values)} tasks, one for each {column}"
        fix = did_you_mean(value, values) if value else f"Name one: {where}#{values[0]}."
        raise TaskError(what if not value else f"no {column} is called '{value}'", where=where, fix=fix)
    constants = {column: value}
    written = {key: _written(rest[key], constants, f"{where}, {key}") for key in _WRITTEN if key in rest}
    return rest | written, constants


def _written(content: Any, constants: dict[str, str], where: str) -> Any:
    """Write the value into every text of a part of the file."""
    if isinstance(content, str):
        return Template(content, where).render(dict(constants)) if "{" in content else content
    if isinstance(content, dict):
        return {key: _written(item, constants, where) for key, item in content.items()}
    return content
