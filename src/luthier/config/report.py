"""Settings of ``luthier report``."""

from __future__ import annotations

from luthier.config.base import Settings, UserPath


class ReportConfig(Settings):
    """Everything that ``luthier report`` depends on."""

    run: UserPath
    """The folder of a finished run."""
