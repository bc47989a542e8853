"""Train arms on growing subsets of the training split, and say how their errors fall with its size."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import torch

from luthier.arguments import require_settings
from luthier.config.curve import CurveConfig
from luthier.experiments.curve_plan import read_curve_plan
from luthier.experiments.curve_results import write_curve
from luthier.experiments.execution import executor_of
from luthier.experiments.units import plan_curve_units
from luthier.experiments.workload import training_in_words
from luthier.files.atomic import writing
from luthier.files.store_contents import using_store
from luthier.progress import say
from luthier.threads import threads_in_words


def curve(config: CurveConfig) -> Path:
    """Measure a learning curve; return the run's folder, with ``results.json``, ``costs.json`` and the logs in it.

    Each size is a comparison of its own arms, so finished trainings and answers are found in the store, and a killed
    run goes on.

    Raises:
        LuthierError: Whatever is wrong with the configuration, the data or the model, before anything is trained; and
            where every training has failed.
    """
    require_settings(config, CurveConfig, "curve")
    started = datetime.now(UTC)
    with using_store(config.runs, remake_damaged=config.remake_damaged), executor_of(config) as executor:
        plan = read_curve_plan(config)
        say(threads_in_words(torch.get_num_threads(), config.workers))
        for own in plan.plans:
            for arm in own.arms:
                say(training_in_words(own, arm))
        run = config.runs / plan.name
        with writing(run):
            run.mkdir(parents=True, exist_ok=True)
        for size, own in zip(plan.sizes, plan.plans, strict=True):
            say(f"{size:,} training examples:")
            executor.execute(own, plan_curve_units(own.arms))
        write_curve(plan, run, started=started)
    return run
