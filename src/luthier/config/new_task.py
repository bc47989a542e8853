"""Settings of ``luthier tasks new``."""

from __future__ import annotations

from pathlib import Path

from luthier.config.base import Settings


class NewTaskConfig(Settings):
    """Everything that ``luthier tasks new`` depends on."""

    data: str
    """A data file, a folder of splits, or ``hf:owner/name[:config]``."""
    out: Path | None = None
    """The task YAML that is written; beside the data, and named after it, when not given."""
