"""Settings of ``luthier store list``, ``size`` and ``clean``."""

from __future__ import annotations

from pydantic import Field

from luthier.config.base import StoreSettings


class ListStoreConfig(StoreSettings):
    """Everything that ``luthier store list`` depends on."""

    kind: str = ""
    """Only entries of this kind: models, predictions, texts, answers, latency, searches, trials and others."""
    run: str = ""
    """Only entries that were made for this run."""


class StoreSizeConfig(StoreSettings):
    """Everything that ``luthier store size`` depends on."""


class CleanStoreConfig(ListStoreConfig):
    """Everything that ``luthier store clean`` depends on."""

    unused_days: float = Field(default=0.0, ge=0, allow_inf_nan=False, le=1e6)
    """Only entries that no run has used for so many days."""
    unfinished: bool = False
    """Only what stopped runs have left unfinished; they would go on from it."""
    damaged: bool = False
    """Only entries whose files are not what was written."""
    everything: bool = False
    """All entries; asked for when no other condition is given."""
    only_say: bool = False
    """Say what would be removed, and remove nothing."""
