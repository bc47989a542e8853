"""Settings of ``luthier report``."""

from __future__ import annotations

from pathlib import Path

from luthier.config.base import Settings


class ReportConfig(Settings):
    """Everything that ``luthier report`` depends on."""

    run: Path
    """The folder of a finished run."""
