"""Settings of ``luthier score``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from luthier.config.base import Seed, Settings, UserPath


class ScoreConfig(Settings):
    """Everything that ``luthier score`` depends on."""

    renamed: ClassVar[Mapping[str, str]] = {"test": "significance"}

    predictions: tuple[UserPath, ...]
    """Files of predictions, one for each system."""
    references: tuple[UserPath, ...] = ()
    """Files with the right answers, several for several references; none where the predictions hold them."""
    metrics: tuple[str, ...] = ("rouge",)
    """Names of metrics, with their options, such as ``rouge,bleu:tokenize=zh``."""
    by: str = ""
    """Score each value of this column by itself as well."""
    explain: str = ""
    """Show how the score of this example (its id or its line) comes about, instead of scores."""
    per_example: UserPath | None = None
    """Write one row for each example to this file (JSONL, or TSV by its ending)."""
    prediction_column: str = ""
    """The column of the predictions; recognised when not given."""
    reference_column: str = ""
    """The column of the references; recognised when not given."""
    id_column: str = ""
    """The column of the ids, by which references are paired where both files have it; recognised when not given."""
    allow_empty: bool = False
    """Score empty lines, and predictions that are null, as empty answers."""
    confidence: float = 0.95
    """The level of the intervals."""
    resamples: int = 1000
    """Bootstrap resamples, at least: more are drawn until the ends are settled; 0 for no intervals."""
    seed: Seed = 0
    """The seed of the resamples."""
    significance: str = ""
    """The paired test between systems: ``randomisation`` (where not given), ``bootstrap`` or ``mcnemar``."""
    size_limit: int = Field(default=512, ge=1)
    """The most that is read of one file, in MiB, unpacked."""
