"""The task of an adapter, which lies in its folder: with it, new rows become the prompts that it was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from luthier.config.data import EncodingConfig
from luthier.config.yaml_file import load_yaml
from luthier.errors import ConfigError, LuthierError, ModelError, TaskError, first_line
from luthier.methods.adapter_io import CARD, is_published, read_card
from luthier.methods.peft_files import read_config
from luthier.tasks.build import read_task
from luthier.tasks.from_row_format import task_from_row_format
from luthier.tasks.rows.row_formats import RowFormat
from luthier.tasks.rows.sources import Source
from luthier.tasks.schema import Task

TASK = "task.yaml"


def write_task(task: Task, folder: Path) -> None:
    """Put the YAML file of a task into the folder of an adapter; a task without one is in the card.

    Of a file with many tasks it is the one, and a preamble that is read from a file is written out.
    """
    if task.row_format is not None:
        return
    written, _ = load_yaml(Path(task.where), TaskError)
    if not task.constants and "preamble_file" not in written:
        (folder / TASK).write_bytes(Path(task.where).read_bytes())
        return
    one = {key: value for key, value in written.items() if key not in ("each", "preamble_file")}
    each = {"each": {column: [value] for column, value in task.constants.items()}} if task.constants else {}
    preamble = {"preamble": task.preamble.source.removesuffix("\n")} if task.preamble is not None else {}
    (folder / TASK).write_text(yaml.safe_dump(each | one | preamble, allow_unicode=True, sort_keys=False), "utf-8")


def row_format_of(task: Task) -> dict[str, Any] | None:
    """Return how a task reads the rows of a data file, as the card holds it; None for a task from YAML."""
    return asdict(task.row_format) if task.row_format is not None else None


def task_of_adapter(folder: Path) -> Task:
    """Return the task that an adapter was trained on, without rows.

    Raises:
        ConfigError: When the folder does not hold it.
        ModelError: When it is damaged, or this is no adapter.
        TaskError: When the YAML file is damaged.
    """
    if (folder / TASK).is_file():
        return read_task(folder / TASK, rows=False)
    if is_published(folder):
        raise ConfigError(
            "an adapter in PEFT's layout does not say which prompt it was trained on",
            where=str(folder),
            fix="Name its task with --task.",
        )
    card = read_card(folder)
    if card.row_format is None:
        raise ConfigError(
            "the adapter does not hold its task", where=str(folder), fix="Name it with --task, or train it again."
        )
    return task_from_row_format(Source(card.task), _row_format(card.row_format, folder))


def encoding_of_adapter(folder: Path) -> dict[str, Any]:
    """Return how prompts became tokens when an adapter was trained; nothing where it does not say.

    Raises:
        ModelError: When it is damaged.
    """
    stated = read_card(folder).encoding if (folder / CARD).exists() else {}
    try:
        EncodingConfig.model_validate(stated)
    except LuthierError as fault:
        what = f"its encoding is damaged: {first_line(fault)}"
        raise ModelError(what, where=str(folder / CARD), fix="Fetch or train it again.") from None
    return stated


def base_of_adapter(folder: Path) -> str:
    """Return the name of the model that an adapter was trained on.

    Raises:
        ModelError: When it does not say, or this is no adapter.
    """
    if is_published(folder):
        stated = read_config(folder).get("base_model_name_or_path")
    else:
        stated = read_card(folder).base_name
    if not isinstance(stated, str) or not stated:
        raise ModelError("the adapter does not name its base", where=str(folder), fix="Name it with --model.")
    return stated


def _row_format(stated: Mapping[str, Any], folder: Path) -> RowFormat:
    try:
        return RowFormat(**{**stated, "columns": tuple(stated["columns"])})
    except (KeyError, TypeError):
        raise ModelError("its row format is damaged", where=str(folder / CARD), fix="Train it again.") from None
