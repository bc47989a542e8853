"""Rows written to a file, and what a task makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from luthier.config.data import DataConfig
from luthier.records import Example, Row
from luthier.tasks.loader import TaskData, load_splits, load_task, with_data_settings


def read(folder: Path, rows: list[Row], **data: Any) -> TaskData:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = DataConfig(**data)
    return load_splits(with_data_settings(load_task(str(path)), config), config, 0)


def examples(data: TaskData) -> list[Example]:
    return [*data.train, *data.validation, *data.test]


def only(folder: Path, row: Row, **data: Any) -> list[Example]:
    """Return the examples of one row, which stands in whichever split its hash puts it."""
    return sorted(examples(read(folder, [row], **data)), key=lambda item: item.id)


def said(data: TaskData) -> str:
    return "\n".join(data.report.sentences)


def answers(data: TaskData) -> set[str]:
    return {item.targets[0] for item in examples(data)}
