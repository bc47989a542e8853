"""Train one arm and put its adapter, or its whole model, where the user wants it."""

from __future__ import annotations

import shutil
from pathlib import Path

from luthier.config.arms import replays
from luthier.config.compare import CompareConfig
from luthier.errors import ConfigError
from luthier.experiments.plan import read_plan
from luthier.experiments.trained_arms import train
from luthier.files.atomic import finish_folder, temporary_folder, writing
from luthier.training.train_arm import Trained


def tune(config: CompareConfig, save: Path | None = None) -> tuple[Trained, Path]:
    """Train the one arm of a configuration.

    Args:
        config: As for ``compare``, with a single arm; tasks to watch are read only to be replayed.
        save: Where the adapter goes; it stays in the store when not given.

    Returns:
        What is known of the training, and the adapter's folder.

    Raises:
        ConfigError: When there is not exactly one arm, or it trains nothing, or ``save`` exists.
    """
    if save is not None and save.exists():
        raise ConfigError("something is there already", where=str(save), fix="Choose another folder with --save.")
    retain = config.retain if any(map(replays, config.arms)) else ()
    plan = read_plan(config.model_copy(update={"retain": retain, "retention_text": None}))
    if len(plan.arms) != 1 or plan.arms[0].method is None:
        raise ConfigError("tune trains exactly one arm", where="arms", fix="Give one method, e.g. --arm lora.")
    trained = train(plan, plan.arms[0], plan.arms[0].seeds[0])
    if save is None:
        return trained, trained.adapter
    with writing(save), temporary_folder(save.parent) as folder:
        shutil.copytree(trained.adapter, folder, dirs_exist_ok=True)
        finish_folder(folder, save)
    return trained, save
