"""Settings of ``luthier sample``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from luthier.config.base import ModelSettings, Name, TaskSettings, UserPath
from luthier.config.computing import ComputingSettings
from luthier.config.data import EncodingConfig
from luthier.config.decoding import DecodingConfig
from luthier.config.evaluation import InferenceConfig


class SamplingConfig(DecodingConfig):
    """How samples are drawn."""

    temperature: float = Field(default=1.0, gt=0)
    """The temperature of sampling."""


class SampleConfig(ComputingSettings, TaskSettings, ModelSettings):
    """Everything that ``luthier sample`` depends on; of an adapter its own base is the model where none is named."""

    adapter: UserPath | None = None
    """A folder that ``luthier tune`` wrote, or an adapter in PEFT's layout; the model alone when not given."""
    any_base: bool = False
    """Accept an adapter that was trained on another base."""
    split: Literal["train", "validation"] = "train"
    """The split whose prompts are answered; the test split is for the end."""
    prompt_count: int | None = Field(default=None, ge=1)
    """How many prompts are answered, drawn by hash; all of the split when not given."""
    n: int = Field(default=8, ge=1, le=1024)
    """Samples of each prompt."""
    reward: Name = "rougeL"
    """What a sample is worth: a metric, a function of yours (``my_rewards.py:brevity``), or a sum of them with weights
    (``0.8 * rougeL + 0.2 * chrf``)."""
    gold: Name | None = None
    """Another reward, which chooses nothing: what the best of n samples gains of it is shown beside."""
    keep: Literal["best", "accepted", "pairs", "all"] = "best"
    """What is written: the best sample of each prompt; every one that ``at_least`` accepts; of each prompt the best and
    the worst as a preference pair; or all samples."""
    at_least: float | None = Field(default=None, allow_inf_nan=False)
    """The least reward of an answer that is kept; of pairs, of the better one."""
    save: UserPath | None = None
    """The JSONL file of what is kept, which ``luthier tune`` reads as a task; nothing is written when not given."""
    runs: UserPath = Path("runs")
    """Folder of the store, in which samples are kept so that a killed command goes on."""
    data: EncodingConfig = EncodingConfig()
    """How prompts become tokens; what is not given is as it was when the adapter was trained."""
    decoding: SamplingConfig = SamplingConfig()
    """How samples are drawn."""
    evaluation: InferenceConfig = InferenceConfig()
    """How the prompts are answered."""

    @model_validator(mode="after")
    def _some_can_be_kept(self) -> SampleConfig:
        if self.keep == "accepted" and self.at_least is None:
            raise ValueError("keep: accepted takes the samples that reach a reward; name it by `at_least`")
        if self.keep == "pairs" and self.n < 2:
            raise ValueError("keep: pairs takes the best and the worst sample of a prompt, so `n` is 2 or more")
        return self
