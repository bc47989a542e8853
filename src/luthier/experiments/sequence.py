"""Train arms on tasks one after another, and measure every task after every stage."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from luthier.config.arms import Arm
from luthier.config.compare import CompareConfig
from luthier.experiments.execution import executor_of
from luthier.experiments.failures import failure_of
from luthier.experiments.plan import Plan
from luthier.experiments.sequence_results import write_sequence
from luthier.experiments.stages import check_sequence, read_stages
from luthier.experiments.units import Unit, plan_stage_units
from luthier.experiments.workload import training_in_words
from luthier.files.atomic import writing
from luthier.files.digests import digest
from luthier.files.store_contents import using_store
from luthier.progress import say
from luthier.threads import threads_in_words


def run_sequence(config: CompareConfig) -> Path:
    """Train stage by stage; return the run's folder, with ``results.json``, ``costs.json`` and the logs in it.

    Stages lie in the store under what they were trained on and began with, so a longer sequence trains only what is
    new, and a killed run goes on.

    Raises:
        LuthierError: Whatever is wrong with the configuration, the data or the model, before anything is trained; and
            where a stage of every arm has failed.
    """
    check_sequence(config)
    started = datetime.now(UTC)
    with using_store(config.runs, remake_damaged=config.remake_damaged), executor_of(config) as executor:
        stages = read_stages(config)
        name = config.name or _name_of(stages, config)
        stages = tuple(replace(stage, config=stage.config.model_copy(update={"name": name})) for stage in stages)
        say(threads_in_words(torch.get_num_threads(), config.workers))
        run = config.runs / name
        with writing(run):
            run.mkdir(parents=True, exist_ok=True)
        executor.execute(stages[0], [Unit("retain", "")])
        alive: tuple[Arm, ...] = stages[0].arms
        for number, stage in enumerate(stages, 1):
            for arm in alive:
                task = stage.target.task.name
                say(f"stage {number} of {len(stages)}, {task}: {training_in_words(stage, stage.arm(arm.name))}")
            executor.execute(stage, plan_stage_units([stage.arm(arm.name) for arm in alive]))
            alive = tuple(arm for arm in alive if failure_of(stage, stage.arm(arm.name)) is None)
        write_sequence(config, stages, run, started=started)
    return run


def _name_of(stages: tuple[Plan, ...], config: CompareConfig) -> str:
    model = stages[0].model
    return f"sequence-{Path(config.model).name}-{digest([config.identity(), model.digest])[:8]}"
