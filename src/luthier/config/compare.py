"""Settings of ``luthier compare``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from luthier.config.arm_settings import ArmItem
from luthier.config.base import Settings
from luthier.config.data import DataConfig
from luthier.config.decoding import DecodingConfig
from luthier.config.evaluation import EvaluationConfig
from luthier.config.search import SearchConfig
from luthier.config.training import TrainingConfig


class CompareConfig(Settings):
    """Everything that ``luthier compare`` depends on."""

    model: str = "mini"
    """Hugging Face id, folder, or ``mini``."""
    task: str = "dialogue_summary"
    """Built-in name, task YAML, or data file."""
    arms: tuple[ArmItem, ...] = ("zero_shot", "one_shot", "few_shot", "full", "lora")
    """What is compared: names of presets, or arms spelled out."""
    retain: tuple[str, ...] | None = None
    """Tasks on which forgetting is measured; every other built-in task that the model can hold when not given."""
    retain_text: str | None = "plain_text"
    """Held-out plain text for token loss: ``plain_text``, a file of rows with a ``text`` column, or ``null``."""
    out: Path = Path("runs")
    """Folder of runs and of the store that they share."""
    name: str | None = Field(default=None, pattern=r"^\w[\w.+-]*$", max_length=100)
    """Folder of this run inside ``out``; made of the task, the model and a digest when not given."""
    seed: int = 0
    """Seed of everything that is drawn."""
    device: str | None = None
    """``cpu``, ``cuda``, ``cuda:1``, ``mps``; the best there is when not given."""
    trust_remote_code: bool = False
    """Run code that comes with the model; only for models that you trust."""
    data: DataConfig = DataConfig()
    """Which examples are used."""
    training: TrainingConfig = TrainingConfig()
    """How arms are trained."""
    search: SearchConfig = SearchConfig()
    """How their hyper-parameters are chosen."""
    decoding: DecodingConfig = DecodingConfig()
    """How answers are generated."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How arms are measured."""
