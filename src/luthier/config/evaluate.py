"""Settings of ``luthier eval``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from luthier.config.base import ModelSettings, Name, RemakingSettings, UserPath
from luthier.config.computing import ComputingSettings
from luthier.config.data import EvaluationDataConfig
from luthier.config.decoding import DecodingConfig
from luthier.config.evaluation import EngineConfig
from luthier.config.helm import HelmConfig


class EvaluateConfig(RemakingSettings, ComputingSettings, ModelSettings):
    """Everything that ``luthier eval`` depends on."""

    # Who comes from lm-eval types its names.
    renamed: ClassVar[Mapping[str, str]] = {
        **RemakingSettings.renamed,
        "limit": "data.test",
        "num_fewshot": "shots",
    }

    tasks: tuple[Name, ...] = ("all",)
    """Built-in names, benchmark tasks and suites, named sets of tasks, task YAMLs, data files or ``lm_eval:NAME``;
    ``all`` stands for every built-in task."""
    suite: Literal["helm"] | None = None
    """``helm``: accuracy, calibration, robustness, fairness, bias, toxicity and efficiency of each task."""
    page: UserPath | None = None
    """The page of the suite; ``helm-MODEL.html`` in the folder of runs when not given."""
    adapter: UserPath | None = None
    """A folder that ``luthier tune`` wrote, or an adapter in PEFT's layout; the model alone when not given."""
    any_base: bool = False
    """Accept an adapter that was trained on another base."""
    compare: Name | None = None
    """A second model, which answers the same examples: every score is shown with its paired difference."""
    shots: int = Field(default=0, ge=0)
    """Exemplars before each prompt, as many as fit; of a task of lm-eval its own number when not given."""
    run_code: bool = False
    """Run the programs that a model writes to HumanEval, MBPP and the like of lm-eval, each apart and within limits."""
    answers: UserPath | None = None
    """Folder for a file of each task's answers, with their prompts and the rows that they are from."""
    data: EvaluationDataConfig = EvaluationDataConfig()
    """Which examples are used."""
    decoding: DecodingConfig = DecodingConfig()
    """How answers are generated."""
    evaluation: EngineConfig = EngineConfig()
    """What computes the answers, and how they are scored."""
    helm: HelmConfig = HelmConfig()
    """How the suite ``helm`` measures."""
