"""Train one arm and put its adapter, or its whole model, where the user wants it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch

from luthier.arguments import require_settings
from luthier.config.arms import beginning_with, reads_retained
from luthier.config.compare import CompareConfig
from luthier.config.data import DataConfig
from luthier.config.evaluation import EvaluationConfig
from luthier.config.tune import TuneConfig
from luthier.display import Displayed
from luthier.errors import ConfigError
from luthier.experiments.plan import read_plan
from luthier.experiments.trained_arms import train
from luthier.experiments.workload import training_in_words
from luthier.files.atomic import finish_folder, temporary_folder, writing
from luthier.files.store_contents import refuse_place_in_store, using_store
from luthier.progress import say
from luthier.threads import threads_in_words
from luthier.training.trained import Trained


class _Tuned(NamedTuple):
    trained: Trained
    folder: Path


class Tuned(Displayed, _Tuned):
    """A finished training, and the folder of its adapter or whole model; as a pair, ``trained, folder``."""

    __slots__ = ()

    view: ClassVar[str] = "tuned"

    def __repr__(self) -> str:
        known = self.trained.result
        return f"<Tuned: {known.trainable_parameters:,} weights, {known.steps:,} steps, in {self.folder}>"


def tune(config: TuneConfig) -> Tuned:
    """Train one arm.

    Args:
        config: Names the model, the task and the arm, and the folder in which the adapter is saved.

    Returns:
        What is known of the training, and the adapter's folder.

    Raises:
        ConfigError: When the arm trains nothing, or the folder exists.
    """
    require_settings(config, TuneConfig, "tune")
    save = config.save
    if save is not None and save.exists():
        raise ConfigError("something is there already", where=str(save), fix="Choose another folder with --save.")
    if save is not None:
        refuse_place_in_store(save, "save")
    plan = read_plan(_comparison_of(config))
    if plan.arms[0].method is None:
        raise ConfigError("tune trains exactly one arm", where="arm", fix="Give one method, e.g. --arm lora.")
    say(threads_in_words(torch.get_num_threads()))
    with using_store(config.runs, remake_damaged=config.remake_damaged):
        say(training_in_words(plan, plan.arms[0]))
        trained = train(plan, plan.arms[0], plan.arms[0].seeds[0])
        if save is None:
            return Tuned(trained, trained.adapter)
        adapter = trained.adapter
        with writing(save), temporary_folder(save.parent) as folder:
            shutil.copytree(adapter, folder, dirs_exist_ok=True)
            finish_folder(folder, save)
    return Tuned(trained, save)


def _selects_elsewhere(config: TuneConfig) -> bool:
    """Whether the arm's weights are chosen by other tasks than the target."""
    own = {} if isinstance(config.arm, str) else config.arm.training
    return bool(own.get("select", config.training.select) != "target")


def _comparison_of(config: TuneConfig) -> CompareConfig:
    """Return a comparison with the one arm; retained tasks are read only where the arm replays their examples,
    or its weights are chosen by them."""
    return CompareConfig(
        model=config.model,
        task=config.task,
        arms=(beginning_with(config.arm, config.start, config.training),),
        retain=config.retain if reads_retained(config.arm) or _selects_elsewhere(config) else (),
        retention_text=None,
        runs=config.runs,
        name="tune",
        seed=config.seed,
        seeds=None if config.training_seed is None else (config.training_seed,),
        device=config.device,
        precision=config.precision,
        kernels=config.kernels,
        trust_remote_code=config.trust_remote_code,
        data=DataConfig(**config.data.model_dump()),
        training=config.training,
        decoding=config.decoding,
        evaluation=EvaluationConfig(batch_tokens=config.evaluation.batch_tokens),
    )
