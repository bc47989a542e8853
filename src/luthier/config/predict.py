"""Settings of ``luthier predict``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from luthier.config.base import ModelSettings, Name, UserPath
from luthier.config.computing import ComputingSettings
from luthier.config.data import EncodingConfig
from luthier.config.decoding import DecodingConfig
from luthier.config.evaluation import InferenceConfig

STDIO = "-"


class PredictConfig(ComputingSettings, ModelSettings):
    """Everything that ``luthier predict`` depends on; of an adapter its own base is the model where none is named."""

    renamed: ClassVar[Mapping[str, str]] = {"store": "runs"}

    rows: UserPath
    """The rows to answer: JSONL, JSON, CSV, TSV or Parquet; ``-`` reads standard input."""
    out: UserPath = Path(STDIO)
    """The file of answers, written in the format of its suffix; ``-`` writes to standard output."""
    format: Literal["jsonl", "json", "csv", "tsv", "parquet"] | None = None
    """The format of the rows where neither the content nor the suffix of the file says it."""
    adapter: UserPath | None = None
    """A folder that ``luthier tune`` wrote, or an adapter in PEFT's layout; the model alone when not given."""
    any_base: bool = False
    """Accept an adapter that was trained on another base."""
    task: Name | None = None
    """The task whose prompt is used: a built-in name, a task YAML, or a data file; the adapter's own when not given."""
    shots: int = Field(default=0, ge=0)
    """Exemplars of the task before each prompt, as many as fit."""
    runs: UserPath = Path("runs")
    """Folder of the store, in which answers are kept so that a killed command goes on."""
    data: EncodingConfig = EncodingConfig()
    """How prompts become tokens; what is not given is as it was when the adapter was trained."""
    decoding: DecodingConfig = DecodingConfig()
    """How answers are generated."""
    evaluation: InferenceConfig = InferenceConfig()
    """How the rows are answered."""
