"""Settings of ``luthier tasks show`` and ``luthier tasks preview``."""

from __future__ import annotations

from pydantic import Field

from luthier.config.base import Name, Settings
from luthier.config.data import FolderConfig


class ShowTaskConfig(Settings):
    """Everything that ``luthier tasks show`` depends on."""

    task: Name
    """A built-in name, a benchmark task, a task YAML, or a data file."""
    data: FolderConfig = FolderConfig()
    """Where the files of benchmarks are."""


class PreviewTaskConfig(ShowTaskConfig):
    """Everything that ``luthier tasks preview`` depends on."""

    split: str = "train"
    """The split that the rows are from: train, validation or test."""
    rows: int = Field(default=1, ge=1)
    """Rows that are rendered."""
    template: str | None = None
    """Only this template; all of them when not given."""
