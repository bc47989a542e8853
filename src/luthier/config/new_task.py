"""Settings of ``luthier tasks new``."""

from __future__ import annotations

from luthier.config.base import Name, Settings, UserPath


class NewTaskConfig(Settings):
    """Everything that ``luthier tasks new`` depends on."""

    data: Name
    """A data file, a folder of splits, or ``hf:owner/name[:config]``."""
    out: UserPath | None = None
    """The task YAML that is written; beside the data, and named after it, when not given."""
